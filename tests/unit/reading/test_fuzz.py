"""Hostile text for a limited time: a minute here, longer with `make fuzz FUZZ=3600`.

A failure prints its seed and text.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from fractions import Fraction

import pytest

from flywheel_api.canonical import canonical_json
from flywheel_jobs.endpoints.structured import parse as parse_structured
from flywheel_jobs.evaluation.form import form_of
from flywheel_jobs.reading import calls, final, foreign, jsontext, text, thought
from flywheel_jobs.reading.equality import checkable, equal, normal_form
from flywheel_jobs.reasoning.roles import Variant
from flywheel_jobs.rewards import math

SECONDS = float(os.environ.get("FLYWHEEL_FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("FLYWHEEL_FUZZ_SEED", "20260727"))
SLOW = 1.0  # seconds of CPU for one text: the longest here have some 100,000 characters

PIECES = [
    "<think>", "</think>", "<thinking>", "</thinking >", "<think a='b'>", "◁think▷", "◁/think▷", "[THINK]",
    "[/THINK]", "THINK]", "think▷", "◁", "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|end|>",
    "<|start|>assistant", "<|channel|>", "<tool_call>", "</tool_call>", '{"name": "f", "arguments": {', '"a": ',
    "}}", "<answer>", "</answer>", "<answer", "\\boxed{", "\\boxed", "\\fbox{", "####", "\n#### ", "Answer:",
    "The final answer is ", "答案是", "$", "\\(", "\\text{", "\\frac", "\\sqrt[", "\\pm", "\\begin{pmatrix}",
    "\\end{pmatrix}", "&", "\\\\", "\\left", "\\infty", "\\in", "x=", "<=", "^", "_", "{", "}", "(", ")", "[",
    "]", "|", "!", "%", ",", ".", "/", "*", "-", "+", "1", "23", "0.5", "9" * 40, "e", "i", "π", "½", "²", "₁",
    "°", "1,000", " or ", " and ", "cm", "apples", "thousand", "\ud83d", "\ude00", "\x00", "\x85", "\u2028",
    "\u200e", "﻿", "１", "٣", "\n", " ", "\t", "```json\n", "```", '"', "'", "null", "NaN", "-Infinity",
    "1e999", "cannot", "A", "(B)", "yes", "\\", "\\u d800", "\\ud800",
    "<response>", "</response>", "<final>", "</final>", "&lt;think&gt;", "analysisSo ", "assistantfinal", "f(a=",
    '{"name": "f", "arguments":', " to ", "noon", "|x|", "x_1=", "0.(", " base ", "_{two}", "(A) ", "pounds", "\\vec{",
]  # fmt: skip


def hostile(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.02:
        return rng.choice(PIECES) * 10_000
    if kind < 0.2:
        return "".join(rng.choices(PIECES, k=rng.randint(1, 3))) * rng.choice([20, 100, 500])
    return "".join(rng.choices(PIECES, k=int(rng.expovariate(1 / 12)) + 1))


def number(rng: random.Random, value: Fraction) -> str:
    """One of the ways in which people write a number."""
    sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
    times = rng.randint(1, 5)
    ways = [
        f"{sign}{top * times}/{bottom * times}",
        rf"{sign}\frac{{{top}}}{{{bottom}}}",
        rf"${sign}\dfrac{{{top}}}{{{bottom}}}$",
    ]
    if bottom == 1:
        ways += [
            f"{sign}{top}",
            f"{sign}{top:,}",
            f"{sign}{top}.0",
            f"{sign}{top}.",
            rf"\boxed{{{sign}{top}}}",
            f"({sign}{top})",
        ]
        ways += [f"{sign}{top:_}", f"{sign}{top:,}".replace(",", "{,}"), f"{sign}{top * 100}%"]
    elif top > bottom:
        whole, rest = divmod(top, bottom)
        ways += [rf"{sign}{whole}\frac{{{rest}}}{{{bottom}}}", f"{sign}{whole} {rest}/{bottom}"]
    return rng.choice(["", " ", "**"]).join(["", rng.choice(ways), ""])


def check(said: str) -> None:
    """What holds for every text."""
    clean = text.clean(said)
    clean.encode()
    assert text.clean(clean) == clean
    split = thought.split(clean)
    turn = calls.parse(clean)
    for call in turn.calls:
        canonical_json({"name": call.name, "arguments": json.loads(json.dumps(call.arguments))})
        assert f'"{call.name[:1]}' not in split.thought or call.name in split.text
    found = final.find(clean)
    assert len(found.text) <= 4 * final.MAX_ANSWER and (found.text in split.text or not found.text)
    scored = math.score(clean, "7")
    assert 0.0 <= scored["score"] <= 1.0 and not (math.score(clean, "7", cut=True)["correct"])
    assert math.score(clean, "7")["correct"] <= form_of(clean, "7", False)["lenient"]
    assert final.truth(final.truth(clean)) == final.truth(clean) or len(clean) > final.MAX_ANSWER
    parse_structured(clean, Variant)
    try:
        jsontext.loads(clean)
    except ValueError:
        pass


def check_answer(one: str, other: str) -> None:
    """What holds for any two answers."""
    assert equal(one, other) == equal(other, one)
    form = normal_form(one)
    assert normal_form(form) == form or not checkable(one)
    if checkable(one):
        assert equal(one, one) and equal(form, one)


def once(said: str, more: str) -> float:
    """Seconds of CPU for one text."""
    started = time.process_time()
    check(said)
    check_answer(said[:80], more)
    return time.process_time() - started


@pytest.mark.parametrize("blank", [" ", "\n"])
@pytest.mark.parametrize("mark", ["```", "a ```json", "abc", "<answer>", "f(a=", '{"name":'])
def test_blanks_behind_a_mark_are_read_once(mark: str, blank: str) -> None:
    """Models that are held to JSON may go on with blanks until they are cut off."""
    said = f"{mark}{blank * 8_000}x"
    started = time.process_time()
    for reader in (foreign.holds_call, final.find, calls.parse):
        reader(said)
    assert parse_structured(said, Variant)[0] is None and time.process_time() - started < SLOW / 8


def test_fuzz() -> None:
    equal("\\sqrt{2}", "\\pi")
    deadline = time.monotonic() + SECONDS
    rng, texts = random.Random(SEED), 0
    for number_of in itertools.count():
        if time.monotonic() > deadline:
            break
        said, value, more = (
            hostile(rng),
            Fraction(rng.randint(-2000, 2000), rng.choice([1, 1, 2, 3, 4, 7, 8])),
            hostile(rng)[:60],
        )
        other = value + rng.choice([0, 0, 1, Fraction(1, 2), Fraction(-1, 1000)])
        forms = (number(rng, value), number(rng, other))
        try:
            seconds = once(said, more)
            assert equal(*forms) == (value == other), forms
        except Exception as error:
            pytest.fail(f"text {number_of} of seed {SEED}: {type(error).__name__}: {error}: {said[:300]!r} {more!r}")
        # a pause of the interpreter's own, or what is imported when it is first needed, is not paid again
        slow = seconds > SLOW and once(said, more) > SLOW
        assert not slow, f"{said[:100]!r} ({len(said)} characters), {more!r} takes too long"
        texts = number_of
    assert texts > 10
