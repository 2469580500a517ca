"""Who answers: what a server says of itself and its answers say, counted in few rows, and whether it is still the same.

Pure. A score is of one model: its name and its weights must not change. `system_fingerprint` may: vendors change it
with routing and hardware, so that it is counted and never refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from flywheel_api.artifacts import ServedBy

DISTINCT = 16
"""Rows of a role before fingerprints, and twice as many before names, are told apart no more: a router has dozens."""
OTHERS = "(others)"
"""Stands for those beyond."""
Key = tuple[object, ...]
Rows = dict[Key, ServedBy]


def count(rows: Rows, server: ServedBy) -> None:
    """Adds answers to the row of their name, fingerprint and weights; where there are too many rows, to others'."""
    of_role = sum(row.role == server.role for row in rows.values())
    by_fingerprint = server.model_copy(update={"fingerprint": OTHERS})
    rest = ServedBy(role=server.role, model=OTHERS, fingerprint=OTHERS, answers=server.answers, standin=server.standin)
    most = {DISTINCT: server, 2 * DISTINCT: by_fingerprint}
    row = next((one for limit, one in most.items() if of_role < limit or _key(one) in rows), rest)
    before = rows.get(_key(row))
    rows[_key(row)] = row if before is None else row.model_copy(update={"answers": before.answers + row.answers})


def _key(row: ServedBy) -> Key:
    return row.role, row.model, row.fingerprint, row.root, row.weights, row.weights_assumed


def kept(known: ServedBy, found: ServedBy) -> ServedBy:
    """What is known after another look: what that one does not say stays, but of other weights, as does a stand-in."""
    before = {} if other(known, found) is None else {"weights": None, "root": None}
    said = found.model_dump(exclude_none=True, exclude={"standin", "answers", "weights_assumed"})
    assumed = known.weights_assumed and not found.weights
    return known.model_copy(
        update=before | said | {"standin": known.standin or found.standin, "weights_assumed": assumed}
    )


def other(one: ServedBy, two: ServedBy) -> tuple[str, str] | None:
    """The weights of both where they are not the same: by digest where both say one, else by where they come from."""
    a, b = _said(one), _said(two)
    if a and b:
        return None if same(a, b) else (a, b)
    if one.root and two.root and one.root != two.root:
        return one.root, two.root
    return None


def _said(row: ServedBy) -> str:
    return "" if row.weights_assumed else row.weights or ""


def same(one: str, two: str) -> bool:
    """Whether two digests, of which one may be cut short, can be of the same checkpoint."""
    a, b = one.removeprefix("sha256:"), two.removeprefix("sha256:")
    return bool(a and b) and (a.startswith(b) or b.startswith(a))


@dataclass
class Steady:
    """What answers must go on being where they make a score; what is not known yet is taken from the first."""

    name: str = ""
    said: ServedBy | None = None
    said_at: str = ""  # when the server last said weights, and these
    change: str = ""  # what was seen; it stays, since nobody knows who answered meanwhile
    by_look: bool = False  # whether it was seen at the weights, after answers that may have been of either

    def named(self, name: str) -> None:
        """Takes the name of an answer."""
        self.name = self.name or name
        if name != self.name and not self.change:
            self.change = f"as {name}, and as {self.name} before"

    def looked(self, found: ServedBy, at: str) -> None:
        """Takes what the server said of itself when it was asked at that time."""
        if not (found.weights or found.root):
            return
        self.said = self.said or found
        differ = other(self.said, found)
        if differ is not None:
            self.change, self.by_look = f"with the weights {differ[1]}, and with {differ[0]} before", True
        elif not self.change:
            self.said, self.said_at = kept(self.said, found), at


def first(rows: Iterable[ServedBy], role: str) -> Steady:
    """What earlier attempts' answers of a role were."""
    row = next((r for r in rows if r.role == role and r.answers), None)
    if row is None:
        return Steady()
    return Steady(row.model, row if _said(row) or row.root else None)


def several(rows: Iterable[ServedBy], role: str) -> str:
    """What answers of a role that lie in the journal differ in, in words; empty where they are of one model."""
    mine = [row for row in rows if row.role == role and row.answers]
    names = list(dict.fromkeys(row.model for row in mine))
    if len(names) > 1:
        return f"as {names[0]} and as {names[1]}"
    differ = next((d for a, b in combinations(mine, 2) if (d := other(a, b)) is not None), None)
    return f"with the weights {differ[0]} and with {differ[1]}" if differ else ""
