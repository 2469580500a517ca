"""Whether two answers are the same: our own rules, and behind them a library in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from flywheel_jobs.reading import evaluate, expr, library
from flywheel_jobs.reading.expr import Node, Unreadable
from flywheel_jobs.reading.kinds import Kind, Value
from flywheel_jobs.reading.units import CURRENCIES, size, spelt_out
from flywheel_jobs.reading.values import read

_LEFT_OPEN = frozenset({Kind.OTHER, Kind.SCALAR, Kind.RELATION, Kind.SET, Kind.ORDERED, Kind.NUMBER})
_SETTLES_WITHIN = 6  # readings of a form; what people write is settled after one


def equal(one: str, other: str) -> bool:
    """Whether two final answers mean the same. Symmetric; never raises; an empty answer equals nothing."""
    a, b = read(one), read(other)
    if not a.text or not b.text:
        return False
    if equal_values(a, b):
        return True
    return (
        Kind.OTHER in (a.kind, b.kind) and {a.kind, b.kind} <= _LEFT_OPEN and library.equal(*sorted((a.text, b.text)))
    )


def checkable(answer: str) -> bool:
    """Whether an answer can serve as a truth: it is understood, it is no refusal, and it equals itself.

    In its normal form too, which is what labels are written in.
    """
    value = read(answer)
    if value.kind is Kind.OTHER:
        return library.equal(value.text, value.text)
    return value.checkable and equal_values(value, value) and equal_values(value, read(normal_form(answer)))


def equal_values(one: Value, other: Value) -> bool:
    """Whether two answers mean the same. A name or unit that only one of them has says nothing against it."""
    if Kind.CHOICE in (one.kind, other.kind):
        return _same_choice(one, other)
    one, other = _spelt(one, other), _spelt(other, one)
    if _is_assignment(one) != _is_assignment(other):
        one, other = _assigned(one, other), _assigned(other, one)
    if one.unit and other.unit and one.unit != other.unit and not (one.name and other.name and one.name != other.name):
        return _same_amount(one, other) or _as_relations(one, other)
    if one.name and other.name and one.name != other.name:
        return "(" not in one.name + other.name and _as_relations(one, other)
    if Kind.RELATION in (one.kind, other.kind):
        return _as_relations(one, other)
    if {one.kind, other.kind} <= {Kind.NUMBER, Kind.SCALAR}:
        return _same_scalar(one, other) or _same_angle(one, other)
    if (one.kind is Kind.SET) != (other.kind is Kind.SET):
        several, single = sorted((one, other), key=lambda v: v.kind is not Kind.SET)
        return len(several.parts) == 1 and equal_values(several.parts[0], single)  # the only solution
    if one.kind is not other.kind or len(one.parts) != len(other.parts):
        return False
    if one.kind is Kind.ORDERED:
        if one.brackets != other.brackets:
            return False
        if one.brackets == ":" and (one.unit != other.unit) and _of_the_day(one) == _of_the_day(other):
            return True
        named = {bool(p.name) for p in (*one.parts, *other.parts)}
        if named == {True}:
            return _same_members(one.parts, other.parts)
        return named == {False} and all(map(equal_values, one.parts, other.parts))
    if one.kind is Kind.SET:
        return one.brackets == other.brackets and _same_members(one.parts, other.parts)
    return one.text == other.text != ""


def _same_choice(one: Value, other: Value) -> bool:
    """The same letter, with the same words where both have some; or the words alone: `(C) 12` is 12."""
    if one.kind is not other.kind:
        chosen, value = sorted((one, other), key=lambda v: v.kind is not Kind.CHOICE)
        return bool(chosen.unit) and value.checkable and equal_values(read(chosen.unit), value)
    if one.text != other.text or not one.unit or not other.unit or one.unit.lower() == other.unit.lower():
        return one.text == other.text
    said, wanted = read(one.unit), read(other.unit)
    return Kind.CHOICE not in (said.kind, wanted.kind) and equal_values(said, wanted)


def _is_assignment(value: Value) -> bool:
    """Whether a value says what each of several variables is: `x=1, y=2`."""
    names = [part.name for part in value.parts]
    return value.kind in (Kind.SET, Kind.ORDERED) and len(set(names)) == len(names) > 1 and all(names)


def _assigned(value: Value, beside: Value) -> Value:
    """`(x,y) = (1,2)` beside `x=1, y=2` as such; `x = 1 or 2` beside `x_1 = 1, x_2 = 2` under its one name."""
    names = value.name.split(",")
    if len(names) == len(value.parts) > 1:
        named = tuple(replace(part, name=name) for part, name in zip(value.parts, names, strict=True))
        return replace(value, kind=beside.kind, brackets=beside.brackets, parts=named, name="")
    numbered = {part.name.partition("_")[0] for part in value.parts if part.name[-1:].isdecimal()}
    if len(numbered) == 1 and {part.name for part in beside.parts} == numbered:
        return replace(value, parts=tuple(replace(part, name=name) for part in value.parts for name in numbered))
    return value


def _same_amount(one: Value, other: Value) -> bool:
    """Whether two numbers with units are one quantity: `1 km` and `1000 metres`; `$25` is an hour's, too."""
    if one.unit[0] in CURRENCIES and "/" in one.unit + other.unit and "/" not in min(one.unit, other.unit, key=len):
        return one.unit[0] == other.unit[0] and _same_scalar(one, other)
    if {one.unit, other.unit} == {"£", "pound"}:
        return _same_scalar(one, other)
    some, others = (size(v.unit) if v.number is not None else None for v in (one, other))
    if some is None or others is None or some[0] != others[0]:
        return _same_angle(one, other)
    return (one.number or 0) * some[1] == (other.number or 0) * others[1]


