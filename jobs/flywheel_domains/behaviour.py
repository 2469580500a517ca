"""What a right agent does, computed: for each wish in order the verdict, the steps, the proof and what must be told.

Nothing here is written by hand or by a model. Asked for is only what could change the verdict, or what the call itself
needs; a replaced call is judged again; what is refused gives way to the caller's next wish, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from flywheel_domains.case import WROTE, Call, Case, Edit, Ending, Fact, Step, StepKind, Verdict, Want
from flywheel_domains.decide import Circle, Decision, Seen, Situation, decide
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell
from flywheel_domains.rules import scope_of
from flywheel_domains.session import Session
from flywheel_domains.slots import computed, is_set, part_of
from flywheel_domains.tools import Outcome, with_owners
from flywheel_domains.tools import call as call_tool
from flywheel_domains.unknown import Unknown
from flywheel_domains.world import World, broken

PATIENCE = 24
"""Steps within one wish; a policy that leads round in a circle is the author's fault."""


class Unidentifiable(Exception):
    """What the caller knows does not identify them by any tool that the rule names."""


@dataclass(frozen=True)
class Result:
    """How one call of one wish ends, and everything that decides it.

    `world` and `session` are those before it; `told` are the slots as they were told by then, `asked` what was asked.
    """

    want: int
    option: Want
    member: Any
    call: Call
    ending: Ending
    decision: Decision
    asked: tuple[str, ...]
    told: Mapping[str, Any]
    steps: tuple[Step, ...]
    world: World = field(repr=False)
    session: Session = field(repr=False)

    @property
    def verdict(self) -> Verdict:
        """The verdict that was the last word."""
        assert self.decision.verdict is not None
        return self.decision.verdict

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that were the last word: any of them is a right reason."""
        return self.decision.rules

    @property
    def proof(self) -> frozenset[Cell]:
        """The cells that it rests on."""
        return self.decision.proof

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What must be told about it."""
        return self.decision.facts

    def answers(self, slot: str) -> tuple[Any, ...]:
        """What the caller says each time that it is asked for: first what they withheld, then what may stand for it."""
        first = (self.option.said[slot],) if slot in self.option.hidden else ()
        return (*first, *self.option.again.get(slot, ()))[: self.asked.count(slot)]

    @property
    def wrote(self) -> bool:
        """Whether its call was carried out."""
        return self.ending in WROTE or self.ending is Ending.HANDED_OVER


@dataclass(frozen=True)
class Behaviour:
    """The right way through a case. `start` and `final` are the worlds before and after, `session` the one after."""

    case: Case
    steps: tuple[Step, ...]
    results: tuple[Result, ...]
    start: World = field(repr=False)
    final: World = field(repr=False)
    session: Session = field(repr=False)
    identified_by: tuple[str, ...] = ()
    """The rules for whose sake the caller was identified."""

    @property
    def proof(self) -> frozenset[Cell]:
        """Every cell that some verdict or value rests on."""
        return frozenset().union(*(result.proof for result in self.results))

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdict on each call, in order."""
        return tuple(result.verdict for result in self.results)

    @property
    def endings(self) -> tuple[Ending, ...]:
        """How each call ends."""
        return tuple(result.ending for result in self.results)

    @property
    def rules(self) -> frozenset[str]:
        """The rules that were the last word somewhere, or asked who calls."""
        return frozenset((*self.identified_by, *(rule for result in self.results for rule in result.rules)))

    @property
    def read(self) -> frozenset[str]:
        """The rules whose condition had to be looked at."""
        return frozenset(rule for result in self.results for rule in result.decision.read)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What must be told."""
        return tuple(fact for result in self.results for fact in result.facts)

    @property
    def writes(self) -> tuple[Call, ...]:
        """The calls that change the tables, in order."""
        kinds = (StepKind.CALL, StepKind.HAND_OVER)
        return tuple(step.call for step in self.steps if step.kind in kinds and step.call is not None)

    @property
    def unchanged(self) -> bool:
        """Whether the right database is the one that it was."""
        return self.start.digest == self.final.digest


