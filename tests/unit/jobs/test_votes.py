"""Labels by votes: a strict majority of independent, readable votes; context travels with its question."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from flywheel_api.records.base import Message
from flywheel_api.records.reasoning import Problem
from flywheel_api.round import VerificationSpec
from flywheel_api.round_tracks import DedupSpec
from flywheel_jobs.reading.equality import equal
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.dedup import Contamination
from flywheel_jobs.reasoning.labels import Ballot, count_votes, labelled
from flywheel_jobs.reasoning.truths import NOT_CHECKABLE, gives_itself_away, with_truth
from flywheel_jobs.sources.load import Source
from flywheel_jobs.stages.prepare import clean

PROBLEM = Problem(id="p", question="How many are left?")
THREE = VerificationSpec()


def label(texts: list[str], rules: VerificationSpec = THREE, **ballot: list[str]) -> tuple[str | None, str]:
    """(label, why there is none)."""
    columns = [texts, ballot.get("finish", ["stop"] * len(texts)), ballot.get("ids", [""] * len(texts))]
    vote = count_votes(PROBLEM, [Ballot(*one) for one in zip(*columns, strict=True)], [0] * len(texts), "m", rules)
    found, reason = labelled(PROBLEM, vote, Contamination([], 13))
    return (found.answer if found else None), reason


def tagged(*answers: str) -> list[str]:
    return [f"so <answer>{a}</answer>" for a in answers]


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        (["1 1/2", "3/2", "1.5"], "3/2"), (["8", "8.0", "<answer>8"], "8"), (["$12", "12", "12 dollars"], "$12"),
        (["2\\sqrt3", "2\\sqrt{3}", "\\sqrt{12}"], "2\\sqrt3"), (["(0,1]", "(0, 1]", "0<x\\le1"], "(0,1]"),
        (["{1,2}", "2,1", "1 and 2"], "\\{1,2\\}"), (["(x+1)(x-2)", "(x-2)(x+1)", "x^2-x-2"], "(x+1)(x-2)"),
        (["B", "(B)", "\\text{B}"], "B"), (["yes", "Yes", "yes."], "yes"), (["12 cm^2"] * 3, "12 cm^2"),
    ],
)  # fmt: skip
def test_what_is_kept(answers: list[str], found: str) -> None:
    assert label(tagged(*answers)) == (found, "")
    assert equal(found, answers[0])


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (tagged("5", "5", "6"), "votes-disagree"), (tagged("1 1/2", "5.5", "11/2"), "votes-disagree"),
        (tagged("12 cm", "12", "12 kg"), "votes-disagree"), (tagged("12", "12 cm", "12 kg"), "votes-disagree"),
        (tagged(*["(I cannot answer)"] * 3), "no-answer"), (tagged(*["cannot be determined"] * 3), "no-answer"),
        (tagged(*["[see above]"] * 3), "no-answer"),
        (tagged("NaN", "nan", "null"), "no-answer"), (["", "<think>5", "<answer></answer>"], "no-answer"),
        (tagged(*['{"answer": 5}'] * 3), "no-answer"), (tagged(*["(approximately) 5"] * 3), NOT_CHECKABLE),
        (tagged(*["5+3"] * 3), NOT_CHECKABLE), (tagged(*["3.14..."] * 3), NOT_CHECKABLE),
        (["(1) We first compute the area, which is large, and so on."] * 3, NOT_CHECKABLE),
        (["(1) We first compute " + "x" * 300 + str(i) for i in range(3)], "no-answer"),
        (tagged(*["7" * 299 + d for d in "123"]), NOT_CHECKABLE), (["It is blue"] * 3, NOT_CHECKABLE),
        (["<think>\\boxed{7}</think>\\boxed{8}", "\\boxed{7}", "\\boxed{7}"], "votes-disagree"),
    ],
)  # fmt: skip
def test_what_is_no_label(texts: list[str], reason: str) -> None:
    assert label(texts) == (None, reason)


@pytest.mark.parametrize("order", [["5", "6", "6", "5"], ["6", "5", "5", "6"]])
def test_a_tie_is_no_label(order: list[str]) -> None:
    assert label(tagged(*order), VerificationSpec(votes=4, agree=2)) == (None, "votes-disagree")
    assert label(tagged("1", "2", "3"), VerificationSpec(votes=3, agree=1)) == (None, "votes-disagree")
    assert label(tagged("5", "5", "5", "6"), VerificationSpec(votes=4, agree=3)) == ("5", "")


def test_a_refusal_counts_against_a_label() -> None:
    assert label(tagged("5", "5", "unknown", "unknown"), VerificationSpec(votes=4, agree=2))[0] is None


def test_answers_of_one_completion_are_one_vote() -> None:
    assert label(tagged("5", "5", "5"), ids=["a", "a", "a"])[0] is None
    assert label(tagged("5", "5", "5"), ids=["a", "b", "c"]) == ("5", "")


def test_a_vote_that_was_cut_off_is_none() -> None:
    assert label(tagged("5", "5", "5"), finish=["stop", "length", "stop"])[0] is None
    assert label(tagged("5", "5", "5"), finish=["stop", "window", "stop"])[0] is None


STORY = [Message(role="system", content="Answer modulo 7."), Message(role="user", content="A box holds 12 apples."),
         Message(role="assistant", content="Read.")]  # fmt: skip


def test_context_travels_to_teacher_and_solver() -> None:
    told = PROBLEM.model_copy(update={"context": STORY})
    solver = roles.solver_messages(told.question, told.context)
    assert [m["role"] for m in solver] == ["system", "user", "assistant", "user"]
    assert solver[0]["content"].startswith(roles.SOLVER_SYSTEM) and "modulo 7" in solver[0]["content"]
    assert solver[1]["content"] == "A box holds 12 apples." and solver[-1]["content"] == told.question
    asked = roles.teacher_messages(told, "change-values", 0)[1]["content"]
    assert "12 apples" in asked and "modulo 7" in asked


@pytest.mark.parametrize(
    ("question", "away"),
    [
        ("How many are left? #### 7", True), ("Show that the answer is 7.", True), ("So \\boxed{7.0}. How many?", True),
        ("Of 7 apples 0 are eaten. How many are left?", False), ("Is the answer 6 or 7?", False),
        ("Write it as \\boxed{}, such as \\boxed{5}. What is 3+4?", False),
    ],
)  # fmt: skip
def test_a_question_that_marks_its_own_answer_is_no_problem(question: str, away: bool) -> None:
    """A label inside the prompt (ZeroGen): of seeds in Prepare, of variants when they are labelled."""
    problem = PROBLEM.model_copy(update={"question": question, "answer": "7"})
    assert gives_itself_away(problem) is away
    vote = count_votes(problem, [Ballot(t) for t in tagged("7", "7", "7")], [0] * 3, "m", THREE)
    assert labelled(problem, vote, Contamination([], 13))[1] == ("answer-in-question" if away else "")
    ctx = cast(Any, SimpleNamespace(spec=SimpleNamespace(reasoning=SimpleNamespace(dedup=DedupSpec()))))
    kept, dropped = clean(ctx, Source("s3://own/seeds", [problem]), [])
    assert (not kept, dropped["answer-in-question"]) == (away, int(away))


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("36", "36"), ("work <<..>>\n#### 36", "36"), ("thus $x=\\boxed{36}$", "36"), ("\\boxed{\\frac12}", "\\frac12"),
        ("The answer is (B).", "(B)."), ("\\text{yes}", "\\text{yes}"), ("Paris", "Paris"),
    ],
)  # fmt: skip
def test_a_truth_is_read_like_an_answer(written: str, kept: str) -> None:
    problem, wrong = with_truth(PROBLEM.model_copy(update={"answer": written}))
    assert (problem.answer, wrong) == (kept, "") and equal(kept, kept)


@pytest.mark.parametrize(
    "written",
    [" ", "", None, "see the solution above", "5" * 300, "cannot be determined", "5+3",
     "First we note that the sum of all angles is 180 degrees, hence the claim."],
)  # fmt: skip
def test_a_truth_that_no_answer_can_meet_is_refused(written: str | None) -> None:
    assert with_truth(PROBLEM.model_copy(update={"answer": written}))[1] == NOT_CHECKABLE
