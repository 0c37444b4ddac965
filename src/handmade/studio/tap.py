"""Inside a worker: what a text model had in mind at each token, overheard where every system calls its networks.

A system's networks are its direct children (`core.System`). A child that gives one row of logits as long as the vocabulary is
asked for a next token; what the ask tells right after was drawn from them. No room needs to know.
"""

from __future__ import annotations

from typing import Any

import torch

from handmade.core import System
from handmade.studio.desk import Channel, Desk, Stopped

CANDIDATES = 8  # likeliest tokens that are told
LOOKED = 64  # likeliest tokens among which the one that was taken is looked for


class Tap:
    """Listens to the networks of a system and to what its asks tell, for each request on its own."""

    def __init__(self, system: System, desk: Desk, channel: Channel):
        self.spec, self.desk, self.channel = system.data, desk, channel
        self.names: dict[int, str] = {}
        if hasattr(self.spec, "decode") and isinstance(getattr(self.spec, "size", None), int):
            for child in system.children():
                child.register_forward_hook(self._heard)
        system.tell = self._told  # type: ignore[method-assign]

    def _heard(self, module: Any, given: Any, answer: Any) -> None:
        """Keep the logits of the last place, where this is a network that reads one text."""
        work = self.desk.current
        if work is None or not work.request.get("stream"):
            return
        logits = answer[0] if isinstance(answer, tuple) else answer
        if (
            isinstance(logits, torch.Tensor)
            and logits.ndim == 3
            and logits.shape[0] == 1
            and logits.shape[2] == self.spec.size
        ):
            work.state.setdefault("logits", []).append(logits[0, -1].detach())

    def _told(self, text: str) -> None:
        """Pass on what an ask says. A line's end is held back until more comes: asks end what they say with one."""
        work = self.desk.current
        if work is None or not work.request.get("stream"):
            return
        if work.stopped:
            raise Stopped
        state = work.state
        began = "logits" in state
        tokens = [self._odds(logits, text) for logits in state.get("logits", [])[-16:]]
        if began:
            state["logits"] = []
        text = state.pop("held", "") + text
        whole = text[:-1] if began and text.endswith("\n") else text
        if whole != text:
            state["held"] = "\n"
        if whole or tokens:
            state["said"] = state.get("said", "") + (whole if began else "")
            self.channel.send({"id": work.id, "kind": "told", "text": whole, "given": not began, "tokens": tokens})

    def _odds(self, logits: torch.Tensor, text: str) -> dict[str, Any]:
        """The likeliest tokens with their probabilities, and that of the one that was taken."""
        odds = logits.float().softmax(0)
        best = odds.topk(min(LOOKED, len(odds)))
        shares, tokens = best.values.tolist(), best.indices.tolist()
        names = [self._name(token) for token in tokens]
        alone = self.spec.encode(text)
        taken = float(odds[alone[0]]) if len(alone) == 1 else None
        if taken is None:  # what stands for a text in one piece may be another token than what was drawn
            taken = next((share for name, share in zip(names, shares, strict=True) if name == text), None)
        return {
            "p": taken,
            "candidates": [[name, round(share, 5)] for name, share in zip(names, shares, strict=True)][:CANDIDATES],
        }

    def _name(self, token: int) -> str:
        if token not in self.names:
            self.names[token] = str(self.spec.decode([token]))
        return self.names[token]

    def count(self, text: str) -> int:
        """How many tokens a text has; 0 where this is no text model."""
        return len(self.spec.encode(text)) if hasattr(self.spec, "coder") else 0

    def rest(self, work: Any, artifact: Any) -> str:
        """What an artifact of one text holds beyond what was told of it."""
        texts, given = getattr(artifact, "texts", ()), getattr(artifact, "given", ())
        if len(texts) != 1 or "said" not in work.state:
            return ""
        written = texts[0][given[0] if given else 0 :]
        said = work.state["said"]
        return written[len(said) :] if written.startswith(said) else ""
