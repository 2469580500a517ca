"""What the policy says about one call: every rule is evaluated with a trace, the strongest verdict wins.

A value that is not known (`UNKNOWN` among the arguments, or a cell outside `seen`) makes a rule's condition true, false
or unknown. The verdict is decided if no unknown rule could change it, for whatever the unknown values may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from flywheel_domains.args import read_args
from flywheel_domains.case import Call, Fact, Verdict
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell, Expr, Scope, Trace, compile_expr
from flywheel_domains.model import Rule
from flywheel_domains.session import Session
from flywheel_domains.slots import part_of, plain_value
from flywheel_domains.tools import DONE_ALREADY
from flywheel_domains.unknown import UNKNOWN, Unknown, is_unknown
from flywheel_domains.world import World

NOTHING: frozenset[Cell] = frozenset()


@dataclass(frozen=True)
class Reading:
    """One rule's condition on one call: whether it holds (None: not decided), and the cells that were read."""

    rule: Rule
    holds: bool | None
    cells: frozenset[Cell]

    @property
    def verdict(self) -> Verdict:
        """What the rule says if it holds."""
        return Verdict(self.rule.verdict or "allow")


@dataclass(frozen=True)
class Judgement:
    """What is right for one call.

    `verdict` is None where two possible values of what is unknown lead to different ones. `rules` fired with the
    verdict, any of them is a right reason; `fired` are all that fired, `read` all whose condition was looked at.
    `call` is the call with the values that rules set, `ask` the arguments to be asked for, `facts` what must be said.
    """

    verdict: Verdict | None
    rules: tuple[str, ...]
    fired: tuple[str, ...]
    read: tuple[str, ...]
    proof: frozenset[Cell]
    call: Call
    replacement: Call | None = None
    ask: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    confirm: bool = False
    otherwise: Verdict | None = None


def judge(
    domain: Domain,
    world: World,
    session: Session,
    call: Call,
    seen: frozenset[Cell] | set[Cell] | None = None,
) -> Judgement:
    """The verdict on a call. `seen`: only these cells are known, all others are unknown; None: all are known."""
    scope = scope_of(domain, world, session, call, seen)
    verdicts = [rule for rule in domain.rules_of(call.name) if rule.verdict]
    if session.identified is None:  # nothing else matters until it is known who calls
        who = [read(domain, rule, scope) for rule in verdicts if rule.verdict == "identify"]
        verdicts = [r.rule for r in who] if any(r.holds for r in who) else verdicts
    readings = [read(domain, rule, scope) for rule in verdicts]
    modifiers = [rule for rule in domain.rules_of(call.name) if rule.modifier]
    readings = [_replaced_by_itself(reading, call, scope) for reading in readings]
    fired = [r for r in readings if r.holds]
    best = max((r.verdict.strength for r in fired), default=Verdict.ALLOW.strength)
    if any(r.holds is None and r.verdict.strength > best for r in readings):
        names = tuple(r.rule.id for r in readings)
        return Judgement(None, (), tuple(r.rule.id for r in fired), names, NOTHING, call)
    winners = sorted((r for r in fired if r.verdict.strength == best), key=lambda r: (len(r.cells), r.rule.id))
    proof = frozenset().union(*(r.cells for r in readings if r.verdict.strength > best))
    if winners:
        proof |= winners[0].cells
    found = Judgement(
        verdict=winners[0].verdict if winners else _silent(domain, call),
        rules=tuple(r.rule.id for r in winners),
        fired=tuple(r.rule.id for r in fired),
        read=tuple(r.rule.id for r in readings),
        proof=proof,
        call=call,
        needs=tuple(
            dict.fromkeys(
                slot
                for rule in modifiers
                if rule.modifier == "needs" and _holds(domain, rule, scope) is not False
                for slot in rule.ask
            )
        ),
        confirm=any(_holds(domain, rule, scope) is True for rule in modifiers if rule.modifier == "confirm"),
    )
    return _carried_out(domain, found, [r.rule for r in winners], modifiers, scope)


def _silent(domain: Domain, call: Call) -> Verdict:
    """What no rule speaks about is allowed if a tool does it, and denied if none does."""
    return Verdict.ALLOW if call.name in domain.tools else Verdict.DENY


