"""Whether an episode is paid: 1 or 0, with the reasons why not.

Paid is who brings the database to where the right behaviour brings it, by its writes and no others, each of them after
its proof was shown; who says of every refusal that it is one, after its proof was shown; who tells the values that must
be told, and nothing false. Nothing that a text prints changes any of that, and doing nothing is never paid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from flywheel_domains.behaviour import Behaviour, Result, proven
from flywheel_domains.case import WROTE, Call, Case, Ending, Fact, StepKind
from flywheel_domains.diff import Diff, diff
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell
from flywheel_domains.lookups import Knowledge
from flywheel_domains.rules import scope_of
from flywheel_domains.session import Session
from flywheel_domains.talk import Stance, Talk, read
from flywheel_domains.tools import call as call_tool
from flywheel_domains.unknown import is_unknown
from flywheel_domains.values import fold, plain
from flywheel_domains.world import World


class Reason(StrEnum):
    """Why an episode is not paid."""

    NOT_CLOSED = "not-closed"
    NOTHING_DONE = "nothing-done"
    WRONG_STATE = "wrong-state"
    TRAP = "trap"  # a write that the right behaviour does not make, even if it was undone later
    ATTEMPT = "attempt"  # the same, refused by the tool
    UNKNOWN_TOOL = "unknown-tool"
    UNPROVEN = "unproven"  # acted or refused before having been shown what it rests on
    UNCONFIRMED = "unconfirmed"
    NOT_TOLD = "not-told"
    FALSE_CLAIM = "false-claim"
    WRONG_REASON = "wrong-reason"
    FACT_MISSING = "fact-missing"
    FALSE_FACT = "false-fact"


@dataclass(frozen=True)
class Called:
    """The agent called a tool, with the arguments as it wrote them."""

    name: str
    args: Any = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """The agent said something to the caller."""

    text: str


@dataclass(frozen=True)
class Heard:
    """The caller answered: slots whose value they told, and whether they said yes to what was read out."""

    slots: tuple[str, ...] = ()
    yes: bool = False


Event = Called | Said | Heard


@dataclass(frozen=True)
class Episode:
    """A conversation as it happened. `closed` says that the environment ended it, not the agent's text or a limit."""

    events: tuple[Event, ...]
    closed: bool = True

    @property
    def texts(self) -> tuple[str, ...]:
        """What the agent said, in order."""
        return tuple(event.text for event in self.events if isinstance(event, Said))


@dataclass(frozen=True)
class Grade:
    """1.0 or 0.0 with the reasons; `goals` is the share of results that were reached, which trains nothing."""

    score: float
    reasons: tuple[Reason, ...]
    goals: float
    state_right: bool
    proved: bool
    world: World = field(repr=False)

    @property
    def paid(self) -> bool:
        """Whether it is paid."""
        return self.score == 1.0


def grade(domain: Domain, case: Case, found: Behaviour, episode: Episode, confirmations: bool = False) -> Grade:
    """The grade of an episode of a case. `confirmations`: whether the caller could answer, so that a yes is due.

    Raises ToolFault if a tool of the domain misbehaves: such an episode has no grade.
    """
    replay = _Replay(domain, found, confirmations)
    for event in episode.events:
        replay.take(event)
    return replay.grade(episode)


