"""Final answers by the conventions of the public sets."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

import flywheel_jobs
from flywheel_jobs.reading.final import find, truth
from flywheel_jobs.rewards import math


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("6 * 12 = <<6*12=72>>72\n#### 72", "72"),  # GSM8K
        ("The sum is 72.\n\nAnswer: 72", "72"),  # DAPO
        ("### Final Answer\n72", "72"), ("Therefore, the answer is **72**.", "72"), ("The correct option is C", "C"),
        ("Answer: $72$", "$72$"), ("**Final Answer:** 72", "72"), ("answer: **42**", "42"), ("Final: 13", "13"),
        ("Final Answer: The final answer is $72$. I hope it is correct.", "$72$"),  # Minerva
        ("The answer is 7.", "7."), ("So the answer is:\n72", "72"), ("答案是：72", "72"),
        ("so $x=\\boxed{72}$", "72"), ("\\boxed{\\frac{3}{4}}", "\\frac{3}{4}"), ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{5}\\boxed{}", "5"), ("\\boxed 5", "5"), ("\\fbox{5}", "5"), ("\\boxed{\\boxed{5}}", "5"),
        ("<answer>5</answer>", "5"), ("<ANSWER> 5 </ANSWER>", "5"), ("<answer>\\boxed{72}</answer>", "72"),
        ("<answer>Answer: 5</answer>", "5"), ("<answer><answer>7</answer></answer>", "7"),
        ("Write it in <answer> tags. <answer>5</answer>", "5"), ("<answer>5<answer>", "5"), ("<answer>5", "5"),
        ("\\boxed{5} goes in <answer> tags", "5"),
        ("<answer>1</answer> no, \\boxed{2}", "2"), ("\\boxed{1}, so <answer>2</answer>", "2"),
        ("Reasoning: \\boxed{12}\n\nFinal: 13", "13"), ("#### Step 3\nThe correct answer is (B)", "(B)"),
        ("<think>\\boxed{1}</think> 13", "13"), ("<think>\\boxed{1}", ""), ("<answer></answer>", ""), ("", ""),
        (" 12 \n", "12"), ("x" * 300, ""), ("\\boxed{never closed", "\\boxed{never closed"),
        ("<answer>A or B or C</answer>", "A or B or C"),
        ("<think>\\boxed{1}</think>\n<response>\n5\n</response>", "5"), ("<output>So \\boxed{5} holds</output>", "5"),
        ("<answer><final>5</final></answer>", "5"), ("<solution>5</solution>", "5"), ("#### **4**", "4"),
        ("\\boxed{3} or \\boxed{4}", "4"), ("<answer type=\"int\">4</answer>", "4"),
        ("The answer to the question is 5.", "5."), ("The answer is 5 because 2+3=5.", "5"),
        ("Answer: B, since A is not even", "B"), ("The answer is 14 years old.", "14 years old."),
    ],
)  # fmt: skip
def test_final_answer(written: str, answer: str) -> None:
    assert find(written).text == answer


@pytest.mark.parametrize(
    "written", ["36", "work <<3*12=36>>\n#### 36", "thus $x=\\boxed{36}$", "\\boxed{36}", "36.0", " 36 "]
)
def test_a_policy_that_is_right_is_right_however_the_truth_is_written(written: str) -> None:
    for said in (
        "<answer>36</answer>",
        "#### 36",
        "Answer: 36",
        "so \\boxed{36}",
        "<answer>\\boxed{36}</answer>",
        "36",
    ):
        assert math.score(said, written)["correct"], said
    assert truth(truth(written)) == truth(written)


@pytest.mark.parametrize(
    "answer",
    ["\\boxed{\\text{5}}", "\\boxed{\\mathbf{5}}", "= 5", "<answer>= 5</answer>", "<answer>Answer: 5</answer>"],
)
def test_five_in_disguise(answer: str) -> None:
    assert math.score(answer, "5")["correct"]


def test_choices() -> None:
    for said in (
        "\\boxed{(A)}",
        "\\boxed{A}",
        "<answer>A.</answer>",
        "The answer is (A).",
        "\\boxed{\\text{(A) }12}",
        "A",
        "(A) 12",
    ):
        assert math.score(said, "A")["correct"], said
        assert not math.score(said, "B")["correct"], said


def test_a_text_that_was_cut_is_never_right() -> None:
    assert math.score("\\boxed{12}", "12", cut=True)["score"] == 0.0


def test_marked_and_bare_are_told_apart() -> None:
    assert find("\\boxed{3}").marked and not find("3").marked
    assert [math.score(said, "8")["score"] for said in ("9", "<answer>9</answer>", "8")] == [0.0, 0.0, 1.0]


def test_marks_inside_marks_are_not_tried_in_every_order() -> None:
    """Each level tried eight marks of two kinds: such a text took a second, and another of 400 characters two."""
    started = time.process_time()
    for loop in ("####答案是 5 and " * 3000, "####答案是<think a='b'>" * 16):
        find(loop)
    assert time.process_time() - started < 1.0  # of three that it took


def test_what_models_say_is_cut_into_lines_at_newlines_only() -> None:
    """`str.splitlines` also cuts at U+2028, U+2029, U+0085 and three control characters, and nobody means that."""
    found = {
        path.relative_to(root).as_posix()
        for root in [Path(flywheel_jobs.__file__).parent]
        for path in root.rglob("*.py")
        if any(isinstance(n, ast.Attribute) and n.attr == "splitlines" for n in ast.walk(ast.parse(path.read_text())))
    }
    assert found == {"trainer/process.py", "report/load.py"}  # of /proc, and of a log's bytes
