"""Form apart from correctness: an answer can be right and not in the form, and in the form and not right.

The score is strict: the marked or bare final answer, as in training. A model that merely learns the form gains by it;
the lenient reading takes the last value of whatever was said, so that such a gain can be called one of form.
"""

from __future__ import annotations

import re

from flywheel_jobs.reading import final
from flywheel_jobs.reading.equality import equal
from flywheel_jobs.reading.values import read

FORMAT, LENIENT = "format", "lenient"
_NUMBER = re.compile(r"(?<![\w.])[-+−]?\d[\d,]*(?:\.\d+)?(?:\s*/\s*\d+)?%?")


def form_of(text: str, truth: str, cut: bool) -> dict[str, float]:
    """`format`: a final answer of the truth's kind is given and not cut; `lenient`: the last value said is right."""
    found, wanted = final.find(text), final.truth(truth)
    formed = bool(found.text) and not cut and (found.marked or read(found.text).kind is read(wanted).kind)
    said = found.said.text.strip()
    last = _NUMBER.findall(said)[-1:] + said.splitlines()[-1:]
    right = not cut and any(equal(one, wanted) for one in [found.text, *last])
    return {FORMAT: float(formed), LENIENT: float(right)}
