"""Limits: examples stand on the side that they say, and no two allowed calls come round a rule that denies one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from flywheel_domains.args import BadArgs
from flywheel_domains.behaviour import Result
from flywheel_domains.case import Call
from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject
from flywheel_domains.edits import example_edits, scope_at
from flywheel_domains.errors import ExprError
from flywheel_domains.expr import Cell, Expr, Scope
from flywheel_domains.holes import loopholes
from flywheel_domains.model import Rule, RuleExample
from flywheel_domains.rules import read, scope_of

CASES = 4  # cases of a rule on which its examples are tried
MOST_TRIED = 50  # cases from whose refusals a way round is searched


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


def _given(value: Expr, scope: Scope) -> Any:
    """An argument's value in an example: an expression, or a bare word of an enumeration."""
    try:
        return value.eval(scope)
    except ExprError:
        return value.text.strip()


def ways_round(subject: Subject) -> Iterator[Finding]:
    """Two allowed calls that come to what a rule denies: whoever pushes will be led round the rule."""
    told = set()
    for found in subject.sample.some(MOST_TRIED):
        for hole in loopholes(subject.domain, found, random.Random(f"{subject.seed}/{found.case.caller}")):
            if hole.rules[:1] in told:
                continue
            told.add(hole.rules[:1])
            calls = " and ".join(f"{call.name}({_words(call)})" for call in hole.calls)
            message = f"{calls}, each allowed, come to what is denied"
            closed = "let the rule look at the session (`session.did`, `session.changed`)"
            advice = f"{closed}, or say that it is meant (`loophole: [{hole.calls[0].name}]`)"
            yield subject.finding("loopholes", message, advice, "rules", hole.rules[0])


def _words(call: Call) -> str:
    return ", ".join(f"{name}={value}" for name, value in call.args.items() if isinstance(value, str | int))
