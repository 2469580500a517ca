"""Exact answers: what is equal, what is not, and what the reward makes of it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flywheel_jobs.reading.equality import equal, normal_form
from flywheel_jobs.reading.final import find
from flywheel_jobs.rewards import math


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("6", "6.0"),
        ("1/2", "0.5"),
        (r"\frac{1}{2}", "0.50"),
        (r"-\frac{1}{2}", "-1/2"),
        (r"\dfrac12", ".5"),
        ("1,000", "1000"),
        ("{1, 2}", "{2,1}"),
        (r"\{1,2\}", "{2, 1}"),
        (r"\left(1, \frac{1}{2}\right)", "(1,0.5)"),
        ("50%", "1/2"),
        ("x = 3", "3"),
        ("$7$.", "7"),
        ("−4", "-4"),
        ("2/4", "1/2"),
        ("No Solution", "no  solution."),
    ],
)
def test_equal(one: str, other: str) -> None:
    assert equal(one, other) and equal(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("", ""),
        ("5+3", "8"),
        ("(1,2)", "(2,1)"),
        ("1/0", "0"),
        ("7", "7.1"),
        ("1,00", "100"),
    ],
)
def test_not_equal(one: str, other: str) -> None:
    assert not equal(one, other)


@settings(deadline=None)
@given(st.fractions(max_denominator=1000))
def test_every_form_of_a_fraction_has_one_normal_form(value: Fraction) -> None:
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    forms = [f"{sign}{top}/{bottom}", rf"{sign}\frac{{{top}}}{{{bottom}}}", f" {sign}{3 * top}/{3 * bottom}. "]
    assert {normal_form(f) for f in forms} == {str(value)}


@settings(deadline=None)
@example("],±")
@given(st.text(max_size=400) | st.text("[](){}\\,;±=<>x1/2 .^_%$∪or", max_size=12))
def test_any_text_is_normalised_without_error(text: str) -> None:
    assert normal_form(normal_form(text)) == normal_form(text)
    assert 0.0 <= math.score(text, "7")["score"] <= 1.0


def test_final_answer_is_the_last_that_is_marked() -> None:
    assert find("<answer>1</answer> no, <answer> 2 </answer> \\boxed{3}").text == "3"
    assert find("\\boxed{3} <answer>1</answer> no, <answer> 2 </answer>").text == "2"
    assert find(r"so \boxed{1} then \boxed{\frac{3}{4}}").text == r"\frac{3}{4}"
    assert find(" 12 \n").text == "12"
    assert find(r"\boxed{never closed").text == r"\boxed{never closed"


@pytest.mark.parametrize(
    ("solution", "score", "correct"),
    [("8", 1.0, True), ("8.", 1.0, True), ("9", 0.0, False), ("the answer is 8", 1.0, True),
         ("it may be 8", 0.0, False), ("", 0.0, False),
     ("<answer>8</answer>", 1.0, True), ("<answer>9</answer>", 0.0, False), ("9" * 5000, 0.0, False)],
)  # fmt: skip
def test_reward_truth_table(solution: str, score: float, correct: bool) -> None:
    result = math.score(solution, "8")
    assert (result["score"], result["correct"]) == (score, correct)
    paid = math.score(solution, "8", format_bonus=0.1)
    assert paid["correct"] == correct
    assert paid["score"] == (1.0 if correct else 0.1 if solution in ("9", "<answer>9</answer>") else 0.0)
