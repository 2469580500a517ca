"""Draws a case: a caller, what they know, and what they want, with every value that they will say.

`draw_want` fills the slots of one wish; `draw` (in `draws.py`) makes whole cases, per rule and side of its limit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flywheel_domains import people
from flywheel_domains.case import Call, Case, Want
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Expr, Scope
from flywheel_domains.model import Arg, Caller, Slot
from flywheel_domains.rules import scope_of
from flywheel_domains.session import Session
from flywheel_domains.slots import COMPUTED, owned, part_of, plain_at, plain_value
from flywheel_domains.unknown import is_unknown
from flywheel_domains.values import plain
from flywheel_domains.world import World

UNSAID = frozenset({"value", "caller"})
"""Ways of a slot whose value needs no words; any other that the wording leaves out is told when it is asked for."""
MOST_AGAIN = 2
"""Other values that a caller offers when the first will not do."""


class NotDrawn(Exception):
    """These draws make no case: nothing of the caller's fits the wish, say. Another draw may."""


@dataclass(frozen=True)
class Drawing:
    """What the slots of a wish are drawn from."""

    domain: Domain
    world: World
    rng: random.Random
    caller: str
    kind: str
    owner: str
    """Whose affairs the wish is about: the caller's own, or somebody else's."""

    @property
    def declared(self) -> Caller:
        """The kind of caller."""
        return self.domain.callers[self.kind]


def draw_want(
    at: Drawing,
    name: str,
    words: int | None = None,
    chain: tuple[str, ...] = (),
    rows: Mapping[str, Any] | None = None,
    others: Mapping[str, tuple[Any, ...]] | None = None,
) -> Want:
    """One wish with values for all its slots, and its fallbacks. Raises NotDrawn.

    `rows` are rows of the caller's that it is about, by argument: what is computed or picked from them fits them.
    `others` are what the caller offers in place of these: they are asked by the name of the slot alone, so a wish and
    what is wished otherwise have the same answers.
    """
    wish = at.domain.wishes[name]
    part = part_of(at.domain, wish.goal)
    limits = {key: _drawn_limit(at, raw) for key, raw in wish.limits.items()}
    said: dict[str, Any] = {}
    described: dict[str, tuple[tuple[str, Any], ...]] = {}
    hidden = set()
    again: dict[str, tuple[Any, ...]] = {}
    set_by_rules = _set_by_rules(at.domain, wish.goal)
    for slot_name, slot in wish.slots.items():
        if slot.way in COMPUTED or (slot.way == "value" and slot_name in set_by_rules):
            continue
        scope = drawn_scope(at, Call(wish.goal, said), limits)
        about = (rows or {}).get(slot_name) if slot.way == "mine" else None
        value = drawn(at, scope, slot, part.args[slot_name], bool(said)) if about is None else about
        if is_unknown(value):
            raise NotDrawn(f"{slot_name} of {name} rests on what is not known")
        said[slot_name] = plain(value)
        if slot.way == "mine":
            own = owned(at.domain, at.world.view(), part.args[slot_name].ref or "", at.caller)
            left = [id for id in own if id != value]
            drawn_others = tuple(at.rng.sample(left, min(len(left), at.rng.randint(0, MOST_AGAIN))))
            again[slot_name] = (others or {}).get(slot_name, drawn_others)
            if not _knows(at, slot_name):
                described[slot_name] = description(at, part.args[slot_name].ref or "", str(value))
        if slot.hide is not None and at.rng.random() < slot.hide and slot_name not in described:
            hidden.add(slot_name)
    if wish.when is not None:
        scope = drawn_scope(at, Call(wish.goal, said), limits)
        if wish.when.true(scope) is not True:
            raise NotDrawn(f"{name} makes no sense here")
    mine = {key: value for key, value in said.items() if wish.slots[key].way == "mine"}
    said = {key: value for key, value in said.items() if key not in described}
    chosen = at.rng.randrange(len(wish.words)) if words is None else words % len(wish.words)
    hidden |= {key for key in said if f"{{{key}" not in wish.words[chosen] and wish.slots[key].way not in UNSAID}
    otherwise = None
    fallbacks = [other for other in wish.otherwise if other not in (*chain, name)]
    if fallbacks:
        otherwise = draw_want(at, fallbacks[0], chain=(*chain, name), rows=mine, others=again)
        if len(fallbacks) > 1 and otherwise.otherwise is None:
            last = draw_want(at, fallbacks[1], chain=(*chain, name, fallbacks[0]), rows=mine, others=again)
            otherwise = replace(otherwise, otherwise=last)
    return Want(name, said, described, frozenset(hidden), again, otherwise, limits, chosen)


