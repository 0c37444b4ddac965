"""The likeliest next tokens at several temperatures side by side, for any system that gives odds for a next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from handmade.artifacts.table import Table
from handmade.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def likeliest(logits: Tensor, k: int, heats: Sequence[float], name: Callable[[int], str]) -> Table:
    """Logits (V,) -> a row for each of the k likeliest tokens, and a column of probabilities for each temperature.

    heats: the temperatures
    name: how a token is shown
    """
    import torch

    from handmade.samplers.tokens import heated

    odds = torch.stack([heated(logits, heat).softmax(0) for heat in heats])  # (H, V)
    best = logits.topk(min(k, len(logits))).indices.tolist()
    rows = tuple((name(token), *(float(row[token]) for row in odds)) for token in best)
    columns = ("next token", *(f"T = {heat:g}" for heat in heats))
    values = {token: {f"{heat:g}": p for heat, p in zip(heats, shares, strict=True)} for token, *shares in rows}
    return Table(columns, rows, values, bars=tuple(columns[1:]))


def heats_of(text: str) -> list[float]:
    """Temperatures such as 0.5,1,2; UserError for anything else."""
    try:
        heats = [float(part) for part in text.split(",")]
    except ValueError:
        heats = []
    if not heats or not all(0 < heat <= 100 for heat in heats):
        raise UserError(f'temperatures must be numbers above 0 separated by commas, such as "0.5,1,2", not "{text}"')
    return heats
