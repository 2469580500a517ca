"""Confidence intervals of means over items, from the items' own means: for a score, and for a paired gain.

An item is one effective sample, however often it was repeated: its repeats only make its own mean steadier. The
interval is Gaffke's (2005; also Learned-Miller and Thomas, 2019): each end is a quantile of the mean under random
weights of the items and of one more item at the worst possible value. For items that are right or wrong it is the
exact interval of Clopper and Pearson; it needs neither normality nor many items, and is never empty: what was not seen
among n items may still be there. Coverage was simulated for 3 to 200 items and 1 to 16 repeats (tests/unit/agentic).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

DRAWS = 20_000  # a 2.5 % tail is then met to within 0.1 % of the probability
SEED = 20260117  # fixed: the same scores have the same interval in every stage and round
MAX_REPEATS = 1000  # above what the API allows: a mean of 0/1 repeats is read back from a float without error
Interval = tuple[float, float]


def exact(score: float) -> Fraction:
    """The mean of at most MAX_REPEATS 0/1 scores that a float stands for: 0.6 is 3/5."""
    return Fraction(score).limit_denominator(MAX_REPEATS)


def mean_interval(values: Sequence[Fraction], worst: int, best: int, confidence: float = 0.95) -> Interval:
    """Interval of the mean of independent items whose values lie in [worst, best]. Raises ValueError without items."""
    import numpy as np  # a tenth of a second that only the stages which score have to wait for

    if not values:
        raise ValueError("no item to give an interval for")
    if confidence >= 1:
        return float(worst), float(best)
    counts = Counter(values)
    points = np.array([float(v) for v in counts])
    draws = np.random.RandomState(SEED)  # unlike default_rng, its numbers are promised never to change
    weights = draws.standard_gamma(np.array(list(counts.values()), dtype=float), size=(DRAWS, len(points)))
    one_more = draws.standard_exponential(DRAWS)
    seen, total = weights @ points, weights.sum(axis=1) + one_more
    tail = (1 - confidence) / 2
    low = float(np.quantile((seen + one_more * worst) / total, tail))
    high = float(np.quantile((seen + one_more * best) / total, 1 - tail))
    mean = float(sum(values) / len(values))
    return max(float(worst), min(low, mean)), min(float(best), max(high, mean))


def score_interval(groups: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """Interval of the mean of 0/1 scores in groups of repeats. Raises ValueError when there are none."""
    return mean_interval([sum(map(Fraction, g), Fraction(0)) / len(g) for g in groups if g], 0, 1, confidence)


def paired_gain(
    base: Mapping[str, Fraction], candidate: Mapping[str, Fraction], confidence: float = 0.95
) -> tuple[float, Interval]:
    """Mean over the items of both of candidate - base, and its interval. Raises ValueError without a common item.

    Keys are items by content, values their mean scores: differences are exact, so that equal ones are equal.
    """
    differences = [candidate[i] - base[i] for i in sorted(base.keys() & candidate.keys())]
    if not differences:
        raise ValueError("base and candidate share no item: their gain is not defined")
    return float(sum(differences) / len(differences)), mean_interval(differences, -1, 1, confidence)
