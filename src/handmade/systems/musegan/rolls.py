"""What the critic reads: the pitch that sounds at every step, and whether it is struck there.

The states of a roll (a pitch begins, it is held, nothing sounds) say little where they stand: what a hold sounds like is told
by a step long before. In this form every step says all of itself, so harmony can be seen step by step. Axes are always
(B, V, T, O), voice before time: O holds the pitches low .. high, then the rest, then the stroke.
"""

from __future__ import annotations

import torch
from torch import Tensor

from handmade.data.specs import RollSpec
from handmade.metrics.music import HOLD, REST, sounding


def rolls_of(states: Tensor, spec: RollSpec) -> Tensor:
    """One-hot states of real music (B, V, bars, steps, S) -> rolls (B, V, T, O) float32."""
    cells = spec.cells(spec.decode(states))  # (B, T, V)
    sounds, rest = sounding(cells), spec.high - spec.low + 1
    pitches = torch.where(sounds == REST, rest, sounds - spec.low)
    rolls = torch.nn.functional.one_hot(pitches, rest + 1).float()
    return torch.cat([rolls, (cells >= 0).float().unsqueeze(-1)], -1).transpose(1, 2)


def choose(logits: Tensor) -> Tensor:
    """Logits (B, V, bars, steps, O) -> rolls (B, V, T, O), every step decided; backward, a softmax and a sigmoid.

    Where the network strikes, the pitch it likes best begins, or a rest; elsewhere what sounds goes on. So how long notes are
    is one decision a step, not an agreement of many; the first step is always struck.
    """
    logits = logits.float().flatten(2, 3)
    odds, chance = logits[..., :-1].softmax(-1), logits[..., -1].sigmoid()  # (B, V, T, P + 1), (B, V, T)
    pitch = odds + (torch.zeros_like(odds).scatter_(-1, odds.argmax(-1, keepdim=True), 1.0) - odds).detach()
    strike = chance + ((chance > 0.5).float() - chance).detach()
    sounds = [pitch[:, :, 0]]
    for step in range(1, pitch.shape[2]):  # what sounds goes on until the next stroke, and so does its gradient
        sounds.append(torch.lerp(sounds[-1], pitch[:, :, step], strike[:, :, step, None]))
    strike = torch.cat([torch.ones_like(strike[..., :1]), strike[..., 1:]], -1)
    roll = torch.stack(sounds, 2)  # (B, V, T, P + 1)
    return torch.cat([roll, strike.unsqueeze(-1) * (1 - roll[..., -1:].detach())], -1)  # a rest is not struck


def cells_of(rolls: Tensor, spec: RollSpec) -> Tensor:
    """Rolls (B, V, T, O), all steps decided -> cells (B, T, V) int64."""
    pitch, struck = rolls[..., :-1].argmax(-1), rolls[..., -1] > 0.5  # (B, V, T) each
    rest = pitch == rolls.shape[-1] - 2
    cells = torch.where(rest, REST, torch.where(struck, pitch + spec.low, HOLD))
    return cells.transpose(1, 2)
