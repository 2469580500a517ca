"""Form apart from correctness: an answer can be right and not in the form, and in the form and not right.

The score is strict: the marked or bare final answer, as in training. A model that merely learns the form gains by it;
the lenient reading takes the last value of whatever was said, so that such a gain can be called one of form.
"""

from __future__ import annotations

from flywheel_jobs.reading import final
from flywheel_jobs.reading.equality import equal
from flywheel_jobs.rewards.math import score

FORMAT, LENIENT = "format", "lenient"


def form_of(text: str, truth: str, cut: bool) -> dict[str, float]:
    """`format`: a final answer of the truth's kind is given and not cut; `lenient`: the last value said is right."""
    strict = score(text, truth, cut)
    right = strict["correct"] or (not cut and any(equal(one, final.truth(truth)) for one in final.last(text)))
    return {FORMAT: float(strict["formed"]), LENIENT: float(right)}