class _Replay:
    def __init__(self, domain: Domain, found: Behaviour, confirmations: bool) -> None:
        self.domain, self.found, self.confirmations = domain, found, confirmations
        self.world = found.start
        self.session = Session(caller=found.case.caller)
        self.knowledge = Knowledge(domain)
        for name in found.case.knows:
            self.knowledge.seen.add(Cell(domain.caller_table or "", found.case.caller, name))
        self.reasons: dict[Reason, None] = {}
        self.calls = 0
        self.yes = False
        self.heard: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.open = [(result, change) for result, change in zip(found.results, changes(found), strict=True) if change]
        self.reached: list[Result] = []

    # ---- events

    def take(self, event: Event) -> None:
        if isinstance(event, Called):
            if not self.session.ended:
                self._called(event)
        elif isinstance(event, Heard):
            self.heard += event.slots
            self.yes = self.yes or event.yes

    def _called(self, event: Called) -> None:
        self.calls += 1
        tool = self.domain.tools.get(event.name)
        if tool is None:
            self.reasons[Reason.UNKNOWN_TOOL] = None
            return
        outcome = call_tool(self.domain, self.world, self.session, event.name, event.args)
        if outcome.refusal is not None:
            self.refusals.append((event.name, outcome.refusal.error))
            if tool.writes and not self._may_try(event.name, outcome.refusal.error):
                self.reasons[Reason.ATTEMPT] = None
        elif tool.writes:
            self._wrote(diff(self.world, outcome.world))
        self.world, self.session = outcome.world, outcome.session
        self.knowledge.shown(self.world, outcome.revealed)

    def _may_try(self, name: str, error: str) -> bool:
        """Whether a refused write is a slip: of a tool that is right here, or refused for what a rule says as well."""
        if any(result.call.name == name and result.wrote for result in self.found.results):
            return True
        return any(
            result.call.name == name
            and (result.decision.why_not == error or self._enforced(result))
            and error not in ("bad_arguments", "not_found")
            for result in self.found.results
        )

    def _enforced(self, result: Result) -> bool:
        return any(self.domain.rule(rule).enforced == "tool" for rule in result.decision.fired)

    def _wrote(self, change: Diff) -> None:
        if not change:
            return
        for index, (result, expected) in enumerate(self.open):
            if expected == change:
                del self.open[index]
                self.reached.append(result)
                if not self._proven(result):
                    self.reasons[Reason.UNPROVEN] = None
                asked_first = result.decision.confirm and result.ending in WROTE  # nobody is asked about a hand-over
                if self.confirmations and asked_first and not self.yes:
                    self.reasons[Reason.UNCONFIRMED] = None
                self.yes = False
                return
        self.reasons[Reason.TRAP] = None

    # ---- proof

    def _identified(self) -> bool:
        return self.session.identified == self.found.case.caller

    def _told(self, result: Result) -> dict[str, Any]:
        """The slots as the caller told them so far: what they withhold only once it was asked for."""
        want = result.option
        told = {name: value for name, value in want.said.items() if name not in want.hidden or name in self.heard}
        for name, answers in want.again.items():
            first = name in want.hidden
            times = min(self.heard.count(name), result.asked.count(name)) - first  # other wishes may ask for it, too
            if times > 0 and answers:
                told[name] = answers[min(times, len(answers)) - 1]
        return told

    def _proven(self, result: Result) -> bool:
        told = self._told(result)
        if any(told.get(name) != result.told.get(name) for name in result.asked):
            return False
        return proven(self.domain, result, told, self.knowledge.seen, self._identified())

    # ---- the end

    def grade(self, episode: Episode) -> Grade:
        if not episode.closed:
            self.reasons[Reason.NOT_CLOSED] = None
        if not self.calls:
            self.reasons[Reason.NOTHING_DONE] = None
        right = diff(self.found.start, self.world) == diff(self.found.start, self.found.final)
        if not right:
            self.reasons[Reason.WRONG_STATE] = None
        for result in self.found.results:
            if not changes_state(result) and not self._refusal_seen(result):
                if self._proven(result):
                    self.reached.append(result)
                else:
                    self.reasons[Reason.UNPROVEN] = None
        for reason in claims(self.domain, self.found, episode, self._true_numbers(), bool(self.session.done)):
            self.reasons[reason] = None
        goals = len(self.reached) / max(1, len(self.found.results))
        proved = Reason.UNPROVEN not in self.reasons
        reasons = tuple(reason for reason in Reason if reason in self.reasons)
        return Grade(0.0 if reasons else 1.0, reasons, goals, right, proved, self.world)

    def _refusal_seen(self, result: Result) -> bool:
        """Whether the tool itself said that it is not possible."""
        seen = result.ending is Ending.IMPOSSIBLE and (result.call.name, result.decision.why_not) in self.refusals
        if seen:
            self.reached.append(result)
        return seen

    def _true_numbers(self) -> set[str]:
        """Numbers that may be said: shown, said by the caller, written in the domain, or computed by a call."""
        found: set[str] = set()
        _numbers(self.domain.constants, found)
        for cell in self.knowledge.seen:
            row = self.world.view().values(cell.table, cell.row) or {}
            _numbers(row.get(cell.column), found)
            row = self.found.start.view().values(cell.table, cell.row) or {}
            _numbers(row.get(cell.column), found)
        for result in self.found.results:
            _numbers([result.told, dict(result.call.args), dict(result.option.limits)], found)
            _numbers([fact.value for fact in result.facts], found)
            _numbers(_lets(self.domain, result), found)
        return found


def _lets(domain: Domain, result: Result) -> list[Any]:
    """What the call computes on its way: an agent may say it."""
    scope = scope_of(domain, result.world, result.session, result.call)
    scope.view.trace = None
    values = [scope[name] for name in domain.parts[result.call.name].let]
    return [value for value in values if isinstance(value, int) and not is_unknown(value)]


def _numbers(value: Any, found: set[str]) -> None:
    if isinstance(value, Mapping):
        for member in value.values():
            _numbers(member, found)
    elif isinstance(value, list | tuple):
        for member in value:
            _numbers(member, found)
    elif isinstance(value, int) and not isinstance(value, bool):
        found.add(str(abs(value)))


def changes_state(result: Result) -> bool:
    """Whether the result writes."""
    return result.wrote


def changes(found: Behaviour) -> list[Diff]:
    """What each result changes, in order."""
    worlds = [*(result.world for result in found.results), found.final]
    return [diff(before, after) for before, after in pairwise(worlds)]


# ---- what was said


