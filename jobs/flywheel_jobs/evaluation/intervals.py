"""Confidence intervals of means over items, from the items' own means: for a score, and for a paired gain.

Items that share their facts (two wordings of 3 + 4) move together: they are one effective sample, and so are the
repeats of an item. The interval is Gaffke's (2005; also Learned-Miller and Thomas, 2019): each end is a quantile of the
mean under random weights of the samples and of one more sample at the worst possible value. For items that are right or
wrong it is the exact interval of Clopper and Pearson; it needs neither normality nor many items, and is never empty:
what was not seen among n items may still be there. Where facts have several items the mean stays that of the items
(weights go to facts). Coverage for 3 to 200 items and 1 to 16 repeats is added up over all outcomes
(docs/evidence/intervals.md); for facts of 2 to 4 items it was simulated (tests/unit/agentic).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 20_000  # a 2.5 % tail is then met to within 0.1 % of the probability
SEED = 20260117  # fixed: the same scores have the same interval in every stage and round
MAX_REPEATS = 1000  # above what the API allows: a mean of 0/1 repeats is read back from a float without error
Interval = tuple[float, float]


def exact(score: float) -> Fraction:
    """The mean of at most MAX_REPEATS 0/1 scores that a float stands for: 0.6 is 3/5."""
    return Fraction(score).limit_denominator(MAX_REPEATS)


@dataclass(frozen=True)
class Spread:
    """A mean with the draws that the ends of its intervals are quantiles of."""

    mean: float
    worst: float
    best: float
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]

    def interval(self, confidence: float) -> Interval:
        """Its two-sided interval."""
        import numpy as np

        if confidence >= 1:
            return self.worst, self.best
        tail = (1 - confidence) / 2
        low, high = float(np.quantile(self.lows, tail)), float(np.quantile(self.highs, 1 - tail))
        return max(self.worst, min(low, self.mean)), min(self.best, max(high, self.mean))

    def below(self, limit: float) -> float:
        """The tail at which the lower end just reaches `limit`: how far the data allow a mean below it."""
        return float((self.lows < limit).mean())


def spread(values: Sequence[Fraction], worst: float, best: float, facts: Sequence[Hashable] | None = None) -> Spread:
    """Draws for the mean of values in [worst, best]; equal `facts` make items one sample.

    Raises ValueError without items.
    """
    import numpy as np  # a tenth of a second that only the stages which score have to wait for

    if not values:
        raise ValueError("no item to give an interval for")
    samples = Counter(_samples(values, facts))
    sums, sizes = (np.array([float(s[part]) for s in samples]) for part in (0, 1))
    draws = np.random.RandomState(SEED)  # unlike default_rng, its numbers are promised never to change
    shapes = np.array(list(samples.values()), dtype=float)
    weights = draws.standard_gamma(shapes, size=(DRAWS, len(samples)))
    one_more = draws.standard_exponential(DRAWS) * (len(values) / shapes.sum())  # a sample of the usual size
    seen, total = weights @ sums, weights @ sizes + one_more
    lows, highs = ((seen + one_more * end) / total for end in (worst, best))
    return Spread(float(sum(values) / len(values)), float(worst), float(best), lows, highs)


def _samples(values: Sequence[Fraction], facts: Sequence[Hashable] | None) -> list[tuple[Fraction, int]]:
    """Sum and number of the items of each fact."""
    if facts is None:
        return [(value, 1) for value in values]
    together: dict[Hashable, list[Fraction]] = defaultdict(list)
    for fact, value in zip(facts, values, strict=True):
        together[fact].append(value)
    return [(sum(items, Fraction(0)), len(items)) for items in together.values()]


def score_interval(
    groups: Sequence[Sequence[float]], confidence: float = 0.95, facts: Sequence[Hashable] | None = None
) -> Interval:
    """Interval of the mean of 0/1 scores in groups of repeats. Raises ValueError when there are none."""
    means = [sum(map(Fraction, g), Fraction(0)) / len(g) for g in groups if g]
    return spread(means, 0, 1, facts).interval(confidence)
