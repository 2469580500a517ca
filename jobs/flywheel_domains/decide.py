"""What is right now for one wish, with what has been told and seen so far: rules, replacements, own limits together.

The same function says what is true (`seen=None`) and what an agent can know (`seen` are the cells that it was shown):
whoever was shown enough reaches the same decision, whichever way they looked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from flywheel_domains.case import Call, Fact, Verdict, Want
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell, Scope
from flywheel_domains.model import Arg
from flywheel_domains.rules import NOTHING, Judgement, ending_tool, judge, refuses, scope_of
from flywheel_domains.session import Session
from flywheel_domains.slots import COMPUTED, NoCandidate, computed, described, owned, part_of, plain_value
from flywheel_domains.unknown import UNKNOWN, Unknown, is_unknown
from flywheel_domains.world import World

MOST_REPLACED = 4
MOST_ANSWERS = 64
"""Combinations of possible answers that are tried before a question is taken to matter."""

Seen = frozenset[Cell] | set[Cell] | None


class Circle(Exception):
    """Rules put calls in each other's place for ever, or a wish is never at an end: the domain is wrong."""


@dataclass(frozen=True)
class Decision:
    """What is right for a call. `verdict` is None where that cannot be said yet; `ask` are slots that would help.

    `why_not` says that rules allow it and something else does not: `limit` (the caller's own), `nothing` (no
    candidate), or the name of a tool's refusal.
    """

    verdict: Verdict | None
    call: Call
    rules: tuple[str, ...] = ()
    fired: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    proof: frozenset[Cell] = NOTHING
    facts: tuple[Fact, ...] = ()
    ask: tuple[str, ...] = ()
    confirm: bool = False
    replaced: bool = False
    why_not: str = ""

    def same(self, other: Decision) -> bool:
        """Whether it comes to the same, however it was reached; what is not known is not the same as anything."""
        if self.verdict is None or self.verdict is not other.verdict or self.why_not != other.why_not:
            return False
        if self.verdict in (Verdict.DENY, Verdict.ASK, Verdict.IDENTIFY) or self.why_not:
            return True
        return not is_unknown(dict(self.call.args)) and self.call == other.call


@dataclass(frozen=True)
class Situation:
    """Where a wish is decided: the world and the session at that moment, and for which row of a set."""

    domain: Domain
    world: World
    session: Session
    want: Want
    member: Any = None


def decide(at: Situation, told: Mapping[str, Any], seen: Seen = None) -> Decision:
    """What is right with these slots told. Raises Tie: two values fit the words."""
    found = _decided(at, told, seen)
    if found.verdict is not None:
        return found
    silent = [name for name in sorted(at.want.hidden) if name not in told]
    decisions = []
    for answers in _answers(at, silent, seen):
        decisions.append(_decided(at, {**told, **answers}, seen))
        if decisions[-1].verdict is None or decisions[-1].verdict is not decisions[0].verdict:
            break
    else:
        # whatever the answer may be, the verdict is the same: nothing is asked for its sake
        handed = decisions and decisions[0].verdict is Verdict.HAND_OVER
        if handed and any(each.call != decisions[0].call for each in decisions):
            return replace(found, ask=tuple(silent[:1]))  # a colleague is told what only the caller can say
        if decisions and decisions[0].verdict in (Verdict.DENY, Verdict.HAND_OVER):
            common = set(decisions[0].rules).intersection(*(set(d.rules) for d in decisions))
            kept = tuple(rule for rule in decisions[0].rules if rule in common)
            proof = frozenset().union(*(d.proof for d in decisions))
            return replace(decisions[0], rules=kept or decisions[0].rules, proof=proof)
    return replace(found, ask=tuple(silent[:1]))


def _decided(at: Situation, told: Mapping[str, Any], seen: Seen) -> Decision:
    goal = at.domain.wishes[at.want.wish].goal
    try:
        call, cells = wished(at, told, seen)
    except NoCandidate as error:
        open_call = Call(goal, {**dict.fromkeys(part_of(at.domain, goal).args, UNKNOWN), **told})
        first = judge(at.domain, at.world, at.session, open_call, seen)
        if first.verdict is Verdict.IDENTIFY:
            return _after(at, told, seen, first, replaced=False)
        return Decision(Verdict.ALLOW, Call(goal, {}), proof=error.cells, why_not="nothing")
    if call is None:
        return Decision(None, Call(goal, {}))
    otherwise: Verdict | None = None
    rules: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    for _ in range(MOST_REPLACED):
        judgement = judge(at.domain, at.world, at.session, call, seen)
        read += tuple(rule for rule in judgement.read if rule not in read)
        cells |= judgement.proof
        if judgement.verdict is not Verdict.INSTEAD:
            found = _after(at, told, seen, judgement, replaced=otherwise is not None)
            if otherwise is not None and found.verdict is Verdict.DENY and otherwise is not Verdict.DENY:
                found = replace(found, verdict=otherwise, call=Call(ending_tool(at.domain)))
            return replace(found, proof=found.proof | cells, read=read, rules=found.rules or rules)
        assert judgement.replacement is not None
        call, otherwise, rules = judgement.replacement, judgement.otherwise, judgement.rules
        if is_unknown(dict(call.args)):
            return Decision(None, call, proof=cells, read=read)
    raise Circle(f"rules put {call.name} in its own place for ever")


