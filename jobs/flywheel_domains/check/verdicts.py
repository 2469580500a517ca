"""What rules come to in play: each is the last word, says what its tools do, and leaves something to be done."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from flywheel_domains.agents import filled, wished
from flywheel_domains.behaviour import Behaviour, Result
from flywheel_domains.case import Ending, StepKind, Verdict
from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject
from flywheel_domains.errors import ExprError, ToolFault
from flywheel_domains.tools import call
from flywheel_domains.unknown import is_unknown

MOST_UNCHANGED = 40  # per cent of tasks whose right end is the database as it was: more, and idleness is learned
TOLD = 4  # rules that are named where too many tasks change nothing
CODE_CALLS = 6  # calls of each function in code, each run twice in its own process
PLACE = re.compile(r"(?P<file>[^:\s]+):(?P<line>\d+) (?P<where>\S+)")
ENDINGS = {
    "allowed": {Ending.DONE, Ending.ANSWERED},
    "refused": {Ending.DENIED, Ending.DECLINED, Ending.IMPOSSIBLE},
    "handed_over": {Ending.HANDED_OVER},
    "replaced": {Ending.REPLACED},
}


def raises(subject: Subject) -> Iterator[Finding]:
    """An expression or a tool that raises where it is played."""
    for error in subject.sample.raised:
        if isinstance(error, ExprError):
            place = PLACE.match(error.where)
            file, line, where = place.group("file", "line", "where") if place else ("domain.yaml", "1", error.where)
            message = f"`{error.text}` raised: {error.message}"
            yield Finding(
                "raises", file, int(line), where, message, "say what holds where a value is missing or nothing fits"
            )
        else:
            message = f"the tool misbehaved ({error.kind}): {error.message}"
            yield subject.finding(
                "raises", message, "a tool answers or refuses, and leaves invariants whole", "tools", error.tool
            )


def code(subject: Subject) -> Iterator[Finding]:
    """Functions of tools.py with arguments as they come, whether a case needs them or not."""
    for name, tool in subject.domain.tools.items():
        for found in subject.sample.some(CODE_CALLS) if tool.code else []:
            args = filled(subject.domain, found, tool.args)
            try:
                call(subject.domain, found.final, found.session, name, args)
            except ToolFault as error:
                yield subject.misbehaved("raises", error)
                break


def decisive(subject: Subject) -> Iterator[Finding]:
    """A rule that is never the last word trains nothing; one that always is has no limit that could be learned."""
    for side, why in subject.sample.missed.items():
        if side.fires:
            message, advice = (
                "never the last word",
                "let a generator make the state, or take the rule out: others cover it",
            )
        else:
            message, advice = "fires in every case", "let a generator make the other side of its limit"
        yield subject.finding("decisive", f"{message} ({why})", advice, "rules", side.rule)
    if subject.sample.none:
        advice = "see that every wish can be drawn for some caller"
        yield subject.finding("decisive", f"no task can be drawn: {subject.sample.none}", advice, "wishes")


def drawn(subject: Subject) -> Iterator[Finding]:
    """A wish that makes no task: its values tie, nothing of the caller's fits, or its write changes nothing."""
    seen = {option.wish for found in subject.sample.all for want in found.case.wants for option in want.chain()}
    for name in subject.domain.wishes:
        if name not in seen and not subject.sample.none:
            advice = "see that its slots find something, without a tie, and that the call changes something"
            yield subject.finding("decisive", "no task was drawn for this wish", advice, "wishes", name)


def refused_though_allowed(subject: Subject) -> Iterator[Finding]:
    """A refusal of a tool that no rule explains: the agent did right, and neither it nor the caller knows why not."""
    for result in _results(subject):
        if result.ending is Ending.IMPOSSIBLE and result.decision.why_not != "nothing":
            error, name = result.decision.why_not, result.call.name
            number = next((n for n, each in enumerate(subject.domain.tools[name].refuse) if each.error == error), 0)
            advice = "add a rule with this condition and `enforced: tool`, or draw wishes for which it does not come up"
            message = f"the tool refuses ({error}) what every rule allows"
            yield subject.finding("layers", message, advice, "tools", name, "refuse", number)


def allowed_though_refused(subject: Subject) -> Iterator[Finding]:
    """`enforced: tool` says that breaking the rule is an error message; where the call succeeds it is a trap."""
    for rule in subject.domain.rules:
        tried = [_tried(subject, result) for result in _results(subject) if _denied_by(result, rule.id)]
        known = [refused for refused in tried if refused is not None]
        if rule.enforced and False in known:
            advice = "add the condition to the tool's `refuse`, or take `enforced` out"
            yield subject.finding(
                "layers", "said to be enforced, but the tool carries it out", advice, "rules", rule.id
            )
        elif known and all(known) and not rule.enforced:
            advice = "write `enforced: tool`: a rule that the tool keeps is no trap"
            yield subject.finding("layers", "the tool refuses it as well", advice, "rules", rule.id)


def _denied_by(result: Result, rule: str) -> bool:
    return result.verdict is Verdict.DENY and result.rules == (rule,)


def _tried(subject: Subject, result: Result) -> bool | None:
    """Whether the tool refuses the denied call; None where there is no tool, or not all of the call is known."""
    asked = wished(subject.domain, result)
    if asked.name not in subject.domain.tools or is_unknown(dict(asked.args)):
        return None
    try:
        outcome = call(subject.domain, result.world, result.session, asked.name, dict(asked.args))
    except ToolFault:  # what a tool may do with a call that no rule allows
        return None
    if outcome.refusal is not None and outcome.refusal.error == "bad_arguments":
        return None
    return outcome.refusal is not None


def _results(subject: Subject) -> Iterator[Result]:
    for found in subject.sample.all:
        yield from found.results


def unchanged(subject: Subject) -> Iterator[Finding]:
    """With the database as the measure, an agent that does nothing is right this often."""
    free = subject.sample.free
    share = 100 * sum(found.unchanged for found in free) // max(1, len(free))
    if share > MOST_UNCHANGED:
        message = f"{share} % of {len(free)} tasks leave the database as it was (at most {MOST_UNCHANGED} %)"
        ends = Counter(_last_word(found) for found in free if found.unchanged)
        most = ", ".join(f"{name} ({count})" for name, count in ends.most_common(TOLD))
        advice = "let more states allow what is wished: generators, callers' shares, more wishes that end in a write"
        yield subject.finding("unchanged", message, f"most of them end by {most}; {advice}", "wishes")


def _last_word(found: Behaviour) -> str:
    """The rule by which a task ends, or the wish where none speaks."""
    result = found.results[-1]
    return f"rule {result.rules[0]}" if result.rules else f"wish {result.option.wish}"


def outcomes(subject: Subject) -> Iterator[Finding]:
    """An outcome that is declared and never happens is a promise to whoever balances tasks."""
    happened = set(_outcomes(subject))
    for name in subject.domain.outcomes:
        if name not in happened:
            advice = "add a rule or a wish that ends so, or take it out of `outcomes`"
            yield subject.finding("outcomes", f"no case ends {name}", advice, "outcomes")


def _outcomes(subject: Subject) -> Iterator[str]:
    counted = Counter(ending for found in subject.sample.all for ending in found.endings)
    yield from (name for name, endings in ENDINGS.items() if any(counted[ending] for ending in endings))
    if any(step.kind is StepKind.ASK for found in subject.sample.all for step in found.steps):
        yield "asked"
    if any(result.verdict is Verdict.DENY and _tried(subject, result) is False for result in _results(subject)):
        yield "trap"