def _carried_out(
    domain: Domain, found: Judgement, winners: list[Rule], modifiers: list[Rule], scope: Scope
) -> Judgement:
    """The judgement with what follows from it: values set, the other call, what is asked and told."""
    trace: Trace = scope.view.trace
    trace.clear()
    facts: tuple[Fact, ...] = ()
    if len(winners) == 1:  # with several right reasons none of their facts must be told
        facts = tuple(Fact(name, evaluated(name, scope), winners[0].id) for name in winners[0].tell)
    call, replacement, otherwise = found.call, None, None
    ask: tuple[str, ...] = ()
    if found.verdict is Verdict.ALLOW:
        values = {
            name: expr.eval(scope)
            for rule in modifiers
            if rule.modifier == "value" and _holds(domain, rule, scope) is True
            for name, expr in rule.changes.items()
        }
        call = replace(call, args={**call.args, **values}) if values else call
    elif found.verdict is Verdict.INSTEAD:
        replacement = replaced(winners[0], call, scope)
        otherwise = Verdict(winners[0].otherwise or "deny")
    elif found.verdict is Verdict.HAND_OVER:
        args = {name: plain_value(expr.eval(scope)) for name, expr in winners[0].args.items()}
        replacement = Call(ending_tool(domain), args)
    elif found.verdict is Verdict.ASK:
        ask = winners[0].ask
    return replace(
        found, proof=found.proof | trace, call=call, replacement=replacement, otherwise=otherwise, ask=ask, facts=facts
    )


def read(domain: Domain, rule: Rule, scope: Scope) -> Reading:
    """One rule's condition with the cells that decide it."""
    scope.view.trace = Trace()
    holds = _holds(domain, rule, scope)
    return Reading(rule, holds, frozenset(scope.view.trace))


def _holds(domain: Domain, rule: Rule, scope: Scope) -> bool | None:
    """Whether the rule speaks: its condition holds and nothing lifts it; None if that is not decided."""
    holds: bool | None = True
    if rule.when is not None:
        holds = _three(rule.when.true(scope))
    if rule.unless is not None and holds is not False:
        other = _three(rule.unless.true(scope))
        holds = None if other is None else (not other and holds)
    if holds is False or not rule.lifted_by:
        return holds
    lifts = [_holds(domain, domain.rule(name), scope) for name in rule.lifted_by]
    if any(lift is True for lift in lifts):
        return False
    return None if None in lifts else holds


def _three(value: bool | Unknown) -> bool | None:
    return None if isinstance(value, Unknown) else value


def _replaced_by_itself(reading: Reading, call: Call, scope: Scope) -> Reading:
    """A rule that puts the call in its own place says nothing; with `else` it says that."""
    if reading.holds is not True or reading.verdict is not Verdict.INSTEAD:
        return reading
    scope.view.trace = trace = Trace()
    other = replaced(reading.rule, call, scope)
    if is_unknown(dict(other.args)) or other != call:
        return replace(reading, cells=reading.cells | trace)
    if reading.rule.otherwise is None:
        return replace(reading, holds=False, cells=reading.cells | trace)
    rule = reading.rule.model_copy(update={"verdict": reading.rule.otherwise})
    return replace(reading, rule=rule, cells=reading.cells | trace)


def replaced(rule: Rule, call: Call, scope: Scope) -> Call:
    """The call that a rule puts in another's place; of the same tool, it keeps the arguments that are not named."""
    assert rule.instead is not None
    args = {name: plain_value(expr.eval(scope)) for name, expr in rule.instead.args.items()}
    kept = call.args if rule.instead.tool == call.name else {}
    return Call(rule.instead.tool, {**kept, **args})


def ending_tool(domain: Domain) -> str:
    """The tool that hands a conversation to a colleague."""
    return next(name for name, tool in domain.tools.items() if tool.ends)


@lru_cache(maxsize=1024)
def _compiled(text: str) -> Expr:
    return compile_expr(text)


def evaluated(text: str, scope: Scope) -> Any:
    """The value of a name or an expression that is written as text."""
    return plain_value(_compiled(text).eval(scope))


def scope_of(
    domain: Domain,
    world: World,
    session: Session,
    call: Call,
    seen: frozenset[Cell] | set[Cell] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Scope:
    """The names that a rule, a slot or a condition may use about a call; an argument that is not given is unknown."""
    part = part_of(domain, call.name)
    missing = {name: UNKNOWN for name, arg in part.args.items() if not arg.optional and name not in call.args}
    values = read_args(domain, part, {**missing, **call.args})
    return world.view(Trace(), seen).scope({**values, **(more or {})}, part.let, session)


def refuses(domain: Domain, scope: Scope, call: Call) -> tuple[str | None, frozenset[Cell]]:
    """The error with which the tool would refuse, "" if it would not, None if that is not decided; and the cells."""
    tool = domain.tools[call.name]
    given = {name: scope[name] for name in tool.args}
    if tool.repeat == "refuse" and not is_unknown(given) and scope["session"].session.earlier(call.name, given):
        return DONE_ALREADY, NOTHING
    read_so_far: frozenset[Cell] = NOTHING
    for refuse in tool.refuse:
        scope.view.trace = trace = Trace()
        holds = refuse.condition.true(scope)
        if isinstance(holds, Unknown):
            return None, NOTHING
        if holds:
            return refuse.error, frozenset(trace)
        read_so_far |= trace
    return "", read_so_far
