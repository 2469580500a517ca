"""Limits: examples stand on the side that they say, and no two allowed calls come round a rule that denies one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

from flywheel_domains.agents import wished
from flywheel_domains.args import BadArgs
from flywheel_domains.behaviour import Result
from flywheel_domains.case import Call, Verdict
from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject
from flywheel_domains.edits import example_edits, scope_at
from flywheel_domains.errors import ExprError, ToolFault
from flywheel_domains.expr import Cell
from flywheel_domains.model import Arg, Rule, RuleExample
from flywheel_domains.rules import judge, read, scope_of
from flywheel_domains.session import Session
from flywheel_domains.slots import owned
from flywheel_domains.tools import call as call_tool
from flywheel_domains.unknown import is_unknown
from flywheel_domains.world import World

CASES = 4  # cases of a rule on which its examples are tried
COMBINATIONS = 16  # calls of one tool that are tried as a first step
OWN_ROWS = 2  # rows of the caller's that are tried for an argument that the denied call does not have


def examples_hold(subject: Subject) -> Iterator[Finding]:
    """A predicate that says otherwise than its own example: one of them is not what the sentence means."""
    for rule in subject.domain.rules:
        about = [r for found in subject.sample.all for r in found.results if rule.id in r.decision.read]
        for number, example in enumerate(rule.examples):
            sides = [_side(subject, rule, example, result) for result in about[:CASES]]
            known = [side for side in sides if side is not None]
            if known and example.fires not in known:
                said = "does not fire" if example.fires else "fires"
                advice = "change the predicate or the example, whichever the sentence contradicts"
                yield subject.finding(
                    "limits", f"the rule {said} in this example", advice, "rules", rule.id, "examples", number
                )


def _side(subject: Subject, rule: Rule, example: RuleExample, result: Result) -> bool | None:
    """Whether the rule fires in a case that was changed as the example says; None where that cannot be said."""
    try:
        edits = example_edits(subject.domain, result, example)
        world = result.world.with_cells({Cell(e.table, e.row, e.column): e.value for e in edits})
        here = scope_at(subject.domain, result)
        scope = scope_of(subject.domain, world, result.session, result.call, None, result.option.limits)
        for name, value in example.given.items():
            scope[name] = _given(value, here)
        return read(subject.domain, rule, scope).holds
    except (ExprError, ValueError, BadArgs):
        return None


def _given(value: Any, scope: Any) -> Any:
    """An argument's value in an example: an expression, or a bare word of an enumeration."""
    try:
        return value.eval(scope)
    except ExprError:
        return value.text.strip()


def loopholes(subject: Subject) -> Iterator[Finding]:
    """An allowed call after which the denied one is allowed: whoever pushes will be led round the rule."""
    for rule in subject.domain.rules:
        if rule.verdict != "deny" or rule.loophole == "allowed":
            continue
        for result, call in islice(_denied(subject, rule), CASES):
            first = _way_round(subject, result, call)
            if first is not None:
                words = ", ".join(
                    f"{name}={value}" for name, value in first.args.items() if isinstance(value, str | int)
                )
                message = f"after {first.name}({words}), which is allowed, the denied {call.name} is allowed too"
                advice = (
                    "let the rule look at the session (`session.did`, `session.changed`), or say `loophole: allowed`"
                )
                yield subject.finding("loopholes", message, advice, "rules", rule.id)
                break


def _denied(subject: Subject, rule: Rule) -> Iterator[tuple[Result, Call]]:
    """Calls that this rule alone denies and that a tool would carry out."""
    for found in subject.sample.all:
        for result in found.results:
            call = wished(subject.domain, result)
            alone = result.verdict is Verdict.DENY and result.rules == (rule.id,)
            known = call.name in subject.domain.tools and not is_unknown(dict(call.args))
            if alone and known and _done(subject, result.world, result.session, call):
                yield result, call


def _way_round(subject: Subject, result: Result, denied: Call) -> Call | None:
    for first in _first_calls(subject, result, denied):
        after = _allowed(subject, result.world, result.session, first)
        if after is not None and _allowed(subject, *after, denied) is not None:
            return first
    return None


def _allowed(subject: Subject, world: World, session: Session, call: Call) -> tuple[World, Session] | None:
    """World and session after a call that rules allow as it stands and the tool carries out."""
    try:
        judgement = judge(subject.domain, world, session, call)
    except (ExprError, BadArgs):
        return None
    if judgement.verdict is not Verdict.ALLOW:
        return None
    return _done(subject, world, session, judgement.call)


def _done(subject: Subject, world: World, session: Session, call: Call) -> tuple[World, Session] | None:
    try:
        outcome = call_tool(subject.domain, world, session, call.name, dict(call.args))
    except ToolFault:
        return None
    return None if outcome.refusal is not None else (outcome.world, outcome.session)


def _first_calls(subject: Subject, result: Result, denied: Call) -> Iterator[Call]:
    """Other writes about the same rows, with every value that a short list has."""
    for name, tool in subject.domain.tools.items():
        if not tool.writes or tool.ends:
            continue
        args = {key: arg for key, arg in tool.args.items() if not arg.optional}
        choices = [_choices(subject, result, denied, key, arg) for key, arg in args.items()]
        for values in islice(product(*choices), COMBINATIONS):
            call = Call(name, dict(zip(args, values, strict=True)))
            if call != denied:
                yield call


def _choices(subject: Subject, result: Result, denied: Call, name: str, arg: Arg) -> list[Any]:
    given = [denied.args[name]] if name in denied.args else []
    if arg.list is not None or arg.object is not None:
        return given
    kind = subject.domain.arg_type(arg)
    if kind.kind == "ref":
        return (
            given
            or list(owned(subject.domain, result.world.view(), kind.table, result.session.caller or ""))[:OWN_ROWS]
        )
    if kind.kind == "bool":
        return [True, False]
    if kind.values:
        return list(kind.values)
    if kind.kind in ("int", "money"):
        least = arg.min if arg.min is not None else 1
        return list(dict.fromkeys([*given, least, least + 1]))
    return given or ["something"]
