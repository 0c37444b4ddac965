"""Text to video: a sentence becomes a short clip, all of whose frames come out of noise together. Ho et al. 2022 (2204.03458).

A reader turns the words of a sentence w into vectors, and a painter that sees all frames walks from noise to a clip that fits
them. At time t in 0..1 a clip x has become x_t = (1 - t) x + t e, e ~ N(0, 1). Objective, over clips, times and noise:
    reader, painter minimise  E[min(1 / t^2, most) (|d|^2 + edges |slope d|^2)]      d = painter(x_t, t, reader(w)) - x
where the slope of d is the difference of neighbouring pixels. Both have the same best guess, but an outline, which moves few
pixels, weighs more in slopes. 1 / t^2 makes it the error of the straight way's direction e - x = (x_t - x) / t (Liu et al.
2022, arXiv 2209.03003). Some sentences are hidden, so that a prompt can be said louder than it was learnt (classifier-free
guidance, arXiv 2207.12598).
Differing from the paper: the painter is asked for the clip itself, not for its noise. A place of it is a fold of more numbers
than its layers are wide, so noise could not pass through them, and clips can (Li & He 2025, arXiv 2511.13720); reader and
painter learn together from nothing; and clips are made whole, without more resolution or frames from further models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.optim import Optimizer

from handmade.artifacts import Images, Video
from handmade.core import Judge, Range, Score, System, Turn, ask
from handmade.data.specs import VideoBatch, VideoSpec
from handmade.errors import UserError
from handmade.metrics.judged import agreement
from handmade.metrics.moving import score_moving
from handmade.networks.muon import MuonAdamW, matrices_of
from handmade.networks.text_encoder import TextEncoder
from handmade.objectives.denoising import Levels, noisy, over, slope_error, straight
from handmade.samplers.diffusion import end
from handmade.samplers.walks import Walker, held_out_error
from handmade.systems.text_to_video.network import Painter

Count = Annotated[int, Range(1, 1000)]
Guidance = Annotated[float, Range(0, 20)]
Steps = Annotated[int, Range(1, 1000)]


@dataclass(frozen=True)
class Config:
    """The settings of the reader, of the painter and of the training."""

    fold: int = 2  # pixels of a side that the painter takes as one place
    together: int = 4  # frames that it takes as one moment
    width: int = 48  # channels of one moment
    whole: int = 112  # channels of the small picture of all moments
    blocks: int = 3  # of that one
    heads: int = 4  # in every attention, or as many of them as divide the width
    words: int = 64  # length of a word's vector
    layers: int = 1  # of the reader
    hidden: float = 0.1  # share of captions that are not told
    late: float = 6.0  # how much noisier a clip is at a time than a picture, since many places and frames say the same
    most: float = 10.0  # largest weight of an error
    edges: float = 2.0  # what an error of the slope weighs beside that of a pixel
    lr: float = 0.012  # Muon, for the painter's matrices
    rest_lr: float = 1.5e-3  # AdamW, for all else
    decay: float = 0.01  # weight decay


class TextToVideo(System):
    """A reader and a painter, one player."""

    data: VideoSpec

    def __init__(self, config: Config, data: VideoSpec):
        super().__init__(config, data)
        parts = 2 * config.fold
        if data.size % parts:
            raise UserError(f"a size of {data.size} px cannot be folded by {config.fold} and halved: use a multiple of {parts} "
                            "(data.size), or another config.fold")  # fmt: skip
        if data.frames % config.together:
            raise UserError(f"{data.frames} frames cannot be taken {config.together} at a time: change data.frames, or "
                            "config.together")  # fmt: skip
        if config.late <= 0:
            raise UserError(
                f"late must be more than 0, not {config.late:g}: 1 is the straight way, more is for many frames"
            )
        self.reader = TextEncoder(data.words.size, data.longest, config.words, config.layers)
        self.painter = Painter(data.channels, data.size, data.frames, config.words, config.fold, config.together,
                               config.width, config.whole, config.blocks, config.heads)  # fmt: skip

    def optimizers(self) -> Mapping[str, Optimizer]:
        """One player, since what is read is read for the sake of the clip; the painter's matrices move by Muon."""
        matrices, c = matrices_of(self.painter), self.config
        return {"painter": MuonAdamW(matrices, self.parameters(), c.lr, c.rest_lr, betas=(0.9, 0.99), decay=c.decay)}

    def objective(self, batch: VideoBatch) -> Iterator[Turn]:
        """Put every clip somewhere on its way to noise, and say from its caption which clip it is."""
        x, n = batch.pixels, len(batch.pixels)  # (B, F, C, H, H)
        t = self.dice.spread(n)  # (B,)
        at, e = self.law(t), self.dice.normal(n, *x.shape[1:])
        tokens = torch.where(self.dice.uniform(n, 1) < self.config.hidden, 0, batch.tokens)
        guess = self.painter(noisy(x, e, at), t, self.heard(tokens))
        weight = over(at.s.square().reciprocal().clamp(max=self.config.most), x)
        d = guess.float() - x
        loss = (weight * d.square()).mean() + self.config.edges * slope_error(d, weight)
        yield Turn("painter", loss, {"error": d.square().mean()})

    def heard(self, tokens: Tensor) -> Tensor:
        """Words (B, T) -> vectors (B, 1 + T, words), of the sentence and of its words; zeros where nothing is said."""
        words, sentence = self.reader(tokens)
        return torch.cat([sentence[:, None], words], 1) * (tokens != 0).any(1)[:, None, None]

    def law(self, t: Tensor) -> Levels:
        """How much clip and how much noise there is at times t: straight, most of them noisy (arXiv 2403.03206, eq. 23)."""
        late = self.config.late
        return straight(late * t / (1 + (late - 1) * t))

    @property
    def walker(self) -> Walker:
        """The painter, ready to be asked for clips; what it is told are the vectors of a sentence."""
        shape = (self.data.frames, self.data.channels, self.data.size, self.data.size)
        return Walker(self.painter, self.law, "picture", shape, next(self.parameters()).device)

    def evaluate(self, held_out: VideoBatch, judge: Judge | None = None) -> Mapping[str, Score]:
        """The error of the guess on held-out clips, which falls first; then what is seen in clips drawn from their captions."""
        told = torch.cat([self.heard(part) for part in held_out.tokens.split(256)])
        error = {"error": held_out_error(self.walker, held_out.pixels, told)}
        moving = {"object", "colour", "direction"} <= self.data.labels.keys() and self.data.channels == 3
        changing = [name for name in self.data.labels if f"{name}_after" in self.data.labels] if judge else []
        if not moving and not changing:
            return error
        drawn = self.walker.draw(told, seed=0, guidance=2.0, steps=12, sampler="dpm++")
        if moving:
            return {**error, **score_moving(drawn, held_out.pixels, held_out.labels, self.data.labels)}
        return {**error, **self._changed(drawn, held_out, changing, judge)}  # type: ignore[arg-type]

    def _changed(self, drawn: Tensor, held_out: VideoBatch, changing: list[str], judge: Judge) -> dict[str, Score]:
        """What the judge sees in the last frame of clips (N, F, C, H, H), and in the first, of what changes between them."""
        scores, columns = {}, list(self.data.labels)
        for when, place in (("after", -1), ("before", 0)):
            asked = [columns.index(name if when == "before" else f"{name}_after") for name in changing]
            named = {name: self.data.labels[name] for name in changing}
            seen = agreement(drawn[:, place], held_out.pixels[:, place], held_out.labels[:, asked], named, judge)
            scores |= {f"{name}_{when}": score._replace(about=f"{score.about}, {when} the change")
                       for name, score in seen.items()}  # fmt: skip
        return scores

    @ask
    def generate(self, prompt: str = "", negative: str = "", n: Count = 8, seed: int = 0, guidance: Guidance = 2.0,
                 steps: Steps = 16) -> Video:  # fmt: skip
        """Make clips from a sentence; the same seed always gives the same ones.

        prompt: what should be in the clips and what should happen; nothing makes whatever comes
        negative: what should not be in them; heard with a guidance above 1
        n: how many clips
        seed: which clips; a larger n continues the same series
        guidance: how loud the prompt is: 1 as it was learnt, more exaggerates it, 0 forgets it
        steps: stops on the way from noise to clip
        """
        told, against = self._told(prompt, n), self._told(negative, n, "negative")
        clips = self.walker.draw(told, seed, guidance, steps, "dpm++", against=against)
        return Video(clips, self.data.rate, (prompt,) * n if prompt else ())

    @ask
    def between(self, prompt: str = "", to: str = "", n: Annotated[int, Range(2, 60)] = 8, seed: int = 0,
                guidance: Guidance = 2.0, steps: Steps = 16) -> Video:  # fmt: skip
        """Go from one sentence to another in even steps, all from one noise: the vectors of their words are mixed.

        prompt: of the first clip
        to: of the last clip
        n: how many clips
        seed: which noise
        guidance: how loud the prompts are
        steps: stops on the way from noise to clip
        """
        share = torch.linspace(0, 1, n)
        first, last = self._told(prompt, n), self._told(to, n, "to")
        told = torch.lerp(first, last, share[:, None, None].to(first.device))
        noise = self.walker.noise(seed, [0] * n)
        clips = end(self.walker.walk(noise(), noise, told, guidance, steps, "dpm++"))
        return Video(clips, self.data.rate, tuple(f"{100 * float(part):.0f} % of the way" for part in share))

    @ask
    def storyboard(self, prompt: str = "", seed: int = 0, stops: Annotated[int, Range(2, 60)] = 8, guidance: Guidance = 2.0,
                   steps: Steps = 16) -> Images:  # fmt: skip
        """Show one clip as pictures beside each other, read like a page.

        prompt: what should be in the clip and what should happen
        seed: which clip
        stops: how many frames are shown, or as many as there are
        guidance: how loud the prompt is
        steps: stops on the way from noise to clip
        """
        (clip,) = self.walker.draw(self._told(prompt, 1), seed, guidance, steps, "dpm++")  # (F, C, H, H)
        places = torch.linspace(0, len(clip) - 1, min(stops, len(clip))).round().long()
        seconds = tuple(f"{float(place) / self.data.rate:.2f} s" for place in places)
        return Images(clip[places.to(clip.device)], titles=seconds)

    def _told(self, prompt: str, n: int, named: str = "prompt") -> Tensor:
        """A prompt -> its vectors, n times, (n, 1 + T, words); the user hears what was not understood."""
        if missed := self.data.not_understood(prompt, named):
            self.tell(missed + "\n")
        return self.heard(self.data.tokens_of([prompt]).to(next(self.parameters()).device)).expand(n, -1, -1)
