"""Which cases become tasks: each kind and ending in turn, trees as evenly, legal and pushed ones in their shares."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turn(
    items: Sequence[T],
    limit: int,
    stratum: Callable[[T], Hashable],
    who: Callable[[T], Hashable],
    beside: Iterable[T] = (),
) -> list[T]:
    """At most `limit` of the items, the strata in turn and within a turn those who were seen least; in their order.

    Those that are kept already (`beside`) count as seen.
    """
    seen, said = Counter[Hashable](), Counter[Hashable]()
    for item in beside:
        seen[stratum(item)] += 1
        said[who(item)] += 1
    ranked = []
    for place, item in enumerate(items):
        ranked.append((seen[stratum(item)], said[who(item)], place))
        seen[stratum(item)] += 1
        said[who(item)] += 1
    return [items[place] for place in sorted(place for *_, place in sorted(ranked)[: max(0, limit)])]


def choose(
    pools: Sequence[Sequence[T]],
    limit: int,
    legal_share: float,
    legal: Callable[[T], bool],
    stratum: Callable[[T], Hashable],
    who: Callable[[T], Hashable],
) -> list[T]:
    """`limit` items, or all where there are fewer, each side (legal or not) as nearly in its share as there are items.

    Earlier pools go first; a later one fills what they leave open on a side. What one side lacks the other fills: a
    good task is never thrown away for the sake of a share.
    """
    places = {id(item): place for place, item in enumerate(item for pool in pools for item in pool)}
    kept: list[T] = []
    n_legal = round(limit * legal_share)
    for side, quota in ((True, n_legal), (False, limit - n_legal)):
        found: list[T] = []
        for pool in pools:
            own = [item for item in pool if legal(item) is side]
            found += in_turn(own, quota - len(found), stratum, who, [*kept, *found])
        kept += found
    there = {id(item) for item in kept}
    for pool in pools:
        left = [item for item in pool if id(item) not in there]
        kept += in_turn(left, limit - len(kept), stratum, who, kept)
    return sorted(kept, key=lambda item: places[id(item)])


def pushed(items: Sequence[T], share: float, rng: random.Random) -> set[int]:
    """Places of those, of not allowed wishes, whose user insists: the share of them that is asked for."""
    return set(rng.sample(range(len(items)), round(len(items) * share)))
