"""A method's signature is the form: `@ask` parameters become Python arguments, command line flags and browser widgets.

An ask is a method whose parameters are all typed, defaulted and documented, one `name: text` line each in its docstring.
Kinds: int, float, bool, str, Path, `Literal[...]` for a choice; `Annotated[int, Range(1, 64)]` adds limits.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from handmade.errors import UserError, did_you_mean

MOST_BYTES = 48 * 1024  # of all texts of an ask together, as they are noted in the files that it makes


class Range(NamedTuple):
    """Inclusive limits of a number."""

    low: float
    high: float


@dataclass(frozen=True)
class Parameter:
    """One field of the form: its name, its kind, its default, one line of help, and what is allowed."""

    name: str
    kind: type  # int, float, bool, str or Path
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    limits: Range | None = None

    def check(self, value: Any) -> Any:
        """Return `value` as this kind; raise UserError naming what is allowed."""
        try:
            right = self._convert(value)
        except (TypeError, ValueError):
            raise UserError(f"{self.name} must be {_words[self.kind]}, not {value!r}") from None
        if self.choices and right not in self.choices:
            raise UserError(f"{self.name} cannot be {value!r}{did_you_mean(str(value), map(str, self.choices))}")
        if self.kind is int and abs(right) >= 2**63:
            raise UserError(f"{self.name} must have fewer digits than {value!r}")
        if self.limits and not self.limits.low <= right <= self.limits.high:
            raise UserError(f"{self.name} must lie between {self.limits.low:g} and {self.limits.high:g}, not {value!r}")
        if self.kind is Path and "\0" in str(right):
            raise UserError(f"{self.name} cannot be {value!r}: no file has a zero byte in its name")
        return right

    def _convert(self, value: Any) -> Any:
        if self.kind is bool and isinstance(value, str):
            return (
                {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[value.lower()]
                if value.lower() in {"true", "yes", "1", "false", "no", "0"}
                else int("not a switch")
            )
        if self.kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError(value)
        if self.kind in (int, float) and isinstance(value, bool):
            raise ValueError(value)
        return self.kind(value)


_words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}


class Ask(NamedTuple):
    """One thing a system can be asked for."""

    name: str
    summary: str  # the first line of the docstring
    parameters: tuple[Parameter, ...]

    def check(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments, defaults filled in and kinds checked; raise UserError for an unknown or wrong one."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in arguments:
            if name not in known:
                raise UserError(f'{self.name} has no setting "{name}"{did_you_mean(name, known)}')
        return {name: p.check(arguments[name]) if name in arguments else p.default for name, p in known.items()}


def check_noted(arguments: Mapping[str, Any]) -> None:
    """Raise UserError where the note of origin in the files that an ask makes could not hold its arguments."""
    sizes = {name: _noted(name, value) for name, value in arguments.items() if isinstance(value, str | Path)}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UserError(f"{largest} is too long, with {sizes[largest]:,} bytes: all settings together have at most "
                        f"{MOST_BYTES:,}, to fit into the files that are made; give less, or a file")  # fmt: skip


def _noted(name: str, value: str | Path) -> int:
    """The bytes that a text takes in the note of origin; UserError for one that cannot be written down."""
    try:
        return len(json.dumps(str(value), ensure_ascii=False).encode())
    except UnicodeEncodeError:
        raise UserError(
            f"{name} has bytes that are not UTF-8, {str(value)[:80]!r}: type it anew, or rename the file"
        ) from None


def describe(method: Callable[..., Any]) -> Ask:
    """Read an ask's form from its signature and docstring; a missing type, default or line of help is a ValueError."""
    text = inspect.getdoc(method) or ""
    helps = dict(line.split(": ", 1) for line in text.splitlines()[1:] if ": " in line)
    kinds = get_type_hints(method, include_extras=True)
    parameters = []
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        if parameter.default is parameter.empty or name not in kinds or not helps.get(name):
            raise ValueError(f"ask {method.__qualname__}: parameter {name} needs a type, a default and a line of help")
        parameters.append(_parameter(name, kinds[name], parameter.default, helps[name].strip()))
    if not text:
        raise ValueError(f"ask {method.__qualname__} needs a docstring")
    return Ask(method.__name__.removesuffix("_"), text.splitlines()[0], tuple(parameters))


def _parameter(name: str, hint: Any, default: Any, text: str) -> Parameter:
    limits = None
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        limits = next((extra for extra in extras if isinstance(extra, Range)), None)
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return Parameter(name, type(choices[0]), default, text, choices)
    if hint not in _words:
        raise ValueError(f"parameter {name}: {hint} is not a kind a form knows")
    return Parameter(name, hint, default, text, (), limits)
