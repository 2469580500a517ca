"""Replay: problems of earlier rounds that are answered anew, so that what was learnt is asked for again.

The prompts come back, never old answers: what is trained on is what the policy says now.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from flywheel_api.records.reasoning import Band, Problem
from flywheel_jobs.core.turns import in_turn
from flywheel_jobs.reasoning.filling import FAMILY_SHARE, families_in_turn, family_of

PER_WANTED = 2  # problems that are measured for one that is replayed


def drawn(replayable: Sequence[Problem], tried: Sequence[Problem], wanted: int, rng: random.Random) -> list[Problem]:
    """Problems to be measured beside those that mining has tried: families in turn, the newest rounds first."""
    contents = {p.content for p in tried}
    groups: dict[str, list[Problem]] = defaultdict(list)
    for problem in replayable:
        if problem.content not in contents:
            groups[family_of(problem)].append(problem)
    names = sorted(groups)
    rng.shuffle(names)
    missing = max(0, PER_WANTED * wanted - len(tried))
    return list(in_turn(*(groups[name] for name in names)))[:missing]


def replayed(measured: Sequence[Problem], wanted: int, total: int) -> list[Problem]:
    """At most `wanted` of them, families in turn and none above its share of `total`.

    What the policy has begun to lose comes first, then what it still solves, which carries an advantage as soon as it
    is lost. What it never solves any more has no gradient.
    """
    most = max(1, total // FAMILY_SHARE)
    taken: Counter[str] = Counter()
    found: list[Problem] = []
    for band in (Band.FRONTIER, Band.SOLVED):
        found += families_in_turn((p for p in measured if p.band is band), most, taken)
    return found[:wanted]