def claims(domain: Domain, found: Behaviour, episode: Episode, numbers: Iterable[str], wrote_any: bool) -> list[Reason]:
    """What is wrong with what was said: a refusal that is not told, a claim or a value that is not so.

    `wrote_any`: whether the episode wrote anything, whatever was right.
    """
    texts = episode.texts
    whole = _read(domain, texts)
    last = _read(domain, texts[-1:])
    reasons = []
    negative = [r for r in last_results(found) if not r.wrote and r.ending is not Ending.ANSWERED]
    handed = any(result.ending is Ending.HANDED_OVER for result in found.results)
    if negative and not handed and Stance.DENIED not in last.stances:
        reasons.append(Reason.NOT_TOLD)
    wrote = [result.wrote for result in found.results]
    done = any(result.ending in WROTE for result in found.results)  # to hand over is not to do it
    lies = (
        Stance.DONE in whole.stances and not (done and wrote_any),
        Stance.HANDED in last.stances and not handed,
        Stance.DENIED in last.stances and any(wrote) and all(wrote),
    )
    if any(lies):
        reasons.append(Reason.FALSE_CLAIM)
    if _wrong_reason(domain, found, texts):
        reasons.append(Reason.WRONG_REASON)
    if not handed and any(not tells(whole, fact, domain) for fact in found.facts):
        reasons.append(Reason.FACT_MISSING)
    true = set(numbers)
    if any(str(abs(amount)) not in true for _, amount in last.money):
        reasons.append(Reason.FALSE_FACT)
    return reasons


def _read(domain: Domain, texts: Iterable[str]) -> Talk:
    return read(texts, domain.money.currency, domain.money.minor)


def last_results(found: Behaviour) -> list[Result]:
    """How each want ends in the end, after its fallbacks."""
    ends: dict[tuple[int, str], Result] = {}
    for result in found.results:
        ends = {key: value for key, value in ends.items() if key[0] != result.want or value.option is result.option}
        ends[result.want, str(result.member)] = result
    return list(ends.values())


def _wrong_reason(domain: Domain, found: Behaviour, texts: Iterable[str]) -> bool:
    """Whether a sentence of the policy was given as the reason that does not speak about this case."""
    said = fold(" ".join(texts))
    right = {rule for result in found.results for rule in (*result.decision.fired, *result.rules)}
    return any(
        rule.verdict not in (None, "identify", "allow") and rule.id not in right and fold(rule.say) in said
        for rule in domain.rules
    )


def tells(talk: Talk, fact: Fact, domain: Domain) -> bool:
    """Whether a value was told, however it is written."""
    value = fact.value
    if isinstance(value, bool) or value is None:
        return True  # yes and no are stances, which are judged as such
    if isinstance(value, int):
        major = _major(value, domain.money.minor)
        amounts = {amount for _, amount in talk.money}
        return value in amounts or str(value) in talk.numbers or major in talk.numbers
    if isinstance(value, datetime):
        return value.date().isoformat() in talk.dates
    if isinstance(value, date):
        return value.isoformat() in talk.dates
    if isinstance(value, list | tuple):
        return all(tells(talk, Fact(fact.name, member, fact.source), domain) for member in value)
    text = str(plain(value))
    return text in talk.dates or text[:10] in talk.dates or all(word.casefold() in talk.words for word in text.split())


def _major(value: int, minor: int) -> str:
    text = str(abs(value)).rjust(minor + 1, "0")
    whole, part = (text[:-minor], text[-minor:].rstrip("0")) if minor else (text, "")
    return f"{whole}.{part}" if part else whole


def right_episode(domain: Domain, steps: Iterable[Any], found: Behaviour) -> Episode:
    """What a right agent's conversation looks like: the given steps, then one sentence for every wish."""
    events: list[Event] = []
    for step in steps:
        if step.kind is StepKind.ASK:
            events += [Said("Could you tell me more about that?"), Heard(tuple(step.slots))]
        elif step.kind is StepKind.CONFIRM:
            events += [Said("Shall I go ahead?"), Heard(yes=True)]
        elif isinstance(step.call, Call):
            events.append(Called(step.call.name, plain(dict(step.call.args))))
    if not any(result.ending is Ending.HANDED_OVER for result in found.results):
        events.append(Said(closing(domain, found)))
    return Episode(tuple(events))


def closing(domain: Domain, found: Behaviour) -> str:
    """The last words of a right agent: what was done, what was refused, and the facts."""
    sentences = []
    for result in last_results(found):
        if result.wrote:
            sentences.append("That has been changed as you asked.")
        elif result.ending is Ending.ANSWERED:
            sentences.append("Here is what I found.")
        else:
            sentences.append("I am sorry, that is not possible.")
    for fact in found.facts:
        sentences.append(f"{fact.name}: {spoken(domain, fact.value)}.")
    return " ".join(sentences)


def spoken(domain: Domain, value: Any) -> str:
    """A value as an agent may say it."""
    if isinstance(value, list | tuple):
        return ", ".join(spoken(domain, member) for member in value)
    return str(plain(value))