def settled(domain: Domain, world: World, case: Case) -> World:
    """The world of a case: its base with the cells that the case changes.

    Raises ValueError if they cannot be, by an invariant of their rows too: the tool called next would be blamed.
    """
    if case.now is not None:
        world = world.at(datetime.fromisoformat(case.now))
    if not case.edits:
        return world
    # the same world for the same edits, so that what was worked out about it is not worked out again
    return world.keep(("edits", repr(case.edits)), lambda: _edited(world, case.edits))


def _edited(world: World, edits: tuple[Edit, ...]) -> World:
    world = world.with_cells({Cell(edit.table, edit.row, edit.column): edit.value for edit in edits})
    view = world.view()
    wrong = broken(view, with_owners(view, [(edit.table, edit.row) for edit in edits]))
    if wrong:
        raise ValueError("; ".join(wrong[:3]))
    return world


def behave(domain: Domain, world: World, case: Case) -> Behaviour:
    """The right behaviour in a case on its base world.

    Raises Tie and Unidentifiable for a case that is no task; Circle, ExprError, ToolFault for a domain that is wrong.
    """
    start = settled(domain, world, case)
    path = _Path(domain, case, start)
    for number, want in enumerate(case.wants):
        for option in want.chain():
            endings = path.pursue(number, option)
            if path.session.ended or any(ending not in GIVES_WAY for ending in endings):
                break
        if path.session.ended:
            break
    return Behaviour(
        case, tuple(path.steps), tuple(path.results), start, path.world, path.session, tuple(path.asked_who)
    )


GIVES_WAY = frozenset({Ending.DENIED, Ending.DECLINED, Ending.IMPOSSIBLE})
"""Endings after which the caller's next wish is tried."""


