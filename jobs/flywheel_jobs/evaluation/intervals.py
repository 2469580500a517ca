"""Confidence intervals: Wilson's for a score, a paired bootstrap over items for a gain; all draws are seeded.

Repeats of one item are alike, so a score's interval counts effective samples: n / (1 + (m - 1) r) with m repeats an
item and r the items' intraclass correlation (one-way analysis of variance, clipped to [0, 1]).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean

RESAMPLES = 4000
Interval = tuple[float, float]


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion. Raises ValueError for n <= 0.

    `n` may be an effective number of samples.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a proportion")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


def effective(groups: Sequence[Sequence[float]]) -> float:
    """Effective number of samples of items' repeats."""
    total = sum(len(g) for g in groups)
    many = [g for g in groups if g]
    k = len(many)
    if k < 2 or total == k:
        return float(total)
    m = total / k
    mean = sum(sum(g) for g in many) / total
    between = sum(len(g) * (fmean(g) - mean) ** 2 for g in many) / (k - 1)
    within = sum((x - fmean(g)) ** 2 for g in many for x in g) / (total - k)
    spread = between + (m - 1) * within
    r = min(1.0, max(0.0, (between - within) / spread)) if spread > 0 else 1.0
    return total / (1 + (m - 1) * r)


def score_interval(groups: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """Interval of the mean of 0/1 scores in groups of repeats. Raises ValueError when there are none."""
    total = sum(len(g) for g in groups)
    if total == 0:
        raise ValueError("no score to give an interval for")
    n = effective(groups)
    return wilson(sum(sum(g) for g in groups) / total * n, n, confidence)


def paired_gain(
    base: Mapping[str, float], candidate: Mapping[str, float], confidence: float = 0.95, seed: int = 0
) -> tuple[float, Interval]:
    """Mean over the items of both of candidate - base, and its percentile bootstrap interval over items.

    Keys are items, values their mean scores. Raises ValueError without a common item. With one item, or all differences
    equal, resampling shows no spread: the interval then is the widest that items between -1 and 1 allow at that number.
    """
    items = sorted(base.keys() & candidate.keys())
    if not items:
        raise ValueError("base and candidate share no item: their gain is not defined")
    differences = [candidate[i] - base[i] for i in items]
    gain = fmean(differences)
    if len(set(differences)) == 1:
        room = 1 - (1 - confidence) ** (1 / len(items))  # an unseen outcome this frequent would have shown itself
        return gain, (max(-1.0, gain - room), min(1.0, gain + room))
    rng = random.Random(f"paired-gain/{seed}/{len(items)}")
    means = sorted(fmean(rng.choices(differences, k=len(items))) for _ in range(RESAMPLES))
    tail = (1 - confidence) / 2
    return gain, (means[math.floor(tail * RESAMPLES)], means[math.ceil((1 - tail) * RESAMPLES) - 1])
