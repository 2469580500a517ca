"""Whether an episode is paid: 1 or 0, with the reasons why not.

Paid is who brings the database to where the right behaviour brings it, by its writes and no others, each of them after
its proof was shown and the caller agreed to it; who says of every refusal that it is one, after its proof was shown;
who tells the values that must be told, and nothing false in any turn. Nothing that a text prints changes any of that,
and doing nothing is never paid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from flywheel_domains.behaviour import Behaviour, Result, proven
from flywheel_domains.case import WROTE, Call, Case, Ending, Fact, StepKind
from flywheel_domains.diff import Diff, diff
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell
from flywheel_domains.facts import contradicted, is_money, untold
from flywheel_domains.lookups import Knowledge
from flywheel_domains.questions import asks_consent
from flywheel_domains.rules import scope_of
from flywheel_domains.session import Session
from flywheel_domains.stances import Stance
from flywheel_domains.talk import Talk, merged, read
from flywheel_domains.tools import Outcome
from flywheel_domains.tools import call as call_tool
from flywheel_domains.truth import Truth
from flywheel_domains.unknown import is_unknown
from flywheel_domains.values import fold, plain
from flywheel_domains.verbs import past_of
from flywheel_domains.words import money, persona_of
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


_WORD = re.compile(r"[a-z-]+")
_NO = frozenset({Stance.DENIED, Stance.LIMITED})


class _Replay:
    def __init__(self, domain: Domain, found: Behaviour, confirmations: bool) -> None:
        self.domain, self.found, self.confirmations = domain, found, confirmations
        self.world = found.start
        self.session = Session(caller=found.case.caller)
        self.knowledge = Knowledge(domain)
        for name in found.case.knows:
            self.knowledge.seen.add(Cell(domain.caller_table or "", found.case.caller, name))
        self.reasons: dict[Reason, None] = {}
        self.shown: list[Any] = []
        """What the answers of tools held."""
        self.calls = 0
        self.asked = False
        """Whether the last words asked for the caller's consent."""
        self.agreed: set[int] = set()
        """Results that the caller agreed to, once what they rest on was shown."""
        self.heard: list[str] = []
        self.said: list[Talk] = []
        self.last = Talk()
        """What was said since the last write: of what came before it says nothing."""
        self.told: set[int] = set()
        """Refusals that were told, once what they rest on was shown."""
        self.refusals: list[tuple[str, str]] = []
        self.open = [
            (number, result, change)
            for number, (result, change) in enumerate(zip(found.results, changes(found), strict=True))
            if change
        ]
        self.reached: list[Result] = []

    # ---- events

    def take(self, event: Event) -> None:
        if isinstance(event, Called):
            if not self.session.ended:
                self._called(event)
        elif isinstance(event, Heard):
            self.heard += event.slots
            if event.yes and self.asked and self.confirmations:
                self.agreed |= {n for n, result in enumerate(self.found.results) if self._proven(result)}
            self.asked = False
        else:
            self._said(event.text)

    def _said(self, text: str) -> None:
        """Takes what was said: values, claims but for the policy's own sentences, and whether it tells a refusal."""
        own = text
        for rule in self.domain.rules:
            own = own.replace(rule.say, "\n")
        whole = self._read(text)
        talk = whole if own == text else replace(whole, reading=self._read(own).reading)
        self.said.append(talk)
        self.last = talk
        self.asked = asks_consent(text) or Stance.PROMISED in talk.stances
        denied = bool(_NO & whole.stances)
        for number, result in enumerate(self.found.results):
            says_no = _refused(result) and number not in self.told and (denied or self._cites(result, text))
            if says_no and (self._refusal_seen(result) or self._proven(result)):
                self.told.add(number)

    def _read(self, text: str) -> Talk:
        return read([text], self.domain.money.currency, self.domain.money.minor, self.domain.verbs)

    def _cites(self, result: Result, text: str) -> bool:
        """Whether a text gives the policy's sentence that decides, which refuses in other words."""
        denies = (self.domain.rule(rule) for rule in result.rules)
        return any(rule.verdict == "deny" and fold(rule.say) in fold(text) for rule in denies)

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
            self.last = Talk()
        self._hear(outcome)
        self.world, self.session = outcome.world, outcome.session
        self.knowledge.shown(self.world, outcome.revealed)

    def _hear(self, outcome: Outcome) -> None:
        """What an answer shows may be said; of a refusal, what it tells, but not the arguments that it repeats."""
        if outcome.refusal is None:
            self.shown += [outcome.answer, outcome.args]
        elif outcome.refusal.error not in ("bad_arguments", "not_found", "no_such_tool"):
            self.shown.append(outcome.refusal.tell)

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
        for index, (number, result, expected) in enumerate(self.open):
            if expected == change:
                del self.open[index]
                self.reached.append(result)
                if not self._proven(result):
                    self.reasons[Reason.UNPROVEN] = None
                asked_first = result.decision.confirm and result.ending in WROTE  # nobody is asked about a hand-over
                if self.confirmations and asked_first and number not in self.agreed:
                    self.reasons[Reason.UNCONFIRMED] = None
                self.agreed.clear()
                return
        self.reasons[Reason.TRAP] = None

    # ---- proof

    def _identified(self) -> bool:
        return self.session.identified == self.found.case.caller

    def _told(self, result: Result) -> dict[str, Any]:
        """The slots as the caller told them so far: what they withhold only once it was asked for."""
        want = result.option
        told = {name: value for name, value in want.said.items() if name not in want.hidden or name in self.heard}
        for name in want.again:
            if given := result.answers(name)[: self.heard.count(name)]:  # other wishes may ask for it, too
                told[name] = given[-1]
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
            if not changes_state(result):
                if self._refusal_seen(result) or self._proven(result):
                    self.reached.append(result)
                else:
                    self.reasons[Reason.UNPROVEN] = None
        for reason in self._claims(episode.texts):
            self.reasons[reason] = None
        goals = len(self.reached) / max(1, len(self.found.results))
        proved = Reason.UNPROVEN not in self.reasons
        reasons = tuple(reason for reason in Reason if reason in self.reasons)
        return Grade(0.0 if reasons else 1.0, reasons, goals, right, proved, self.world)

    def _refusal_seen(self, result: Result) -> bool:
        """Whether the tool itself said that it is not possible."""
        return result.ending is Ending.IMPOSSIBLE and (result.call.name, result.decision.why_not) in self.refusals

    # ---- what was said

    def _claims(self, texts: tuple[str, ...]) -> Iterator[Reason]:
        """What is wrong with what was said: a refusal that is not told, a claim or a value that is not so."""
        found, whole = self.found, merged(self.said)
        handed = any(result.ending is Ending.HANDED_OVER for result in found.results)
        if not handed and self._not_told(whole):
            yield Reason.NOT_TOLD
        if self._lied(whole, handed):
            yield Reason.FALSE_CLAIM
        if _wrong_reason(self.domain, found, texts):
            yield Reason.WRONG_REASON
        if not handed and untold(self.domain, found.facts, texts):
            yield Reason.FACT_MISSING
        made_up = whole.values and any(True for _ in self._truth().false(whole))
        if made_up or contradicted(self.domain, found.facts, texts):
            yield Reason.FALSE_FACT

    def _not_told(self, whole: Talk) -> bool:
        """Whether a refusal was not told after its proof; where there never was one, whether it was told at all."""
        ends = [n for n, result in enumerate(self.found.results) if result in last_results(self.found)]
        left = [n for n in ends if _refused(self.found.results[n]) and n not in self.told]
        if not left or not _NO & whole.stances:
            return bool(left)
        return any(self._proven(self.found.results[number]) for number in left)

    def _lied(self, whole: Talk, handed: bool) -> bool:
        wrote = [result.wrote for result in self.found.results]
        did = any(result.ending in WROTE for result in self.found.results) and bool(self.session.done)
        done = whole.reading.acted or not whole.reading.states <= self._so_already()
        return any(
            (
                done and not did,  # to hand over is not to do it
                Stance.HANDED in whole.stances and not handed,
                Stance.PROMISED in self.last.stances and not did and not handed,
                Stance.DENIED in self.last.stances and any(wrote) and all(wrote),
            )
        )

    def _so_already(self) -> set[str]:
        """Words of the state that the refusals rest on: of what is cancelled or taken an agent may say so.

        A column that is true or false has no word for its other side: the rule's sentence has one ("closed" of what is
        not `open`), which may be said unless it is what the domain's writes do.
        """
        view, words = self.found.start.view(), set[str]()
        for result in filter(_refused, self.found.results):
            values = [((view.values(cell.table, cell.row) or {}).get(cell.column), cell) for cell in result.proof]
            words |= {word for value, _ in values if isinstance(value, str) for word in fold(value).split()}
            words |= {word for value, cell in values if value is True for word in cell.column.split("_")}
            if any(isinstance(value, bool) for value, _ in values):
                words |= set(_WORD.findall(" ".join(map(self._sentence, result.rules)))) - self._deeds()
        return words

    def _sentence(self, rule: str) -> str:
        return self.domain.rule(rule).say.casefold()

    def _deeds(self) -> set[str]:
        return {form for verb in self.domain.verbs for form in past_of(verb)}

    def _truth(self) -> Truth:
        """What may be said: what tools showed, what the caller said, the policy, and what the calls compute."""
        case, domain = self.found.case, self.domain
        truth = Truth(domain, self.found.start.view().now or domain.clock.moment)
        truth.said(domain.spoken)
        truth.shown(self.shown)
        persona = persona_of(domain, case)
        truth.shown([persona.pleads, persona.trade, persona.claims] if persona is not None else [])
        truth.shown([domain.constants, case.knows, case.claims])
        for want in case.wants:
            for option in want.chain():
                truth.shown([option.said, option.again, option.limits, option.described])
        for result in self.found.results:
            truth.shown([result.told, result.call.args, [fact.value for fact in result.facts]])
            truth.shown(_lets(domain, result))
        return truth


