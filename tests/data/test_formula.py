from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handmade.data.formula import Formula
from handmade.errors import UserError


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("1.08 ** x", lambda x: 1.08**x),
        ("10 - x**2", lambda x: 10 - x**2),
        ("-sin(x) / 2 + cos(pi * x)", lambda x: -math.sin(x) / 2 + math.cos(math.pi * x)),
        ("exp(-abs(x)) * sqrt(x + 10) - log(x + 4) + tan(x / 9) * e", None),
        ("3", lambda x: 3.0),
        ("+x", lambda x: x),
    ],
)
def test_a_formula_computes_what_it_says(text: str, function):
    if function is None:

        def function(x: float) -> float:
            return math.exp(-abs(x)) * math.sqrt(x + 10) - math.log(x + 4) + math.tan(x / 9) * math.e

    x = torch.linspace(-3, 3, 31)
    y = Formula(text)(x)
    assert y.dtype == torch.float32
    assert y.shape == x.shape
    torch.testing.assert_close(y, torch.tensor([function(value) for value in x.tolist()]))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "().__class__", "x.real", "open('f')", "lambda: 1", "[x for x in x]",
        "x if x else 1", "x and 1", "x == 1", "'a' * 9", "x; 1", "y = x", "sin(x, x)", "sin(x=1)", "sin", "f(x)",
        "x ^ 2", "x // 2", "x % 2", "True", "None", "1j", "x @ x", "", "   ", "x +", "(" * 90, "x\0", "1e999",
        "9" * 190 + "e9999", "x" * 201, "{x}", "x[0]", "x ** 1000", "~x", "not x", "*x", "f'{x}'", "eval(x)",
        "x ** 10 ** 1000",
    ],
)  # fmt: skip
def test_what_is_no_formula_of_x_is_refused_in_one_line(text: str):
    with pytest.raises(UserError) as caught:
        Formula(text)
    assert "\n" not in str(caught.value)


def test_towers_of_powers_end_at_once_as_infinity():
    assert Formula("9 ** 9 ** 9 ** 9")(torch.ones(3)).isinf().all()


def test_the_message_says_how_a_power_is_written_and_names_the_nearest_function():
    with pytest.raises(UserError, match=r"power is written \*\*"):
        Formula("x ^ 2")
    with pytest.raises(UserError, match='did you mean "sin"'):
        Formula("sine(x)")


@given(st.text(alphabet="x0123456789.+-*/() sincoexp^_'[]{},:=", max_size=40))
def test_any_text_is_a_formula_or_a_users_mistake(text: str):
    try:
        formula = Formula(text)
    except UserError:
        return
    assert formula(torch.ones(2)).shape == (2,)
