"""What a declaration leaves out: examples of rules, ends of acts, tools that no wish reaches."""

from __future__ import annotations

from collections.abc import Iterator

from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject
from flywheel_domains.expr import Expr
from flywheel_domains.functions import DATE_PARTS
from flywheel_domains.link_names import WORLD_CALLS

ENDS = ("deny", "hand_over", "instead")


def two_examples(subject: Subject) -> Iterator[Finding]:
    """A rule's predicate and its sentence drift apart unless an example stands on each side of its limit."""
    for rule in subject.domain.rules:
        test = rule.when or rule.unless
        if rule.verdict in (None, "identify") or test is None or not _reads_rows(subject, test):
            continue
        lacking = {True, False} - {example.fires for example in rule.examples}
        if lacking:
            wanted = " and ".join(f"`fires: {str(side).lower()}`" for side in sorted(lacking))
            advice = f"add an example with {wanted}, just on that side of the limit"
            yield subject.finding("examples", "not an example on each side of its limit", advice, "rules", rule.id)


def _reads_rows(subject: Subject, test: Expr) -> bool:
    """Whether a predicate reads a column; one about the session or the arguments alone has no state to be put in."""
    helpers = {*subject.domain.lookups, *WORLD_CALLS} - {"any", "all"}
    return bool(test.attributes - {"identified", *DATE_PARTS} or test.calls & helpers)


def ends(subject: Subject) -> Iterator[Finding]:
    """What no tool does must end in a refusal, a colleague or another call."""
    for act in subject.domain.acts:
        if not any(act in rule.applies and rule.verdict in ENDS for rule in subject.domain.rules):
            advice = "add a rule that names it, with verdict deny, hand_over or instead, and the sentence that says so"
            yield subject.finding("reach", "no rule says how this act ends", advice, "acts", act)


def unreached(subject: Subject) -> Iterator[Finding]:
    """A write that no wish wants and no rule leads to is never played; so is an act that nobody asks for."""
    domain = subject.domain
    goals = {wish.goal for wish in domain.wishes.values()}
    led = {rule.instead.tool for rule in domain.rules if rule.instead is not None}
    hands = any("hand_over" in (rule.verdict, rule.otherwise) for rule in domain.rules)
    advice = "add a wish with this goal, or take it out"
    for name, tool in domain.tools.items():
        if tool.writes and not (name in goals | led or (hands and tool.ends)):
            yield subject.finding("reach", "no wish and no rule reaches this tool", advice, "tools", name)
    for name in domain.acts:
        if name not in goals:
            yield subject.finding("reach", "no wish asks for this act", advice, "acts", name)
