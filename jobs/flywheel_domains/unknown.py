"""A value that is not known, which is not None: whatever cannot be decided without it is not known either.

Python decides truth with two values. So an unknown value raises `Undecided` where Python asks it for truth, a hash or
its members; `expr` then evaluates again with three values.
"""

from __future__ import annotations


class Undecided(Exception):
    """Python asked an unknown value for what only a known one has."""


class Fields:
    """What an expression may read attributes of: rows, nested arguments, the session, an unknown value."""

    __slots__ = ()

    def get(self, name: str) -> object:
        """The attribute's value. Raises AttributeError if there is none."""
        raise AttributeError(name)


class Unknown(Fields):
    """A value that is not known; `excluded` holds what it cannot be (a wallet that is in nobody's shown list)."""

    __slots__ = ("excluded",)

    def __init__(self, excluded: frozenset[str] = frozenset()) -> None:
        self.excluded = excluded

    def __repr__(self) -> str:
        return "UNKNOWN"

    def _undecided(self, *_: object) -> bool:
        raise Undecided

    __bool__ = __iter__ = __len__ = __contains__ = _undecided

    def __hash__(self) -> int:
        raise Undecided

    def _unknown(self, *_: object) -> Unknown:
        return UNKNOWN

    __add__ = __radd__ = __sub__ = __rsub__ = __neg__ = __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = _unknown

    def get(self, name: str) -> Unknown:
        """A column of an unknown row."""
        return UNKNOWN

    def __eq__(self, other: object) -> object:  # type: ignore[override]
        if self.excluded and not isinstance(other, Unknown) and getattr(other, "id", other) in self.excluded:
            return False
        return UNKNOWN

    def __ne__(self, other: object) -> object:  # type: ignore[override]
        equal = self == other
        return equal if isinstance(equal, Unknown) else not equal


UNKNOWN = Unknown()


def is_unknown(value: object) -> bool:
    """Whether the value, or a member of it, is not known."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, list | tuple):
        return any(map(is_unknown, value))
    return isinstance(value, dict) and any(map(is_unknown, value.values()))
