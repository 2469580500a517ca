"""Which cases become tasks: each kind and ending in turn, personas as evenly, legal and pushed ones in their shares."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turn(items: Sequence[T], limit: int, stratum: Callable[[T], Hashable], who: Callable[[T], Hashable]) -> list[T]:
    """At most `limit` of the items, the strata in turn and within a turn those who were seen least; in their order."""
    seen: Counter[Hashable] = Counter()
    said: Counter[Hashable] = Counter()
    ranked = []
    for place, item in enumerate(items):
        ranked.append((seen[stratum(item)], said[who(item)], place))
        seen[stratum(item)] += 1
        said[who(item)] += 1
    return [items[place] for place in sorted(place for *_, place in sorted(ranked)[:limit])]


def choose(
    items: Sequence[T],
    limit: int,
    legal_share: float,
    legal: Callable[[T], bool],
    stratum: Callable[[T], Hashable],
    who: Callable[[T], Hashable],
) -> list[T]:
    """At most `limit` items with the asked share of legal ones as nearly as both sides allow, each side in turn."""
    yes, no = [i for i in items if legal(i)], [i for i in items if not legal(i)]
    size = min(limit, len(items))
    if 0 < legal_share < 1 and yes and no:
        size = min(size, int(len(yes) / legal_share), int(len(no) / (1 - legal_share)))
    size = max(size, 1)
    n_yes = min(len(yes), round(size * legal_share))
    kept = {
        id(item)
        for part, n in ((yes, n_yes), (no, min(len(no), size - n_yes)))
        for item in in_turn(part, n, stratum, who)
    }
    return [item for item in items if id(item) in kept]


def pushed(items: Sequence[T], share: float, rng: random.Random) -> set[int]:
    """Places of those, of not allowed wishes, whose user insists: the share of them that is asked for."""
    return set(rng.sample(range(len(items)), round(len(items) * share)))