def _same_angle(one: Value, other: Value) -> bool:
    """`30°` and `\\pi/6`: degrees, and radians that are said or that nobody needs to say."""
    degrees, radians = sorted((one, other), key=lambda v: v.unit != "°")
    if degrees.unit != "°" or radians.unit not in ("", "radian"):
        return False
    turned = ("*", _node(degrees), ("*", ("c", "pi"), ("n", Fraction(1, 180))))
    return _same_scalar(replace(degrees, number=None, node=turned), radians)


def _spelt(value: Value, beside: Value) -> Value:
    """`5 m` beside `5 metres` is a length; beside anything else it is five times m."""
    if value.unit or not beside.unit or value.kind is not Kind.SCALAR:
        return value
    return read(spelt_out(value.text)) if size(beside.unit) else value


def _of_the_day(clock: Value) -> tuple[Fraction | None, ...]:
    """A time of day on 24 hours: `3:45 PM` is `15:45`. What no clock shows is as it is written."""
    hour, *rest = (part.number for part in clock.parts)
    if clock.unit and hour is not None and 1 <= hour <= 12:
        hour = hour % 12 + (12 if clock.unit == "p" else 0)
    return (hour, *rest)


def _same_members(some: tuple[Value, ...], others: tuple[Value, ...]) -> bool:
    if any(len({p.name for p in parts}) > 1 for parts in (some, others)) and not all(p.name for p in (*some, *others)):
        return False  # `x=1, y=2` says more than `1, 2`
    left = list(others)
    for part in some:
        match = next((p for p in left if equal_values(part, p)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_scalar(one: Value, other: Value) -> bool:
    if one.number is not None and other.number is not None:
        return one.number == other.number
    try:
        return evaluate.values(_node(one)).same(evaluate.values(_node(other)))
    except Unreadable:
        return one.text == other.text


def _node(value: Value) -> Node:
    if value.number is None and value.node is None:
        raise Unreadable(f"{value.text} has no value")
    return ("n", value.number) if value.number is not None else value.node or ()


def _as_relations(one: Value, other: Value) -> bool:
    """Equations that differ by a factor are one equation; of inequalities, by a positive one."""
    sides = [_relation_of(v) for v in (one, other)]
    if None in sides or (one.brackets != other.brackets and Kind.RELATION is one.kind is other.kind):
        return False
    operator = one.brackets if one.kind is Kind.RELATION else other.brackets
    if one.kind is not other.kind and operator != "=":
        return False  # a value with a name is an equation
    try:
        sign = evaluate.values(sides[0] or ()).proportional(evaluate.values(sides[1] or ()))
    except Unreadable:
        return one.text == other.text
    return sign > 0 or (sign < 0 and operator in ("=", "!="))


def _relation_of(value: Value) -> Node | None:
    if value.kind is Kind.RELATION:
        return value.node
    if value.name and value.kind in (Kind.NUMBER, Kind.SCALAR):
        try:
            return ("+", expr.parse(value.name), ("neg", _node(value)))
        except Unreadable:
            return None
    return None


def normal_form(answer: str) -> str:
    """Canonical text of an answer: `p/q` in lowest terms, `{a,b}` sorted, `(a,b)` in order, else its folded writing.

    Equal forms are equal answers; the reverse holds for numbers in one unit and their collections only. The form of a
    form is itself: of those between which writing and reading go round (brackets that do not match) it is the first,
    and what never settles stays as it was written.
    """
    forms = [_form(read(answer))]
    while len(forms) <= _SETTLES_WITHIN:
        again = _form(read(forms[-1]))
        if again in forms:
            return min(forms[forms.index(again) :])
        forms.append(again)
    return " ".join(answer.split())


def _form(value: Value) -> str:
    if value.kind is Kind.NUMBER:
        number = value.number or Fraction(0)
        money, per, each = value.unit.partition("/")
        if money and money in CURRENCIES:
            return f"{'-' * (number < 0)}{money}{abs(number)}{per}{each}"
        return f"{number} {value.unit}".rstrip()
    forms = [_form(part) for part in value.parts]
    if len({part.name for part in value.parts}) > 1:
        forms = [f"{part.name}={form}" if part.name else form for part, form in zip(value.parts, forms, strict=True)]
    if forms and value.kind is Kind.SET:
        return " ∪ ".join(sorted(forms)) if value.brackets else rf"\{{{','.join(sorted(forms))}\}}"
    if forms and len(value.brackets) == 2:
        return f"{value.brackets[0]}{','.join(forms)}{value.brackets[1]}"
    return value.text
