"""Which cases become tasks: kinds in turn, within a kind trees in turn, legal and pushed ones in their shares."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import itemgetter
from typing import TypeVar

T = TypeVar("T")
Key = Callable[[T], Hashable]


def turns(items: Iterable[T], *keys: Key[T], beside: Sequence[T] = ()) -> list[T]:
    """The items in turn by the first key, those with one value of it in turn by the next, and so on.

    A value waits as many turns as those that are taken already (`beside`) have had. Whatever no key tells apart stays
    in its order.
    """
    if not keys:
        return list(items)
    first, *rest = keys
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(first(item), []).append(item)
    ranked = []
    for value, group in groups.items():
        own = [item for item in beside if first(item) == value]
        ranked += [(len(own) + place, item) for place, item in enumerate(turns(group, *rest, beside=own))]
    return [item for _, item in sorted(ranked, key=itemgetter(0))]


def first_of(items: Iterable[T], key: Key[T], taken: Iterable[Hashable] = ()) -> list[T]:
    """The first item of each value of a key, but for values that are taken already."""
    found: dict[Hashable, T] = {}
    for item in items:
        found.setdefault(key(item), item)
    there = set(taken)
    return [item for value, item in found.items() if value not in there]


def choose(
    pools: Sequence[Iterable[T]],
    limit: int,
    legal_share: float,
    legal: Callable[[T], bool],
    groups: Sequence[Key[T]],
    within: Sequence[Key[T]],
    beside: Sequence[T] = (),
) -> list[T]:
    """`limit` items, or all where there are fewer, each side (legal or not) as nearly in its share as there are items.

    Shares are those of all, with what is taken already (`beside`). The groups of a side take turns. Within a group
    earlier pools go first, each in turn by `within`: so a later pool gives what earlier ones have too little of. What
    one side lacks the other fills: a good task is never thrown away for the sake of a share.
    """
    items = [item for pool in pools for item in pool]
    places = {id(item): place for place, item in enumerate(items)}
    ordered = [item for pool in pools for item in turns(pool, *within)]
    missing = shares(map(legal, beside), limit + len(beside), legal_share)
    kept: list[T] = []
    for side in (True, False):
        own = [item for item in ordered if legal(item) is side]
        kept += turns(own, *groups, beside=[*beside, *kept])[: max(0, min(missing[side], limit - len(kept)))]
    there = {id(item) for item in kept}
    left = [item for item in ordered if id(item) not in there]
    kept += turns(left, *groups, beside=[*beside, *kept])[: max(0, limit - len(kept))]
    return sorted(kept, key=lambda item: places[id(item)])


def shares(found: Iterable[bool], most: int, legal_share: float) -> Counter[bool]:
    """How many of `most` are missing on each side (legal or not) beside those that were found."""
    n_legal = round(most * legal_share)
    missing = Counter({True: n_legal, False: most - n_legal})
    missing.subtract(found)
    return missing


def pushed(items: Sequence[T], share: float, rng: random.Random) -> set[int]:
    """Places of those, of not allowed wishes, whose user insists: the share of them that is asked for."""
    return set(rng.sample(range(len(items)), round(len(items) * share)))
