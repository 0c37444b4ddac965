"""Writing music token by token: many continuations of one beginning, some tokens handed over instead of chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from handmade.samplers.tokens import Taste, choose
from handmade.systems.music_transformer.network import Cache, Transformer, chords


def written(
    network: Transformer, prompt: Sequence[int], given: Sequence[int], never: Sequence[int], taste: Taste,
    luck: Iterator[Tensor], rows: int, most: int, cached: bool = True,
) -> Iterator[Tensor]:  # fmt: skip
    """Yield the next token of every row, (rows,) int64, at most `most` times.

    prompt: the mark that parts pieces, then the tokens of this piece so far; the first of them begins a bar
    given: the tokens that come next where they are known, -1 where the network chooses
    never: tokens that are not chosen
    luck: (rows,) numbers in 0..1 for each step
    cached: False reads everything again for each token, to measure what the cache is worth
    """
    form, device = network.form, network.head.weight.device
    text = torch.tensor([list(prompt)], device=device)  # (1, S), all rows begin alike
    cache, chord, logits = _read(network, text, most if cached else 0)
    cache.repeat(rows)
    text, chord, logits = (part.repeat_interleave(rows, 0) for part in (text, chord, logits))
    barred = torch.zeros(form.vocabulary, dtype=torch.bool, device=device)
    barred[list(never)] = True
    for step in range(most):
        token = choose(logits.masked_fill(barred, -torch.inf), next(luck).to(device), taste)
        if step < len(given) and given[step] >= 0:
            token = torch.full_like(token, given[step])
        yield token
        text = torch.cat([text, token[:, None]], 1)
        if cached and cache.length < cache.most:
            clock = _clock(network, text.shape[1] - 1, 1, device)
            if form.voices:
                voice = int(clock - 1) % form.voices
                chord[:, voice] = torch.where(token == form.hold, chord[:, voice], token)
            logits = network(token[:, None], clock, chord[:, None], cache)[:, -1]
        else:  # the piece has outgrown the context: read its last three quarters anew
            cache, chord, logits = _read(network, text, most - step)


def _read(network: Transformer, text: Tensor, more: int) -> tuple[Cache, Tensor, Tensor]:
    """Read (B, S) tokens at once, as many of the last as fit: the cache with room for more, the chord, the logits (B, V)."""
    form = network.form
    seen = text.shape[1] if text.shape[1] < form.context else max(1, form.context * 3 // 4)
    cache, whole = Cache(form, seen + more), _clock(network, 0, text.shape[1], text.device)
    chord = chords(text, (whole - 1) % max(1, form.voices), form)[:, -seen:]  # (B, seen, voices)
    return cache, chord[:, -1].clone(), network(text[:, -seen:], whole[:, -seen:], chord, cache)[:, -1]


def _clock(network: Transformer, first: int, count: int, device: torch.device) -> Tensor:
    """The places in the bar of the tokens after those at first, first + 1, ... of a piece and its mark: (1, count)."""
    return (torch.arange(first, first + count, device=device) % network.form.clocks)[None]
