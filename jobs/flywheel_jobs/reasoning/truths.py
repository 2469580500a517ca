"""Truths of problems: read like any answer, and refused where nothing could ever be told right by them."""

from __future__ import annotations

from flywheel_api.records.reasoning import Problem
from flywheel_jobs.reading.equality import checkable, equal
from flywheel_jobs.reading.final import find, truth

NOT_CHECKABLE = "answer-not-checkable"
IN_QUESTION = "answer-in-question"
CONVENTION = "a number, expression, list, interval, choice or word, bare, behind #### or in \\boxed{}"
"""How a truth may be written."""


def gives_itself_away(problem: Problem) -> bool:
    """Whether a question marks its own answer, as a row does whose solution was left in: nothing is learnt of it.

    A number that merely occurs in a question says nothing.
    """
    found = find(problem.question)
    return bool(problem.answer) and found.marked and equal(found.text, problem.answer or "")


def with_truth(problem: Problem) -> tuple[Problem, str]:
    """The problem with its bare truth (of `... #### 72`, 72), and why it cannot be used, if so.

    The same rule for seeds, suites, variants and rows: the truth must be understood and equal itself.
    """
    answer = truth(problem.answer or "")
    return problem.model_copy(update={"answer": answer}), "" if checkable(answer) else NOT_CHECKABLE