def _set_by_rules(domain: Domain, goal: str) -> set[str]:
    """Arguments whose value a rule sets: nobody says them."""
    return {name for rule in domain.rules_of(goal) if rule.modifier == "value" for name in rule.changes}


def _knows(at: Drawing, slot: str) -> bool:
    """Whether this kind of caller can name the row: a kind that is not said to know it does not, if another is."""
    if slot in at.declared.knows:
        return True
    return not any(slot in caller.knows for caller in at.domain.callers.values())


def drawn_scope(at: Drawing, call: Call, limits: Mapping[str, Any]) -> Scope:
    """The names that a slot may use while it is drawn: arguments so far, and chance."""
    scope = scope_of(at.domain, at.world, Session(caller=at.owner), call, None, limits)
    scope.view.trace = None
    scope.calls = {**scope.calls, **chance(at.rng)}
    return scope


def chance(rng: random.Random) -> dict[str, Callable[..., Any]]:
    """`pick` and `rand` for expressions that draw."""
    return {
        "pick": lambda scope, *given: rng.choice(given),
        "rand": lambda scope, least, most: rng.randint(least, most),
    }


def drawn(at: Drawing, scope: Scope, slot: Slot, arg: Arg, second: bool) -> Any:
    """A value for a slot. Raises NotDrawn."""
    return _WAYS[slot.way](at, scope, slot, arg, second)


def _mine(at: Drawing, scope: Scope, slot: Slot, arg: Arg, second: bool) -> Any:
    owner = at.caller if second else at.owner
    ids = owned(at.domain, at.world.view(), arg.ref or "", owner)
    if not ids:
        raise NotDrawn(f"{owner} has no {arg.ref}")
    return at.rng.choice(ids)


def _caller(at: Drawing, scope: Scope, slot: Slot, arg: Arg, second: bool) -> Any:
    return at.caller


def _any(at: Drawing, scope: Scope, slot: Slot, arg: Arg, second: bool) -> Any:
    values = list(at.domain.types.get(slot.any or "", ())) or list(at.world.view().ids(slot.any or ""))
    if slot.differs is not None:
        other = plain_value(slot.differs.eval(scope))
        values = [value for value in values if value not in (other if isinstance(other, tuple) else (other,))]
    if not values:
        raise NotDrawn(f"nothing left of {slot.any}")
    return at.rng.choice(values)


def _expr(at: Drawing, scope: Scope, slot: Slot, arg: Arg, second: bool) -> Any:
    expr: Expr | None = slot.expr
    assert expr is not None
    value = plain_value(expr.eval(scope))
    if value is None or value == ():
        raise NotDrawn("the expression finds nothing")
    return value


def _pick(at: Drawing, scope: Scope, slot: Slot, arg: Arg, second: bool) -> Any:
    assert slot.pick is not None
    candidates = slot.pick.source.eval(scope)
    least, most = slot.pick.n if isinstance(slot.pick.n, tuple) else (slot.pick.n, slot.pick.n)
    number = at.rng.randint(least, most)
    if is_unknown(candidates) or len(candidates) < max(number, 1):
        raise NotDrawn("too little to pick from")
    found = tuple(plain_value(each) for each in at.rng.sample(list(candidates), number))
    return found if arg.list is not None else found[0]