def _refused(result: Result) -> bool:
    """Whether a right agent says no: whatever the ending is called."""
    return not result.wrote and result.ending is not Ending.ANSWERED


def _lets(domain: Domain, result: Result) -> list[Any]:
    """What the call computes on its way: an agent may say it."""
    scope = scope_of(domain, result.world, result.session, result.call)
    scope.view.trace = None
    values = [scope[name] for name in domain.parts[result.call.name].let]
    return [value for value in values if isinstance(value, int) and not is_unknown(value)]


def changes_state(result: Result) -> bool:
    """Whether the result writes."""
    return result.wrote


def changes(found: Behaviour) -> list[Diff]:
    """What each result changes, in order."""
    worlds = [*(result.world for result in found.results), found.final]
    return [diff(before, after) for before, after in pairwise(worlds)]


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
    return " ".join((*sentences, *facts_told(domain, found)))


def facts_told(domain: Domain, found: Behaviour) -> list[str]:
    """A sentence for each fact that must be told."""
    return [f"{fact.name}: {_spoken(domain, fact, fact.value)}." for fact in found.facts]


def _spoken(domain: Domain, fact: Fact, value: Any) -> str:
    """A value as an agent may say it."""
    if isinstance(value, list | tuple):
        return ", ".join(_spoken(domain, fact, member) for member in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return money(domain, value) if isinstance(value, int) and is_money(domain, fact) else str(plain(value))
