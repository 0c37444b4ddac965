"""The two networks of MuseGAN: one writes every voice bar by bar out of four kinds of noise, the other reads all at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

SLOPE = 0.2  # of LeakyReLU
BEAT = 4  # steps
HELD = -0.5  # logit of a stroke before anything is learned: most steps of music hold


class Generator(nn.Module):
    """Four noises -> logits of what each voice does, (B, V, bars, steps, pitches + 2).

    chords (B, Z) is the same for all voices and unfolds into one vector a bar, style (B, Z) is the same for all voices and
    bars; melody (B, V, Z) is a voice's own and unfolds, groove (B, V, Z) is a voice's own and the same in all its bars.
    """

    def __init__(self, latent: int, width: int, voices: int, bars: int, steps: int, outputs: int):
        super().__init__()
        self.chords = Unfold(latent, width, bars)
        self.melody = nn.ModuleList(Unfold(latent, width, bars) for _ in range(voices))
        self.voices = nn.ModuleList(Voice(4 * latent, width, steps, outputs) for _ in range(voices))

    def forward(self, chords: Tensor, style: Tensor, melody: Tensor, groove: Tensor) -> Tensor:
        """Write all voices; they know of each other only by the noise that they share."""
        bars = self.chords(chords)  # (B, bars, Z)
        shared = torch.cat([bars, style.unsqueeze(1).expand_as(bars)], -1)  # (B, bars, 2 Z)
        written = []
        for voice, (unfold, write) in enumerate(zip(self.melody, self.voices, strict=True)):
            own = unfold(melody[:, voice])  # (B, bars, Z)
            noise = torch.cat([shared, own, groove[:, voice].unsqueeze(1).expand_as(own)], -1)  # (B, bars, 4 Z)
            written.append(write(noise.flatten(0, 1)).unflatten(0, own.shape[:2]))  # (B, bars, steps, O)
        return torch.stack(written, 1)  # (B, V, bars, steps, O)


class Unfold(nn.Module):
    """Noise (B, Z) -> one vector for each bar, (B, bars, Z): the temporal network of the paper."""

    def __init__(self, latent: int, width: int, bars: int):
        super().__init__()
        self.bars = bars
        first, last = nn.Linear(latent, width), nn.Linear(width, bars * latent)
        nn.init.kaiming_normal_(first.weight, 1.0)  # what unfolds is to be as loud as what does not,
        nn.init.kaiming_normal_(last.weight, SLOPE)  # or the bars of a piece begin alike
        self.layers = nn.Sequential(first, nn.LeakyReLU(SLOPE), last)

    def forward(self, z: Tensor) -> Tensor:
        """Unfold the noise in time."""
        return self.layers(z).unflatten(1, (self.bars, -1))


class Voice(nn.Module):
    """The noise of one bar (B, 4 Z) -> its steps, (B, steps, O): a place for each beat, halved twice."""

    def __init__(self, latent: int, width: int, steps: int, outputs: int):
        super().__init__()
        self.start = nn.Linear(latent, 2 * width * (steps // BEAT))
        self.beats = steps // BEAT
        self.grow = nn.ModuleList(
            [nn.ConvTranspose1d(2 * width, width, 4, 2, 1), nn.ConvTranspose1d(width, width, 4, 2, 1)]
        )
        self.norms = nn.ModuleList([nn.GroupNorm(1, 2 * width), nn.GroupNorm(1, width), nn.GroupNorm(1, width)])
        self.end = nn.Conv1d(width, outputs, 1)
        nn.init.constant_(self.end.bias[-1:], HELD)  # type: ignore[index]

    def forward(self, z: Tensor) -> Tensor:
        """Write one bar."""
        x = leaky_relu(self.norms[0](self.start(z).unflatten(1, (-1, self.beats))), SLOPE)  # (B, 2 W, beats)
        for grow, norm in zip(self.grow, self.norms[1:], strict=True):
            x = leaky_relu(norm(grow(x)), SLOPE)  # (B, W, 2 t)
        return self.end(x).transpose(1, 2)  # (B, steps, O)


class Critic(nn.Module):
    """Rolls (B, V, T, O) of all voices -> (B,) scores.

    It reads all voices of a step together, then longer and longer stretches. It has no normalisation: the penalty is on
    the slope at each piece, which may not depend on the others of the batch.
    """

    def __init__(self, width: int, voices: int, steps: int, outputs: int):
        super().__init__()
        self.chord = nn.Conv1d(voices * outputs, width, 1)
        self.shrink = nn.ModuleList(
            nn.Conv1d(inner, 2 * width, 4, 2, 1) for inner in (width, 2 * width, 2 * width)
        )  # each halves the time
        self.score = nn.Sequential(
            nn.Linear(2 * width * (steps // 8), 2 * width), nn.LeakyReLU(SLOPE), nn.Linear(2 * width, 1)
        )
        self.apply(initialise)

    def forward(self, rolls: Tensor) -> Tensor:
        """Score pieces."""
        x = leaky_relu(self.chord(rolls.transpose(2, 3).flatten(1, 2)), SLOPE)  # (B, W, T)
        for shrink in self.shrink:
            x = leaky_relu(shrink(x), SLOPE)  # (B, 2 W, T / 2)
        return self.score(x.flatten(1)).squeeze(1)


def initialise(layer: nn.Module) -> None:
    """Draw a layer's first weights so that what passes through keeps its size, as nothing else sees to it (He et al. 2015)."""
    if isinstance(layer, nn.Conv1d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, SLOPE)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
