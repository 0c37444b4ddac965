"""OpenAI's /v1/models and /v1/completions over runs that write text, so that clients that exist work unchanged.

A run takes part if its data is running text and it has an ask with `prompt`, `max_tokens`, `temperature` and `seed`.
"""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from handmade.errors import HandmadeError, UserError
from handmade.studio.asking import Worker
from handmade.studio.making import while_listening
from handmade.studio.models import AskWanted, CompletionWanted
from handmade.studio.places import Full, Missing
from handmade.studio.reading import STREAM
from handmade.studio.studio import Studio

NEEDED = {"prompt", "max_tokens", "temperature", "seed"}
PASSED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")


def completions(studio: Studio) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/models")
    def models() -> dict[str, Any]:
        """Every run that writes text."""
        return {"object": "list", "data": [_model(run) for run in _writers(studio)]}

    @routes.get("/models/{model}")
    def model(model: str) -> Any:
        """One of them."""
        found = next((run for run in _writers(studio) if run["id"] == model), None)
        return (
            _model(found)
            if found
            else _error(404, f'there is no model "{model[:80]}" here', "model", "model_not_found")
        )

    @routes.post("/completions")
    async def complete(wanted: CompletionWanted, request: Request) -> Any:
        """Go on with texts."""
        try:
            if wanted.model not in {run["id"] for run in await asyncio.to_thread(_writers, studio)}:
                return _error(404, f'there is no model "{wanted.model[:80]}" here', "model", "model_not_found")
            worker = await studio.worker(wanted.model)
            pen = _Pen(studio, worker, wanted)
            if not wanted.stream:
                return JSONResponse(await while_listening(request, pen.whole()))
            return StreamingResponse(pen.stream(), media_type="text/event-stream", headers=STREAM)
        except Full as error:
            return _error(503, str(error), None, "overloaded")
        except HandmadeError as error:
            return _error(400, str(error), None, "invalid_value")

    return routes


def _writers(studio: Studio) -> list[dict[str, Any]]:
    """The runs whose data is running text."""
    return [run for run in studio.runs.all() if run["usable"] and studio.runs.kind(run["id"]) == "text"]


