"""How well a network knows held-out music, and how what it writes compares with it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from handmade.core import Score
from handmade.data.codecs.midi_events import seconds_of
from handmade.data.specs import MusicBatch, MusicSpec
from handmade.metrics.music import longest_shared, melody, score_rolls
from handmade.systems.music_transformer.network import Transformer

AT_ONCE = 32_768  # tokens of held-out music read together


def score_surprise(network: Transformer, held_out: MusicBatch, spec: MusicSpec) -> dict[str, Score]:
    """The surprise at held-out music in nats: per token, per note that begins, and per sixteenth or second."""
    nats = surprises(network, held_out).double()  # (M,)
    tokens = running(held_out.tokens)[1 : len(nats) + 1]
    grid, mean, wide = spec.codec["kind"] == "grid", float(nats.mean()), _interval(nats, spec.context)
    notes = int((tokens < (spec.coder.hold if grid else 128)).sum())  # pyright: ignore[reportAttributeAccessIssue]
    unit = "what one voice does in one sixteenth" if grid else "an event"
    about = f"{len(nats):,} held-out tokens, each after at least {spec.context // 2} others where there are so many"
    scores = {
        "nats": Score(mean, f"surprise in nats per token ({unit}): {about}", "lower", None, mean - wide, mean + wide),
        "nats_per_note": Score(float(nats.sum()) / max(1, notes), f"the same per note that begins ({notes:,})"),
    }
    if grid:
        return {**scores, "nats_per_step": Score(mean * spec.voices, "the same per sixteenth, all voices together")}
    seconds = max(0.01, sum(map(seconds_of, tokens.tolist())))
    return {**scores, "nats_per_second": Score(float(nats.sum()) / seconds, f"the same per second of {seconds:,.0f}")}


def running(windows: Tensor) -> Tensor:
    """Windows (N, T + 1), one after the other -> (N T + 1,)."""
    return torch.cat([windows[0, :1], windows[:, 1:].flatten()])


def surprises(network: Transformer, held_out: MusicBatch) -> Tensor:
    """(M,) nats at each held-out token but the first, read in windows that overlap by half."""
    tokens, clock, context = running(held_out.tokens), running(held_out.clock), held_out.tokens.shape[1] - 1
    step = max(1, context // 2)
    windows, places = (part.unfold(0, context + 1, step) for part in (tokens, clock))  # (N, T + 1)
    rows, found = max(1, AT_ONCE // context), []
    for start in range(0, len(windows), rows):
        part = windows[start : start + rows]
        logits = network(part[:, :-1], places[start : start + rows, 1:]).float()  # (B, T, V)
        nats = torch.nn.functional.cross_entropy(logits.mT, part[:, 1:], reduction="none")  # (B, T)
        found += [nats[0], nats[1:, -step:].flatten()] if start == 0 else [nats[:, -step:].flatten()]
    return torch.cat(found)


def _interval(nats: Tensor, context: int) -> float:
    """Half of a 95 % interval of the mean, from stretches of one context: neighbours are no independent witnesses."""
    parts = nats[: len(nats) // context * context].view(-1, context).mean(1)
    return 1.96 * float(parts.std(correction=0)) / max(1, len(parts)) ** 0.5


def score_pieces(real: Sequence[Tensor], made: Sequence[Tensor], bar: int, known: Sequence[Tensor]) -> dict[str, Score]:
    """Compare cells (steps, voices) that were written with as many that were held out.

    bar: steps of a bar; known: the pieces that were trained on, where they are at hand
    """
    scores = score_rolls(torch.stack(list(real)), torch.stack(list(made)), bar)
    if known:
        tunes = [melody(cells[:, 0]) for cells in known]
        copied, floor = (max(longest_shared(melody(cells[:, 0]), tunes) for cells in part) for part in (made, real))
        about = "the longest run of a soprano's notes that stands in the training music as well, in any key"
        scores["copied"] = Score(float(copied), about, "lower", float(floor))
    return scores


def pieces(tokens: Tensor, clock: Tensor, spec: MusicSpec) -> list[Tensor]:
    """Running tokens of a grid and their clock -> the cells (steps, voices) of each piece, from its first whole bar on."""
    coder, found = spec.coder, []
    ends = (tokens == coder.end).nonzero().flatten().tolist()  # pyright: ignore[reportAttributeAccessIssue]
    for before, end in pairwise([-1, *ends, len(tokens)]):
        bars = (clock[before + 1 : end] == 0).nonzero().flatten()
        if len(bars):
            cells = coder.cells(tokens[before + 1 + int(bars[0]) : end].tolist())  # pyright: ignore[reportAttributeAccessIssue]
            found.append(torch.tensor(cells))
    return found
