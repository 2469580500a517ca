"""The reward of the reasoning track: what a text's final answer is worth against the truth.

Texts and truths pass the one reader (`flywheel_jobs.reading`): thought is neither rewarded nor compared.
"""

from __future__ import annotations

from typing import TypedDict

from flywheel_jobs.reading import final
from flywheel_jobs.reading.equality import equal
from flywheel_jobs.reading.values import read


class Score(TypedDict):
    """A reward with what it is made of."""

    score: float
    correct: bool
    formed: bool
    answer: str


def score(solution: str, truth: str, cut: bool = False, format_bonus: float = 0.0) -> Score:
    """1 for the right answer, `format_bonus` for a wrong one in the form that is asked for, else 0. Never raises.

    `correct` is the success that evaluation counts. A text that was `cut` at its token limit is never right: what it
    would have answered is not known.

    A bonus pays for not reasoning: of 16 samples that all fail, the one bare number would get an advantage of +3.75.
    So it is 0 unless a training asks for it, and groups that differ by it alone carry no advantage (`advantage`).
    """
    found = final.find(solution)
    wanted = final.truth(truth)
    right = not cut and equal(found.text, wanted)
    formed = bool(found.text) and not cut and (found.marked or read(found.text).kind is read(wanted).kind)
    return Score(
        score=1.0 if right else format_bonus if formed else 0.0, correct=right, formed=formed, answer=found.text[:64]
    )
