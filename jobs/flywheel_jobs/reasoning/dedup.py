"""Exact and near duplicates, and contamination by evaluation suites (docs/method.md, "Dedup and decontamination").

Near duplicates are found by MinHash over word 3-grams. Two problems of nearly the same wording but with other
numbers are different problems, so a near duplicate must also have the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from rensa import RMinHash

from flywheel_api.records.reasoning import Problem
from flywheel_jobs.reasoning.text import ngrams, normalised, numbers, words
from flywheel_jobs.rewards.math import normalise

PERMUTATIONS = 128  # standard error of the Jaccard estimate about 0.04 at 0.8
SHINGLE = 3
SEED = 20260117


class Duplicates:
    """Texts seen so far."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._exact: set[str] = set()
        self._near: dict[tuple[str, ...], list[RMinHash]] = defaultdict(list)

    def add(self, text: str) -> str | None:
        """Takes a text; the reason if it repeats an earlier one (it is then not kept), else None."""
        key = normalised(text)
        if key in self._exact:
            return "duplicate"
        sketch = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
        sketch.update(sorted(ngrams(text, SHINGLE)))
        same_numbers = self._near[numbers(text)]
        if any(sketch.jaccard(other) > self._threshold for other in same_numbers):
            return "near-duplicate"
        self._exact.add(key)
        same_numbers.append(sketch)
        return None


class Contamination:
    """The evaluation items that no training problem may repeat."""

    def __init__(self, items: Iterable[Problem], ngram: int) -> None:
        """`items` of every evaluation suite; `ngram` is in words."""
        self._ngram = ngram
        self._grams: set[str] = set()
        self._values: set[tuple[tuple[str, ...], str]] = set()
        for item in items:
            self._grams |= ngrams(item.question, ngram)
            if len(words(item.question)) < ngram and numbers(item.question) and item.answer:
                self._values.add((numbers(item.question), normalise(item.answer)))

    def reason(self, question: str, answer: str | None = None) -> str | None:
        """Why a problem may not be trained on.

        A shared n-gram; or the numbers and the answer of an evaluation item too short to have n-grams, whatever the
        wording. (Among longer items equal numbers say nothing.)
        """
        if not self._grams.isdisjoint(ngrams(question, self._ngram)):
            return "contaminated"
        if answer is not None and (numbers(question), normalise(answer)) in self._values:
            return "contaminated-values"
        return None