def _model(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": run["id"], "object": "model", "created": int(run["created"]), "owned_by": "handmade"}


def _error(status: int, message: str, param: str | None, code: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return JSONResponse(body, status, headers={"retry-after": "5"} if status == 503 else None)


class _Pen:
    """One request: as many texts as it has prompts, times `n`."""

    def __init__(self, studio: Studio, worker: Worker, wanted: CompletionWanted):
        forms = ((f["name"], {p["name"] for p in f["parameters"]}) for f in worker.form["asks"])
        found = next(((name, takes) for name, takes in forms if takes >= NEEDED), None)
        if found is None:
            raise Missing(wanted.model)
        self.ask, takes = found
        self.worker, self.wanted = worker, wanted
        self.name, self.created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
        stops = [wanted.stop] if isinstance(wanted.stop, str) else wanted.stop or []
        if any("|" in stop or not stop for stop in stops):
            raise UserError("a stop text cannot be empty or hold the sign |")
        shared = {key: getattr(wanted, key) for key in PASSED if key in takes}
        self.prompts = [wanted.prompt] if isinstance(wanted.prompt, str) else list(wanted.prompt)
        self.texts = []
        for prompt in self.prompts:
            for copy in range(wanted.n):
                arguments = {
                    **shared,
                    "prompt": prompt,
                    "seed": wanted.seed + copy,
                    **({"stop": "|".join(stops)} if stops else {}),
                }
                self.texts.append((prompt, studio.arguments(worker, self.ask, AskWanted(arguments=arguments))))

    async def _write(self, index: int) -> AsyncIterator[dict[str, Any]]:
        """The pieces of one text: text, tokens; at the end how it ended."""
        prompt, arguments = self.texts[index]
        count, length = 0, len(prompt) if self.wanted.echo else 0
        if self.wanted.echo and prompt:
            yield {
                "text": prompt,
                "logprobs": self._logprobs(prompt, [], 0) if self.wanted.logprobs is not None else None,
            }
        request = {"do": "ask", "ask": self.ask, "arguments": arguments, "live": True, "stream": True}
        async for message in self.worker.ask(request):
            if message["kind"] == "told" and not message["given"]:
                count += len(message["tokens"])
                told = (
                    self._logprobs(message["text"], message["tokens"], length)
                    if self.wanted.logprobs is not None
                    else None
                )
                length += len(message["text"])
                yield {"text": message["text"], "logprobs": told}
            elif message["kind"] == "done":
                ended = "length" if count >= self.wanted.max_tokens else "stop"
                yield {
                    "text": "",
                    "logprobs": None,
                    "finish": ended,
                    "count": count,
                    "given": message.get("prompt_tokens", 0),
                }

    def _logprobs(self, text: str, tokens: list[dict[str, Any]], start: int) -> dict[str, list[Any]]:
        """OpenAI's four lists. A piece of several tokens, such as the bytes of one letter, stands with the last of them."""
        names = [""] * (len(tokens) - 1) + [text]
        best = [token["candidates"][: self.wanted.logprobs] for token in tokens] or [[]]
        shares = [token["p"] for token in tokens] or [None]
        return {
            "tokens": names, "token_logprobs": [_log(share) for share in shares],
            "top_logprobs": [{name: _log(share) for name, share in row} for row in best], "text_offset": [start] * len(names),
        }  # fmt: skip

    async def whole(self) -> dict[str, Any]:
        """Everything at once, in OpenAI's shape."""
        choices = await asyncio.gather(*(self._gather(index) for index in range(len(self.texts))))
        made, given = sum(c.pop("count") for c in choices), sum(c.pop("given") for c in choices[:: self.wanted.n])
        usage = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
        return {**self._head(), "choices": choices, "usage": usage}

    async def _gather(self, index: int) -> dict[str, Any]:
        text, told, last = "", {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}, {}
        async for piece in self._write(index):
            text, last = text + piece["text"], piece
            for key, values in (piece["logprobs"] or {}).items():
                told[key] += values
        return {"text": text, "index": index, "logprobs": told if self.wanted.logprobs is not None else None,
                "finish_reason": last.get("finish"), "count": last.get("count", 0), "given": last.get("given", 0)}  # fmt: skip

    def _head(self) -> dict[str, Any]:
        return {"id": self.name, "object": "text_completion", "created": self.created, "model": self.wanted.model}

    async def stream(self) -> AsyncIterator[bytes]:
        """Piece by piece, as server-sent events, `[DONE]` last."""
        queue: asyncio.Queue[tuple[int, dict[str, Any]] | Exception | None] = asyncio.Queue()
        tasks = [asyncio.create_task(self._into(queue, index)) for index in range(len(self.texts))]
        open_, made, given = len(tasks), 0, 0
        try:
            while open_:
                item = await queue.get()
                if item is None:
                    open_ -= 1
                    continue
                if isinstance(item, Exception):
                    yield _data({"error": {"message": str(item), "type": "server_error", "param": None, "code": None}})
                    return
                index, piece = item
                made, given = made + piece.get("count", 0), given + piece.get("given", 0)
                choice = {
                    "text": piece["text"],
                    "index": index,
                    "logprobs": piece["logprobs"],
                    "finish_reason": piece.get("finish"),
                }
                yield _data({**self._head(), "choices": [choice]})
            if (self.wanted.stream_options or {}).get("include_usage"):
                usage = {
                    "prompt_tokens": given // self.wanted.n,
                    "completion_tokens": made,
                    "total_tokens": given // self.wanted.n + made,
                }
                yield _data({**self._head(), "choices": [], "usage": usage})
            yield b"data: [DONE]\n\n"
        finally:
            for task in tasks:
                task.cancel()

    async def _into(self, queue: asyncio.Queue[Any], index: int) -> None:
        try:
            async for piece in self._write(index):
                queue.put_nowait((index, piece))
        except HandmadeError as error:
            queue.put_nowait(error)
        finally:
            queue.put_nowait(None)


def _log(share: float | None) -> float | None:
    return None if share is None else max(-100.0, math.log(share)) if share > 0 else -100.0


def _data(values: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n".encode("utf-8", "replace")