class _Path:
    """The way so far."""

    def __init__(self, domain: Domain, case: Case, world: World) -> None:
        self.domain, self.case, self.world = domain, case, world
        self.session = world.keep(("caller", case.caller), lambda: Session(caller=case.caller))
        if domain.caller_table is None or not _identifies(domain):
            self.session = self.session.with_identified(case.caller)
        self.steps: list[Step] = []
        self.results: list[Result] = []
        self.asked_who: list[str] = []

    def pursue(self, number: int, option: Want) -> list[Ending]:
        """How one wish ends: once, or once for each row of a set."""
        endings = []
        for member in self._members(option):
            self.results.append(self._kept(number, option, member))
            endings.append(self.results[-1].ending)
            if self.session.ended:
                break
        return endings

    def _kept(self, number: int, option: Want, member: Any) -> Result:
        """The result, worked out once for the same wish of the same caller in the same world and session.

        Patches of a case leave most of its wishes as they are.
        """
        held = option, self.session, self.case.knows  # while they are kept nothing else has their ids
        key = (number, *map(id, held), repr(member))
        earlier, who, self.steps, self.asked_who = self.steps, self.asked_who, [], []

        def work() -> tuple[Any, ...]:
            result = self._result(number, option, member)
            return held, result, self.steps, self.asked_who, self.world, self.session

        _, result, steps, asked_who, self.world, self.session = self.world.keep(key, work)
        self.steps, self.asked_who = [*earlier, *steps], [*who, *asked_who]
        return cast(Result, result)

    def _members(self, option: Want) -> list[Any]:
        name = is_set(self.domain, option.wish)
        if name is None:
            return [None]
        goal = self.domain.wishes[option.wish].goal
        scope = scope_of(self.domain, self.world, self.session, Call(goal), None, option.limits)
        found = computed(self.domain, scope, option, name)
        return [] if isinstance(found, Unknown) else list(found)

    def _result(self, number: int, option: Want, member: Any) -> Result:
        told = {name: value for name, value in option.said.items() if name not in option.hidden}
        left = {name: list(values) for name, values in option.again.items()}
        asked: list[str] = []
        first = len(self.steps)
        for _ in range(PATIENCE):
            at = Situation(self.domain, self.world, self.session, option, member)
            decision = decide(at, told)
            if decision.verdict is Verdict.IDENTIFY:
                self._identify(number, decision)
                continue
            question = self._question(decision, option, told, left)
            if question is None:
                break
            asked += question
            self.steps.append(Step(StepKind.ASK, number, slots=tuple(question)))
        else:
            raise Circle(f"the wish {option.wish} is never at an end")
        before = self.world, self.session
        ending, call = self._carry_out(number, decision)
        steps = tuple(self.steps[first:])
        return Result(number, option, member, call, ending, decision, tuple(asked), dict(told), steps, *before)

    def _question(
        self, decision: Decision, option: Want, told: dict[str, Any], left: dict[str, list[Any]]
    ) -> list[str] | None:
        """What is asked next, with the caller's answer put among what was told; None if nothing is left to ask."""
        if decision.verdict is None:
            if not decision.ask:
                raise Circle(f"the wish {option.wish} cannot be decided even with everything known")
            for name in decision.ask:
                told[name] = option.said[name]
            return list(decision.ask)
        if decision.verdict is Verdict.ASK:
            for name in decision.ask:
                if left.get(name):
                    told[name] = left[name].pop(0)
                    return [name]
        return None

    def _identify(self, number: int, decision: Decision) -> None:
        """Calls the tool by which a caller is known, with what they know. Raises Unidentifiable."""
        rule = self.domain.rule(decision.rules[0])
        for name in rule.by or tuple(_identifies(self.domain)):
            for call in identifying(self.domain, name, self.case.knows):
                outcome = call_tool(self.domain, self.world, self.session, name, dict(call.args))
                if outcome.session.identified == self.case.caller:
                    self.session = outcome.session
                    self.asked_who += decision.rules
                    self.steps.append(Step(StepKind.IDENTIFY, number, call))
                    return
        raise Unidentifiable(f"nothing that {self.case.kind} knows identifies them")

    def _carry_out(self, number: int, decision: Decision) -> tuple[Ending, Call]:
        verdict, call = decision.verdict, decision.call
        if verdict is Verdict.HAND_OVER:
            call = complete(self.domain, call)
            self._call(number, StepKind.HAND_OVER, call)
            return Ending.HANDED_OVER, call
        if verdict is not Verdict.ALLOW:
            return Ending.DENIED, call
        if decision.why_not:
            return (Ending.DECLINED if decision.why_not == "limit" else Ending.IMPOSSIBLE), call
        if not self.domain.tools[call.name].writes:
            self.steps.append(Step(StepKind.LOOK, number, call))
            return Ending.ANSWERED, call
        if decision.confirm:
            self.steps.append(Step(StepKind.CONFIRM, number, call))
        outcome = self._call(number, StepKind.CALL, call)
        if outcome.refusal is not None:
            raise Circle(f"{call.name} refuses with {outcome.refusal.error}, which none of its conditions says")
        return (Ending.REPLACED if decision.replaced else Ending.DONE), call

    def _call(self, number: int, kind: StepKind, call: Call) -> Outcome:
        outcome = call_tool(self.domain, self.world, self.session, call.name, dict(call.args))
        if outcome.refusal is None:
            self.world, self.session = outcome.world, outcome.session
            self.steps.append(Step(kind, number, call))
        return outcome


def _identifies(domain: Domain) -> list[str]:
    return [name for name, tool in domain.tools.items() if tool.proves is not None]


def identifying(domain: Domain, name: str, knows: Mapping[str, Any]) -> list[Call]:
    """Calls of an identifying tool with what a caller knows: every single fact, then all of them."""
    facts = {arg: knows[arg] for arg in domain.tools[name].args if arg in knows}
    required = {arg for arg, declared in domain.tools[name].args.items() if not declared.optional}
    if required - set(facts):
        return []
    singles = [{arg: value} for arg, value in facts.items() if required <= {arg}]
    return [Call(name, args) for args in [*singles, facts] if args]


def complete(domain: Domain, call: Call) -> Call:
    """A call with what nobody decides: a note to a colleague is free text and never compared."""
    missing = {
        name: call.name.replace("_", " ")
        for name, arg in part_of(domain, call.name).args.items()
        if not arg.optional and name not in call.args and arg.type in ("text", "string")
    }
    return Call(call.name, {**missing, **call.args})


def proven(domain: Domain, result: Result, told: Mapping[str, Any], seen: Seen, identified: bool) -> bool:
    """Whether somebody who was told and shown this much must come to the same decision."""
    session = replace(result.session, identified=result.session.caller if identified else None)
    if not _identifies(domain):
        session = result.session
    at = Situation(domain, result.world, session, result.option, result.member)
    return decide(at, told, seen).same(result.decision)
