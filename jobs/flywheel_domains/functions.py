"""The functions that an expression may call, and the operators that Python would make too powerful.

All of them are pure. An unknown value makes the result unknown, or raises `Undecided`, which comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Any

from flywheel_domains.unknown import UNKNOWN, Fields, Undecided, Unknown, is_unknown
from flywheel_domains.values import fold

LIMIT = 2**63
"""No number of a domain is larger: a product of products must not fill the memory."""
LONGEST = 100_000
"""Members of a list."""
DATE_PARTS = {"year", "month", "day", "hour", "minute"}


def attribute(value: Any, name: str) -> Any:
    """`value.name` where the language has it. A column of no row is an error and not None."""
    if isinstance(value, Fields):
        return value.get(name)
    if isinstance(value, date) and name in DATE_PARTS:
        return getattr(value, name)
    raise AttributeError(f"{_kind(value)} has no {name}")


def equal(left: Any, right: Any) -> Any:
    """`left == right`; lists with an unknown member are neither equal nor unequal."""
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if is_unknown(left) or is_unknown(right):
            return UNKNOWN
        return list(left) == list(right)
    return left == right


def unequal(left: Any, right: Any) -> Any:
    """`left != right`."""
    same = equal(left, right)
    return same if isinstance(same, Unknown) else not same


def within(value: Any, members: Any) -> Any:
    """`value in members`: decided by a known equal, or by all of them being known."""
    if isinstance(members, Unknown):
        return UNKNOWN
    if isinstance(members, str):
        return UNKNOWN if isinstance(value, Unknown) else value in members
    open_question = False
    for member in members:
        same = equal(value, member)
        if isinstance(same, Unknown):
            open_question = True
        elif same:
            return True
    return UNKNOWN if open_question else False


def not_within(value: Any, members: Any) -> Any:
    """`value not in members`."""
    inside = within(value, members)
    return inside if isinstance(inside, Unknown) else not inside


def item(value: Any, key: Any) -> Any:
    """`value[key]` of a list or a decision table, never of text."""
    if isinstance(key, Unknown):
        return UNKNOWN
    if not isinstance(value, list | tuple | dict | Unknown):
        raise TypeError(f"{_kind(value)} has no members to choose from")
    return value[key]


def _whole(*values: Any) -> None:
    for value in values:
        if not isinstance(value, int | timedelta):
            raise TypeError(f"{_kind(value)} where a whole number is needed")


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and not -LIMIT < value < LIMIT:
        raise OverflowError("the number is larger than any that a domain has")
    return value


def times(left: Any, right: Any) -> Any:
    """`left * right` of whole numbers, never of text or lists."""
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return UNKNOWN
    _whole(left, right)
    return _bounded(left * right)


def divide(left: Any, right: Any) -> Any:
    """`left // right`, rounded down."""
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return UNKNOWN
    _whole(left, right)
    return left // right


def rest(left: Any, right: Any) -> Any:
    """`left % right` of whole numbers; text is not formatted."""
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return UNKNOWN
    _whole(left, right)
    return left % right


def percent(amount: Any, rate: Any) -> Any:
    """`rate` per cent of an amount in minor units, halves away from zero."""
    if isinstance(amount, Unknown) or isinstance(rate, Unknown):
        return UNKNOWN
    _whole(amount, rate)
    product = _bounded(amount * rate)
    size = (abs(product) + 50) // 100
    return size if product >= 0 else -size


def count(values: Any) -> Any:
    """How many members; the members need not be known."""
    return UNKNOWN if isinstance(values, Unknown) else len(as_list(values))


def as_list(values: Any) -> Any:
    """The members as a list of their own, so that what is done to them does not move it."""
    if isinstance(values, Unknown):
        raise Undecided
    if isinstance(values, list):
        return values
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{_kind(values)} where a list is needed")
    members = list(islice(values, LONGEST + 1))
    if len(members) > LONGEST:
        raise OverflowError(f"a list of more than {LONGEST} members")
    return members


def total(values: Any) -> Any:
    """The sum of whole numbers or durations; of nothing it is 0."""
    members = as_list(values)
    if any(isinstance(member, Unknown) for member in members):
        return UNKNOWN
    _whole(*members)
    if members and isinstance(members[0], timedelta):
        return sum(members, timedelta())
    return _bounded(sum(members))


def _extreme(choose: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    members = as_list(values[0]) if len(values) == 1 else values
    return UNKNOWN if is_unknown(list(members)) else choose(members)


def lowest(*values: Any) -> Any:
    """The lowest of a list or of the arguments."""
    return _extreme(min, values)


def highest(*values: Any) -> Any:
    """The highest of a list or of the arguments."""
    return _extreme(max, values)


def first(values: Any, otherwise: Any = None) -> Any:
    """The first member, or something else if there is none."""
    members = as_list(values)
    return members[0] if members else otherwise


def ordered(values: Any) -> Any:
    """The members, lowest first."""
    members = as_list(values)
    return UNKNOWN if is_unknown(members) else sorted(members)


def distinct(values: Any) -> Any:
    """The members without repetition, in their order."""
    return list(dict.fromkeys(as_list(values)))


def pairs(*lists: Any) -> Any:
    """`zip`: members side by side, as long as the shortest list."""
    return list(zip(*(as_list(values) for values in lists), strict=False))


def day(moment: Any) -> Any:
    """The date of a moment."""
    if isinstance(moment, Unknown):
        return UNKNOWN
    if not isinstance(moment, datetime):
        raise TypeError(f"{_kind(moment)} where a moment is needed")
    return moment.date()


def weekday(moment: Any) -> Any:
    """1 for Monday to 7 for Sunday."""
    if isinstance(moment, Unknown):
        return UNKNOWN
    return moment.isoweekday()


def age(born: Any, on: Any) -> Any:
    """Whole years between a date and another."""
    if isinstance(born, Unknown) or isinstance(on, Unknown):
        return UNKNOWN
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def _duration(unit: str) -> Callable[[Any], Any]:
    def make(number: Any) -> Any:
        return UNKNOWN if isinstance(number, Unknown) else timedelta(**{unit: number})

    return make


def a_date(text: str) -> date:
    """A date as written in the domain: `date('2031-03-14')`."""
    return date.fromisoformat(text)


def a_moment(text: str) -> datetime:
    """A moment as written in the domain: `moment('2031-03-14T10:00')`."""
    return datetime.fromisoformat(text)


def folded(text: Any) -> Any:
    """Text without regard to case and spaces around it."""
    return text if isinstance(text, Unknown) or text is None else fold(text)


def starts(text: Any, beginning: Any) -> Any:
    """Whether text begins with other text."""
    if isinstance(text, Unknown) or isinstance(beginning, Unknown):
        return UNKNOWN
    return str.startswith(text, beginning)


def digits(number: Any) -> Any:
    """A whole number as text, for ids."""
    return UNKNOWN if isinstance(number, Unknown) else str(number + 0)


def size(number: Any) -> Any:
    """The number without its sign."""
    return UNKNOWN if isinstance(number, Unknown) else abs(number)


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"a value of type {type(value).__name__}"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": size,
    "age": age,
    "count": count,
    "date": a_date,
    "day": day,
    "days": _duration("days"),
    "digits": digits,
    "distinct": distinct,
    "first": first,
    "fold": folded,
    "hours": _duration("hours"),
    "list": as_list,
    "max": highest,
    "min": lowest,
    "minutes": _duration("minutes"),
    "moment": a_moment,
    "percent": percent,
    "sorted": ordered,
    "starts": starts,
    "sum": total,
    "weekday": weekday,
    "zip": pairs,
}
"""Name in an expression -> function. `any` and `all` are the language's own: they decide with three values."""


def decided_any(values: Sequence[Any] | Iterable[Any]) -> bool:
    """`any` over known values; raises Undecided before it could pass over an unknown one."""
    return any(values)


def decided_all(values: Sequence[Any] | Iterable[Any]) -> bool:
    """`all` over known values."""
    return all(values)