def _people(at: Drawing, scope: Scope, slot: Slot, arg: Arg, second: bool) -> Any:
    fields = arg.list.object if arg.list is not None else None
    number = at.rng.randint(*slot.people or (1, 1))
    return [
        {name: _of_person(at, field) for name, field in (fields or {}).items()} if fields else people.person(at.rng)
        for _ in range(number)
    ]


def _of_person(at: Drawing, field: Arg) -> Any:
    if field.type == "date":
        return f"{at.rng.randint(1950, 2018)}-{at.rng.randint(1, 12):02d}-{at.rng.randint(1, 28):02d}"
    return people.person(at.rng)


_WAYS: dict[str, Callable[[Drawing, Scope, Slot, Arg, bool], Any]] = {
    "mine": _mine,
    "caller": _caller,
    "any": _any,
    "expr": _expr,
    "value": lambda at, scope, slot, arg, second: slot.value,
    "pick": _pick,
    "people": _people,
    "range": lambda at, scope, slot, arg, second: at.rng.randint(*slot.range or (0, 0)),
    "chance": lambda at, scope, slot, arg, second: at.rng.random() < (slot.chance or 0),
    "person": lambda at, scope, slot, arg, second: people.person(at.rng, slot.person or "full"),
}


def _drawn_limit(at: Drawing, raw: Any) -> Any:
    """A limit of the caller's own: a value, `pick` of some, or a `range`."""
    if isinstance(raw, Mapping) and "pick" in raw:
        return at.rng.choice(list(raw["pick"]))
    if isinstance(raw, Mapping) and "range" in raw:
        return at.rng.randint(*raw["range"])
    return raw


def description(at: Drawing, table: str, id: str) -> tuple[tuple[str, Any], ...]:
    """Columns by which one of the owner's rows is known among theirs, as few as possible. Raises NotDrawn."""
    view = at.world.view()
    others = [each for each in owned(at.domain, view, table, at.owner) if each != id]
    paths = [path for path in _shown(at.domain, table) if _speakable(at.domain, table, path)]
    at.rng.shuffle(paths)
    marks: list[tuple[str, Any]] = []
    for path in paths:
        if not others:
            break
        value = plain_at(view, table, id, path)
        left = [each for each in others if plain_at(view, table, each, path) == value]
        if len(left) < len(others) and value not in (None, ()):
            others = left
            marks.append((path, plain(value)))
    if others:
        raise NotDrawn(f"nothing tells {table}/{id} from the others of the same owner")
    return tuple(marks[-3:]) if len(marks) <= 3 else _too_many(table, id)


def _too_many(table: str, id: str) -> tuple[tuple[str, Any], ...]:
    raise NotDrawn(f"{table}/{id} can be told from the others only by too many words")


def _shown(domain: Domain, table: str) -> list[str]:
    """Columns of a table that some read shows."""
    shown = {tool.read.show for tool in domain.tools.values() if tool.read is not None}
    return sorted({path for name in shown if domain.views[name].of == table for path in domain.views[name].show})


def _speakable(domain: Domain, table: str, path: str) -> bool:
    kind = domain.columns[table].get(path)
    return kind is not None and path != "id" and kind.kind in ("enum", "money", "int", "date", "bool")


def caller_of(domain: Domain, world: World, rng: random.Random, kind: str) -> tuple[str, str, dict[str, Any]]:
    """A caller of a kind, whose affairs they ask about, and what they know of themselves."""
    table = domain.caller_table
    if table is None:
        raise NotDrawn("nobody calls in this domain")
    ids = list(world.view().ids(table))
    caller = rng.choice(ids)
    owner = caller
    if domain.callers[kind].someone_else and len(ids) > 1:
        owner = rng.choice([id for id in ids if id != caller])
    row = world.view().values(table, caller) or {}
    knows = {name: plain(row[name]) for name in domain.callers[kind].knows if name in row}
    return caller, owner, knows


def drawing_of(domain: Domain, world: World, rng: random.Random, case: Case) -> Drawing:
    """What further wishes of a case are drawn from."""
    return Drawing(domain, world, rng, case.caller, case.kind, case.caller)
