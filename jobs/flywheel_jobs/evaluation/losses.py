"""What a candidate lost: a suite as a whole, or a stratum of it (expected outcome, family, level), by name.

A mean hides a loss: a policy that cancels whatever is asked gains on "cancel" more than it loses on "refund". A fall is
shown where its interval lies below zero, or where a model that is nowhere worse would fall so far by chance in less
than the tail of the confidence: samples of an item are exchangeable between equal models, so the right ones among the
candidate's are hypergeometric, and their sum over the items has an exact distribution. That chance is corrected over
the strata of a suite (Holm), so that many strata are not many chances to be held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb
from typing import TYPE_CHECKING, TypeVar

from flywheel_api.verdicts import Loss
from flywheel_jobs.evaluation.scores import ItemScore, Pair, gains

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_ITEMS = 3  # of a stratum; with fewer one item's luck would speak for it
WHOLE = ""
K = TypeVar("K")


def holm(chances: Mapping[K, float]) -> dict[K, float]:
    """Chances corrected for how many there are, in the order given (Holm, 1979)."""
    corrected, least = dict[K, float](), 0.0
    for rank, key in enumerate(sorted(chances, key=lambda k: chances[k])):
        least = max(least, min(1.0, (len(chances) - rank) * chances[key]))
        corrected[key] = least
    return {key: corrected[key] for key in chances}


def chance_of_fall(found: Sequence[Pair]) -> float:
    """How probably a model that is equal on each item has at most as many right samples as the second one has."""
    import numpy as np

    sums: NDArray[np.floating] = np.ones(1)
    for pair in found:
        drawn, rest = pair.after.samples, pair.before.samples
        right = int(pair.before.right + pair.after.right)
        ways = [comb(right, k) * comb(drawn + rest - right, drawn - k) for k in range(min(right, drawn) + 1)]
        sums = np.convolve(sums, np.array(ways, dtype=float) / float(comb(drawn + rest, drawn)))
    return float(sums[: sum(int(pair.after.right) for pair in found) + 1].sum())


def strata(found: Sequence[Pair], least: int = MIN_ITEMS) -> dict[str, list[Pair]]:
    """`outcome refund` to its pairs, where there are `least` of them.

    A dimension with one value says nothing that the whole does not say.
    """
    by: dict[str, dict[str, list[Pair]]] = {}
    for pair in found:
        for dimension, value in pair.after.strata.items():
            by.setdefault(dimension, {}).setdefault(value, []).append(pair)
    return {
        f"{dimension} {value}": members
        for dimension, values in sorted(by.items())
        if len(values) > 1
        for value, members in sorted(values.items())
        if len(members) >= least
    }


@dataclass(frozen=True)
class Limits:
    """By how much a suite may fall (None: its gate decides), a stratum of it, and from where on a fall is told."""

    whole: float | None
    stratum: float
    told: float


def losses(suite: str, against: str, found: Sequence[Pair], confidence: float, limits: Limits) -> list[Loss]:
    """Everything of a suite that is lower than it was: the whole, then strata from the deepest fall on.

    A loss that is `shown` holds the round. The others fell by more than is told, within what chance does.
    """
    parts = strata(found)
    chances = holm({name: chance_of_fall(members) for name, members in parts.items()})
    listed = [
        _loss((suite, against, name), members, chances[name], confidence, limits.stratum)
        for name, members in parts.items()
    ]
    listed.sort(key=lambda loss: loss.gain)
    if limits.whole is not None and found:
        listed.insert(0, _loss((suite, against, WHOLE), found, chance_of_fall(found), confidence, limits.whole))
    return [loss for loss in listed if loss.shown or -loss.gain > limits.told]


def unseen(items: Iterable[ItemScore], confidence: float, limits: Limits) -> list[str]:
    """Strata of a suite of which a model could lose all that it had, and no loss would be shown.

    Those in which it had less than is told anyhow have nothing to lose. A stratum is asked as the only one that falls.
    """
    kept = [Pair(item, item) for item in items]
    compared = len(strata(kept))
    found = []
    for name, members in strata(kept, least=1).items():
        lost = [replace(p, after=replace(p.after, right=Fraction(0))) for p in members]
        if -gains(lost).mean <= limits.told:
            continue
        chance = min(1.0, compared * chance_of_fall(lost))
        if len(lost) < MIN_ITEMS or not _loss(("", "base", name), lost, chance, confidence, limits.stratum).shown:
            found.append(name)
    return found


def _loss(name: tuple[str, str, str], found: Sequence[Pair], chance: float, confidence: float, margin: float) -> Loss:
    gain = gains(found)
    low, high = gain.interval(confidence)
    suite, against, stratum = name
    return Loss(
        suite=suite,
        against=against,
        stratum=stratum,
        before=float(sum(p.before.mean for p in found) / len(found)),
        after=float(sum(p.after.mean for p in found) / len(found)),
        gain=gain.mean,
        gain_interval=[low, high],
        items=len(found),
        chance=chance,
        shown=-gain.mean > margin and (high < 0 or chance <= (1 - confidence) / 2),
    )


def sentence(loss: Loss) -> str:
    """A loss for people."""
    what = f"{loss.suite}: {loss.stratum}" if loss.stratum else loss.suite
    low, high = loss.gain_interval
    said = "fell" if loss.shown else "is lower, within chance:"
    return (
        f"{what} {said} from {loss.before:.3f} to {loss.after:.3f} against the {loss.against} "
        f"({loss.gain:+.3f} [{low:+.3f}, {high:+.3f}] on {loss.items} items)"
    )
