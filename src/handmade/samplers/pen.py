"""Tokens into text as they come: what is certain is told at once, and a stop text is never shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handmade.samplers.tokens import held_back, stopped_at


class Pen:
    """Turns the tokens of one row into text as they come, and knows when to stop."""

    def __init__(self, decode: Callable[[list[int]], str], stops: Sequence[str], end: int | None):
        self.decode, self.stops, self.end = decode, stops, end
        self.tokens: list[int] = []
        self.text, self.shown, self.done = "", 0, False

    def add(self, token: int) -> str:
        """Take a token; return the text that is certain by now and has not been returned before."""
        if self.done:
            return ""
        if token == self.end:
            return self.finish()
        self.tokens.append(token)
        self.text = self.decode(self.tokens)
        place = stopped_at(self.text, self.stops)
        if place is not None:
            self.text = self.text[:place]
            return self.finish()
        sure = len(self.text.rstrip("\ufffd"))  # a letter whose bytes have not all come
        return self._show(sure - held_back(self.text[:sure], self.stops))

    def finish(self) -> str:
        """End the text; return what has not been returned before."""
        self.done = True
        return self._show(len(self.text))

    def _show(self, until: int) -> str:
        new, self.shown = self.text[self.shown : until], max(self.shown, until)
        return new
