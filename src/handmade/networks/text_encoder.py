"""A sentence becomes vectors: a small Transformer over its words. Vaswani et al. 2017 (arXiv 1706.03762).

Words see each other in both directions, and norms come first (Xiong et al. 2020, arXiv 2002.04745). Id 0 is no word: nobody
looks at it, and a sentence of nothing else is a vector of its own, learnt too. Two things are there because captions are short
and say small things: a convolution lets each word hear its two neighbours before anybody looks farther (Kim 2014, arXiv
1408.5882), so that "green eyes" is something else than "green hair" from the first step on; and the sentence is the sum of its
words over the root of their number, not over their number, so that one word of fifteen is not lost among the others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm


class WordLayer(nn.Module):
    """Attention among words, then two linear layers."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = math.gcd(heads, width)  # as many as divide the width
        self.ask, self.say = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think, self.tell = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, W) and (B, 1, 1, T), 0 for words and -inf for none -> (B, T, W)."""
        wide = x.shape[-1:]
        q, k, v = (
            self.ask(layer_norm(x, wide)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # (B, K, T, W/K)
        odds = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + mask).softmax(-1)  # (B, K, T, T)
        x = x + self.say((odds @ v).transpose(1, 2).flatten(2))
        return x + self.tell(gelu(self.think(layer_norm(x, wide))))


class TextEncoder(nn.Module):
    """The ids of words -> a vector for each, and one for the sentence.

    vocabulary: how many ids there are; longest: words of a sentence
    """

    def __init__(self, vocabulary: int, longest: int, width: int, layers: int, heads: int = 4):
        super().__init__()
        self.word, self.place = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        nn.init.normal_(self.place.weight, std=0.1)
        self.near = nn.Conv1d(width, width, 3, padding=1)
        self.layers = nn.ModuleList(WordLayer(width, heads) for _ in range(layers))
        self.silence = nn.Parameter(torch.zeros(width))  # the sentence in which nothing is said

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) ids, 0 for no word -> words (B, T, W), zero where there are none, and sentences (B, W)."""
        said = (tokens != 0).float()[:, :, None]  # (B, T, 1)
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = (self.word(tokens) + self.place(places)) * said  # (B, T, W)
        x = x + gelu(self.near(x.transpose(1, 2)).transpose(1, 2))
        mask = torch.where(said.bool(), 0.0, -1e4).transpose(1, 2)[:, None].to(x.dtype)  # (B, 1, 1, T)
        for layer in self.layers:
            x = layer(x, mask)
        words = layer_norm(x, x.shape[-1:]) * said
        count = said.sum(1)  # (B, 1)
        sentence = words.sum(1) * count.clamp_min(1).rsqrt()
        return words, torch.where(count > 0, sentence, self.silence.to(sentence.dtype))
