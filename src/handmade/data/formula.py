"""A formula of x that the user types, read as mathematics and never run as code.

The text is parsed into Python's syntax tree, and a short list of its nodes is allowed: numbers, x, pi, e, + - * / **,
signs, and seven functions. It is then evaluated on float64 tensors, so that no power of whole numbers can grow without
bound.
"""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING

from handmade.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

LONGEST, LARGEST_POWER = 200, 100.0
FUNCTIONS = ("sin", "cos", "tan", "exp", "log", "sqrt", "abs")
CONSTANTS = {"pi": math.pi, "e": math.e}
OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}


class Formula:
    """A function of x: `Formula("1.08 ** x")(x)`. Raises UserError for anything that is not a formula of x."""

    def __init__(self, text: str):
        self.text = text.strip()
        if not self.text or len(self.text) > LONGEST:
            raise UserError(f"a formula has 1 to {LONGEST} characters, not {len(self.text)}: try sin(x)")
        try:
            self._tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            raise UserError(f'"{self.text}" is not a formula of x: try 1.08 ** x or sin(x) / 2') from None
        _check(self._tree, self.text)

    def __call__(self, x: Tensor) -> Tensor:
        """f(x) of any shape, in the kind of numbers of x; nan or infinite where f is not defined."""
        return _value(self._tree, x.double()).expand_as(x).to(x.dtype)


def _check(node: ast.AST, text: str) -> None:
    """Refuse every node that is not on the list; the message names what the user wrote."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            _finite(number, text)
        case ast.Name(id=name):
            if name != "x" and name not in CONSTANTS:
                raise UserError(f'"{text}": {name} is unknown{did_you_mean(name, ["x", *CONSTANTS, *FUNCTIONS])}')
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, text)
        case ast.BinOp(op=ast.Pow(), right=ast.Constant(value=int() | float() as exponent)) if exponent > LARGEST_POWER:
            raise UserError(f'"{text}": an exponent may be at most {LARGEST_POWER:g}')
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            _check(left, text)
            _check(right, text)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if name not in FUNCTIONS:
                raise UserError(f'"{text}": {name} is no function here{did_you_mean(name, FUNCTIONS)}')
            _check(argument, text)
        case _:
            part = ast.get_source_segment(text, node) or text
            hint = "; a power is written **" if "^" in part else ""
            raise UserError(f'"{text}": "{part}" is not allowed{hint} (numbers, x, + - * / **, {", ".join(FUNCTIONS)})')


def _finite(number: float, text: str) -> None:
    try:
        if math.isfinite(float(number)):
            return
    except OverflowError:
        pass
    raise UserError(f'"{text}": a number in it is too large')


def _value(node: ast.AST, x: Tensor) -> Tensor:
    """Evaluate a checked tree on float64 numbers."""
    import torch

    match node:
        case ast.Constant(value=number):
            return x.new_tensor(float(number))  # type: ignore[arg-type]
        case ast.Name(id=name):
            return x if name == "x" else x.new_tensor(CONSTANTS[name])
        case ast.UnaryOp(op=operator, operand=operand):
            return -_value(operand, x) if isinstance(operator, ast.USub) else _value(operand, x)
        case ast.BinOp(left=left, op=operator, right=right):
            return getattr(torch, OPERATORS[type(operator)])(_value(left, x), _value(right, x))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return getattr(torch, name)(_value(argument, x))
    raise UserError(f"{ast.dump(node)} is not part of a formula")  # unreachable for a checked tree
