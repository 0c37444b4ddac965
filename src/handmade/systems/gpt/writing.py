"""Reading and writing with a trained network: continuing texts token by token, and scoring texts of any length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from handmade.samplers.tokens import Taste, choose
from handmade.systems.gpt.network import GPT, Cache


def kept(context: int) -> int:
    """How many tokens stay in view when a text outgrows the context: three quarters, so that re-reading is rare."""
    return max(1, context * 3 // 4)


def continued(
    network: GPT, prompts: Sequence[Sequence[int]], taste: Taste, luck: Iterator[Tensor], copies: int = 1,
    most: int | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Yield the next token of every row, (B * copies,) int64, for ever.

    prompts: B texts of at least one token each; shorter ones are padded at the left
    luck: (B * copies,) numbers in 0..1 for each step
    most: how many tokens will be taken, so that no more memory is held than they need
    """
    context = network.form.context
    prompts = [prompt if len(prompt) <= context else prompt[-kept(context) :] for prompt in prompts]
    longest = max(map(len, prompts))
    device = network.tokens.weight.device
    rows = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    cache, logits = _read(network, rows, padding, None if most is None else longest + most)
    cache.repeat(copies)
    rows, padding, logits = (part.repeat_interleave(copies, 0) for part in (rows, padding, logits))
    while True:
        seen = None
        if taste.repetition_penalty != 1.0:
            places = torch.arange(rows.shape[1], device=device)
            seen = rows.masked_fill(places < padding[:, None], -1)
        token = choose(logits, next(luck).to(device), taste, seen)
        yield token
        rows = torch.cat([rows, token[:, None]], 1)
        if cache.length < cache.most:
            logits = network(token[:, None], cache, padding if bool(padding.any()) else None)[:, -1]
            continue
        gone = rows.shape[1] - kept(context)  # the text has outgrown the context: slide
        rows, padding = rows[:, gone:], (padding - gone).clamp_min(0)
        cache, logits = _read(network, rows, padding, None)


def _read(network: GPT, rows: Tensor, padding: Tensor, most: int | None) -> tuple[Cache, Tensor]:
    """Read (B, T) tokens at once; the cache and the logits (B, V) of what comes next."""
    cache = Cache(network.form, most)
    return cache, network(rows, cache, padding if bool(padding.any()) else None, last=True)[:, -1]


def surprises(network: GPT, tokens: Sequence[int]) -> Tensor:
    """(N,) tokens -> (N - 1,) nats of surprise at each after the first; each sees at least a quarter of the context."""
    context, device = network.form.context, network.tokens.weight.device
    ids = torch.tensor(list(tokens), device=device)
    found, done = [], 1  # tokens scored, the first being given
    while done < len(ids):
        start = max(0, min(done - 1, done - context // 4)) if done > 1 else 0
        window = ids[start : start + context + 1]
        logits = network(window[None, :-1])[0].float()  # (T, V)
        nats = torch.nn.functional.cross_entropy(logits, window[1:], reduction="none")
        found.append(nats[done - 1 - start :])
        done = start + len(window)
    return torch.cat(found) if found else torch.zeros(0)
