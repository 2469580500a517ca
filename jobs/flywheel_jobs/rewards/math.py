"""The reward of the reasoning track: what a text's final answer is worth against the truth.

Texts and truths pass the one reader (`flywheel_jobs.reading`): thought is neither rewarded nor compared.
"""

from __future__ import annotations

from typing import TypedDict

from flywheel_jobs.reading import final
from flywheel_jobs.reading.equality import equal
from flywheel_jobs.reading.values import Kind, read

FORMAT_REWARD = 0.1
"""For a bare number that is wrong. Kept small, so that a right answer stands out in a group of mostly bare numbers:
a run with 0.5 settled at reward 0.52 while success stayed at 0.04; two runs with 0.1 and more steps reached 0.8. Other
settings differed between them, so this is our reading, not a measured effect of this number alone."""


class Score(TypedDict):
    """A reward with what it is made of."""

    score: float
    correct: bool
    bare: bool
    answer: str


def score(solution: str, truth: str, cut: bool = False) -> Score:
    """1 for the right answer, 0.1 for a bare number that is wrong, else 0. Never raises.

    `correct` is the success that evaluation counts. A text that was `cut` at its token limit is never right: what it
    would have answered is not known.

    "Bare" keeps the group's reward variance alive while a small model still learns the form; it never makes an item
    count as solved.
    """
    found = final.find(solution)
    right = not cut and equal(found.text, final.truth(truth))
    bare = not found.marked and read(found.text).kind is Kind.NUMBER and not read(found.text).unit
    return Score(
        score=1.0 if right else FORMAT_REWARD if bare else 0.0, correct=right, bare=bare, answer=found.text[:64]
    )