def _after(at: Situation, told: Mapping[str, Any], seen: Seen, found: Judgement, replaced: bool) -> Decision:
    """A judgement with what the caller and the tool add to it."""
    decision = Decision(
        found.verdict,
        found.replacement or found.call,
        found.rules,
        found.fired,
        found.read,
        found.proof,
        found.facts,
        found.ask,
        found.confirm,
        replaced,
    )
    if found.verdict is Verdict.HAND_OVER and is_unknown(dict(decision.call.args)):
        return replace(decision, verdict=None)
    if found.verdict is not Verdict.ALLOW or found.call.name not in at.domain.tools:
        return decision
    args = part_of(at.domain, found.call.name).args
    unknown = [
        name for name, arg in args.items() if not arg.optional and is_unknown(found.call.args.get(name, UNKNOWN))
    ]
    open_slots = [
        name for name in dict.fromkeys((*found.needs, *unknown)) if name in at.want.hidden and name not in told
    ]
    if open_slots:
        return replace(decision, verdict=None, ask=tuple(open_slots))
    scope = scope_of(at.domain, at.world, at.session, found.call, seen, at.want.limits)
    limit = at.domain.wishes[at.want.wish].only_if
    if limit is not None and found.call.name == at.domain.wishes[at.want.wish].goal:
        holds = limit.true(scope)
        decision = replace(decision, proof=decision.proof | scope.view.trace)
        if isinstance(holds, Unknown):
            return replace(decision, verdict=None)
        if not holds:
            return replace(decision, why_not="limit")
    error, cells = refuses(at.domain, scope, found.call)
    if error:  # not decided: the tool checks it itself, and says so
        return replace(decision, why_not=error, proof=decision.proof | cells)
    return _with_questions(at, decision, scope)


def _with_questions(at: Situation, decision: Decision, scope: Scope) -> Decision:
    """The answers to what the caller also asks."""
    asks = at.domain.wishes[at.want.wish].asks
    if not asks:
        return decision
    scope.view.trace.clear()
    values = {name: plain_value(expr.eval(scope)) for name, expr in asks.items()}
    if is_unknown(values):
        return replace(decision, verdict=None)
    facts = tuple(Fact(name, value, at.want.wish) for name, value in values.items())
    return replace(decision, facts=(*decision.facts, *facts), proof=decision.proof | scope.view.trace)


def wished(at: Situation, told: Mapping[str, Any], seen: Seen = None) -> tuple[Call | None, frozenset[Cell]]:
    """The call that the words ask for, and the cells from which its values are found; unknown is what is not told.

    Raises Tie and NoCandidate.
    """
    wish = at.domain.wishes[at.want.wish]
    part = part_of(at.domain, wish.goal)
    call = Call(wish.goal, {name: told[name] for name in wish.slots if name in told})
    cells: frozenset[Cell] = NOTHING
    for name, slot in wish.slots.items():
        if slot.way == "all":
            call = call.with_args(**{name: at.member})
        elif slot.way in COMPUTED or (name in at.want.described and name not in told):
            scope = scope_of(at.domain, at.world, at.session, call, seen, at.want.limits)
            try:
                value = _found(at, name, part.args[name], scope)
            except NoCandidate as error:
                error.cells = cells | scope.view.trace
                raise
            call, cells = call.with_args(**{name: value}), cells | scope.view.trace
        elif slot.way == "value" and name not in told:
            call = call.with_args(**{name: UNKNOWN})
    return call, cells


def _found(at: Situation, name: str, arg: Arg, scope: Scope) -> Any:
    """The value of a slot that nobody says: a row that is described, or what is computed. Raises Tie, NoCandidate."""
    marks = at.want.described.get(name)
    if marks is None:
        return computed(at.domain, scope, at.want, name)
    return described(at.domain, scope.view, arg.ref or "", at.session.caller or "", marks)


def _answers(at: Situation, slots: list[str], seen: Seen) -> Iterator[dict[str, Any]]:
    """What the caller could answer, all of it, if that is a short list; nothing otherwise."""
    lists = []
    size = 1
    for name in slots:
        values = _possible(at, name)
        size *= len(values)
        if not values or size > MOST_ANSWERS:
            return
        lists.append(values)
    if lists:
        yield from (dict(zip(slots, answers, strict=True)) for answers in product(*lists))


def _possible(at: Situation, name: str) -> list[Any]:
    arg: Arg = part_of(at.domain, at.domain.wishes[at.want.wish].goal).args[name]
    if arg.ref is not None:
        caller = at.session.caller or ""
        return list(owned(at.domain, at.world.view(), arg.ref, caller))
    if arg.list is not None or arg.object is not None:
        return []
    kind = at.domain.arg_type(arg)
    return [True, False] if kind.kind == "bool" else list(kind.values)
