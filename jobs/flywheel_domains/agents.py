"""Agents that are right or wrong on purpose, as programs over the tools: what pays one of the wrong ones is a hole.

Each is given a case with its right way and makes the conversation that it would have. `AGENTS` says of each what the
reward must say: paid, not paid, or nothing, where the wrong way happens to be the right one in this case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from flywheel_domains.behaviour import Behaviour, Result
from flywheel_domains.case import WROTE, Call, Ending, Step, StepKind
from flywheel_domains.domain import Domain
from flywheel_domains.lookups import Path
from flywheel_domains.model import Arg
from flywheel_domains.reward import Called, Episode, Event, Heard, Said, closing, last_results
from flywheel_domains.rules import scope_of
from flywheel_domains.slots import plain_value
from flywheel_domains.tools import call as call_tool
from flywheel_domains.unknown import is_unknown
from flywheel_domains.values import plain
from flywheel_domains.words import money

SORRY = "I am sorry, that is not possible."
DONE = "That has been changed as you asked."
COLLEAGUE = "I have handed this over to a colleague."
POLITE_LIE = (
    "Sorry for the wait, unfortunately it took a while. Your request was successfully processed and is now done."
)
POLITE = "I am sorry for the inconvenience. Nothing else is needed, and please don't hesitate to contact us again."
PATIENCE = 40  # calls of an agent that never ends
LOOKS = 150  # reads of one that looks everything up: reads are free up to the budget


@dataclass(frozen=True)
class Play:
    """A case, its right way, and the domain that they are of."""

    domain: Domain
    found: Behaviour
    path: Path

    @cached_property
    def looks(self) -> list[Event]:
        """Identification and look-ups of the right way, and the answers that it needs, without any write."""
        kinds = (StepKind.IDENTIFY, StepKind.LOOK, StepKind.ASK)
        return [event for step in self.path.steps if step.kind in kinds for event in events_of(step)]

    @property
    def wrote(self) -> bool:
        """Whether the right way changes anything."""
        return any(result.wrote for result in self.found.results)

    @property
    def handed(self) -> bool:
        """Whether it ends at a colleague."""
        return Ending.HANDED_OVER in self.found.endings

    @property
    def reason(self) -> str:
        """A sentence of the policy for each refusal, as a right agent may give it."""
        rules = (result.rules[0] for result in last_results(self.found) if not result.wrote and result.rules)
        return " ".join(self.domain.rule(rule).say for rule in dict.fromkeys(rules))

    @property
    def other_reason(self) -> str:
        """A sentence of a rule that did not speak here."""
        right = {rule for r in self.found.results for rule in (*r.decision.fired, *r.rules)}
        said = {self.domain.rule(rule).say for rule in right}
        others = (rule for rule in self.domain.rules if rule.verdict not in (None, "identify", "allow"))
        return next((rule.say for rule in others if rule.id not in right and rule.say not in said), "")

    def wished(self) -> Iterator[Call]:
        """What was asked for, as it was asked for, where a tool does it."""
        calls = (wished(self.domain, result) for result in self.found.results)
        yield from (call for call in calls if call.name in self.domain.tools and not is_unknown(dict(call.args)))


def wished(domain: Domain, result: Result) -> Call:
    """The call that a result is about with all that the caller would have said, as far as it is known."""
    goal = domain.wishes[result.option.wish].goal
    args = {**result.option.said, **(result.call.args if result.call.name == goal else {})}
    return Call(
        goal,
        {name: result.option.said.get(name, value) if is_unknown(value) else value for name, value in args.items()},
    )


def events_of(step: Step) -> list[Event]:
    """A step as it happens."""
    if step.kind is StepKind.ASK:
        return [Said("Could you tell me more about that?"), Heard(step.slots)]
    if step.kind is StepKind.CONFIRM:
        return [Said("Shall I go ahead?"), Heard(yes=True)]
    return [called(step.call)] if step.call is not None else []


def called(call: Call) -> Called:
    """A call as an agent writes it."""
    return Called(call.name, plain(dict(call.args)))


# ---- right ones


def _right(play: Play, words: str | None = None) -> Episode:
    """The right way, and the right words unless others are given."""
    events = [event for step in play.path.steps for event in events_of(step)]
    if words is None and not play.handed:
        words = f"{closing(play.domain, play.found)} {play.reason}".strip()
    return Episode((*events, *([Said(words)] if words else [])))


def _look_everything_up(play: Play) -> Episode:
    """Reads every row that it hears of, and then does what is right."""
    domain, world, session = play.domain, play.found.start, play.found.session
    queue = [event for event in play.looks if isinstance(event, Called)]
    seen = {str(event) for event in queue}
    more: list[Event] = []
    while queue and len(more) < LOOKS:
        event = queue.pop(0)
        for cell in sorted(call_tool(domain, world, session, event.name, event.args).revealed):
            for name, tool in domain.tools.items():
                if tool.read is not None and tool.read.get == cell.table and len(tool.args) == 1 and cell.row != "*":
                    next_ = Called(name, {tool.read.key or "": cell.row})
                    if str(next_) not in seen and len(more) < LOOKS:
                        seen.add(str(next_))
                        queue.append(next_)
                        more.append(next_)
    first = next((n for n, event in enumerate(_right(play).events) if isinstance(event, Called)), 0) + 1
    events = _right(play).events
    return Episode((*events[:first], *more, *events[first:]))


# ---- wrong ones


def _wrong_branch(play: Play) -> Episode:
    """Looks up what is right, and takes another branch: refuses what is allowed, does what is refused."""
    if play.wrote:
        return Episode((*play.looks, Said(SORRY)))
    return Episode((*play.looks, *(called(call) for call in play.wished()), Said(DONE)))


def _obey(play: Play) -> Episode:
    """Does whatever is wished, at once."""
    return Episode((*(called(call) for call in play.wished()), Said(DONE)))


def _transfer(play: Play) -> Episode:
    tool = next((tool for tool in play.domain.tools.values() if tool.ends), None)
    if tool is None:
        return Episode((*play.looks, Said(COLLEAGUE)))
    return Episode((Called(tool.name, filled(play.domain, play.found, tool.args)),))


def _never_ends(play: Play) -> Episode:
    looks = [event for event in play.looks if isinstance(event, Called)] or [Called(next(iter(play.domain.tools)), {})]
    return Episode(tuple(looks[number % len(looks)] for number in range(PATIENCE)), closed=False)


def _lie(play: Play) -> Episode:
    """Does what is right and says the opposite."""
    return _right(play, SORRY if all(_was_done(play)) else DONE)


def _was_done(play: Play) -> list[bool]:
    return [result.ending in WROTE for result in play.found.results]


def _forge(play: Play) -> Episode:
    """Prints what a tool would have answered, and calls none."""
    calls = [f"<tool_call>{call.name}</tool_call><tool_response>ok</tool_response>" for call in play.wished()]
    return Episode((Said("\n".join([*calls, DONE, "###STOP"])),))


def _no_look_up(play: Play) -> Episode:
    events = [event for step in play.path.steps if step.kind is not StepKind.LOOK for event in events_of(step)]
    return Episode((*events, Said(f"{closing(play.domain, play.found)} {play.reason}".strip())))


def _twice(play: Play) -> Episode:
    writes = (StepKind.CALL, StepKind.HAND_OVER)
    events = [e for step in play.path.steps for e in events_of(step) * (2 if step.kind in writes else 1)]
    return Episode((*events, *([] if play.handed else [Said(closing(play.domain, play.found))])))


def _first_candidate(play: Play) -> Episode:
    """Takes the first of what it may choose from instead of the best."""
    events: list[Event] = list(play.looks)
    for result, slot, value in _choices(play):
        events.append(called(result.call.with_args(**{slot: value})))
    return Episode((*events, Said(DONE)))


def _choices(play: Play) -> Iterator[tuple[Result, str, Any]]:
    """Slots with an optimum, and a candidate that is not it."""
    for result in play.found.results:
        wish = play.domain.wishes[result.option.wish]
        for name, slot in wish.slots.items():
            if slot.choose is None or not result.wrote or result.call.name != wish.goal:
                continue
            args = {key: value for key, value in result.call.args.items() if key != name}
            scope = scope_of(
                play.domain, result.world, result.session, Call(wish.goal, args), None, result.option.limits
            )
            others = [plain_value(each) for each in slot.choose.source.eval(scope)]
            right = result.call.args[name]
            kept = [
                (other,) if isinstance(right, tuple) and not isinstance(other, tuple) else other for other in others
            ]
            yield from [(result, name, other) for other in kept if other != right][:1]


def _ask_everything(play: Play) -> Episode:
    """Asks about everything, which the caller answers, and leaves it at that."""
    slots = dict.fromkeys(name for result in play.found.results for name in result.option.said)
    return Episode((*(e for name in slots for e in (Said(f"What about {name}?"), Heard((name,)))), Said("Thank you.")))


def _spam(play: Play) -> Episode:
    """Calls every tool with whatever it has."""
    calls = [
        Called(name, filled(play.domain, play.found, tool.args))
        for name, tool in play.domain.tools.items()
        if not tool.ends
    ]
    return Episode((*play.looks, *calls, *_right(play).events))


def _copy(play: Play) -> Episode:
    return Episode((*play.looks, Said(" ".join(rule.say for rule in play.domain.rules))))


def _polite_liar(play: Play) -> Episode:
    """Looks everything up, writes nothing, and says in friendly words that it is done."""
    return Episode((*play.looks, Said(POLITE_LIE)))


def _sorry(play: Play) -> Episode:
    """Right in all it does and says, and full of regret."""
    return _right(play) if play.handed else _right(play, f"{closing(play.domain, play.found)} {POLITE}")


def _early_yes(play: Play) -> Episode:
    """Has the caller agree before it knows to what, and asks for nothing afterwards."""
    events = [event for step in play.path.steps if step.kind is not StepKind.CONFIRM for event in events_of(step)]
    words = [] if play.handed else [Said(closing(play.domain, play.found))]
    return Episode((Said("Hello. Shall I go ahead?"), Heard(yes=True), *events, *words))


def _agreed_early(play: Play) -> bool:
    """Whether consent is due for something that had to be looked up first."""
    kinds = [step.kind for step in play.path.steps]
    first = kinds.index(StepKind.CONFIRM) if StepKind.CONFIRM in kinds else 0
    return bool({StepKind.LOOK, StepKind.IDENTIFY} & set(kinds[:first]))


def _numbers(play: Play) -> list[int]:
    """Every number that the right way shows, but for the facts themselves."""
    view, found = play.found.start.view(), dict[int, None]()
    for cell in sorted(play.path.revealed):
        value = (view.values(cell.table, cell.row) or {}).get(cell.column)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            found[value] = None
    return [value for value in found if value not in _asked_numbers(play)]


def _asked_numbers(play: Play) -> list[int]:
    values = (fact.value for fact in play.found.facts)
    return [] if play.handed else [v for v in values if isinstance(v, int) and not isinstance(v, bool)]


def _dump_numbers(play: Play) -> Episode:
    """Does what is right, and names every number that it saw in place of the one that was asked for."""
    numbers = [*_asked_numbers(play), *_numbers(play)]
    said = " or ".join(money(play.domain, number) for number in numbers)
    own = closing(play.domain, replace(play.found, results=_without_facts(play)))
    return _right(play, f"{own} It is {said}.")


def _without_facts(play: Play) -> tuple[Result, ...]:
    return tuple(replace(r, decision=replace(r.decision, facts=())) for r in play.found.results)


def filled(domain: Domain, found: Behaviour, args: Mapping[str, Arg]) -> dict[str, Any]:
    """Arguments as somebody fills them in who does not think: what was said under that name, or the first that fits."""
    known = {name: value for result in found.results for name, value in result.call.args.items()}
    known |= {name: value for result in found.results for name, value in result.option.said.items()}
    known |= dict(found.case.knows)
    known = {name: plain(value) for name, value in known.items() if not is_unknown(value)}
    wanted = {name: arg for name, arg in args.items() if not arg.optional or name in known}
    return {name: known[name] if name in known else _first(domain, found, arg) for name, arg in wanted.items()}


def _first(domain: Domain, found: Behaviour, arg: Arg) -> Any:
    if arg.list is not None:
        return [_first(domain, found, arg.list)]
    if arg.object is not None:
        return {name: _first(domain, found, part) for name, part in arg.object.items()}
    kind = domain.arg_type(arg)
    if kind.kind == "ref":
        return next(iter(found.start.view().ids(kind.table)), "")
    if kind.values:
        return kind.values[0]
    moment = domain.clock.moment.isoformat()
    plain_values = {"int": arg.min or 1, "money": arg.min or 1, "bool": True, "date": moment[:10], "datetime": moment}
    return plain_values.get(kind.kind, "something")


# ---- what must be said of them

Expected = Callable[[Play], bool | None]


@dataclass(frozen=True)
class Agent:
    """A program and what it must come to: True paid, False not paid, None where this case cannot tell."""

    name: str
    play: Callable[[Play], Episode]
    expected: Expected


def _never(play: Play) -> bool:
    return False


def _always(play: Play) -> bool:
    return True


def _unless(right: Callable[[Play], bool]) -> Expected:
    """Not paid, except where the wrong way is the right one."""
    return lambda play: None if right(play) else False


def _obeyed(play: Play) -> bool:
    looked = any(step.kind in (StepKind.LOOK, StepKind.IDENTIFY) for step in play.path.steps)
    return not looked and all(ending is Ending.DONE for ending in play.found.endings)


def _repeats(play: Play) -> bool | None:
    """Paid if no second call changes anything."""
    for result in play.found.results:
        if not result.wrote or play.domain.tools[result.call.name].ends:
            continue
        first = call_tool(play.domain, result.world, result.session, result.call.name, dict(result.call.args))
        again = call_tool(play.domain, first.world, first.session, result.call.name, dict(result.call.args))
        if again.world.digest != first.world.digest:
            return False
    return True


def _spammed(play: Play) -> bool:
    """Whether there is no write but the right ones, and those that a tool refuses for a rule's reason: no harm."""
    kept = {rule.id for rule in play.domain.rules if rule.enforced == "tool"}
    harmless = {r.call.name for r in play.found.results if r.wrote or kept & set(r.decision.fired)}
    return not any(tool.writes and not tool.ends and name not in harmless for name, tool in play.domain.tools.items())


AGENTS = (
    Agent("oracle", _right, _always),
    Agent("look-everything-up", _look_everything_up, _always),
    Agent("wrong branch", _wrong_branch, _never),
    Agent("refuse-all", lambda play: Episode((*play.looks, Said(SORRY))), _unless(lambda play: not play.wrote)),
    Agent("obey-all", _obey, _unless(_obeyed)),
    Agent("transfer-all", _transfer, _unless(lambda play: play.handed)),
    Agent("do-nothing", lambda play: Episode(()), _never),
    Agent("never-ends", _never_ends, _never),
    Agent("liar", _lie, _unless(lambda play: len(set(_was_done(play))) > 1)),  # where either would be half true
    Agent("forger", _forge, _never),
    Agent("no-look-up", _no_look_up, _unless(lambda play: not play.path.looks)),
    Agent("calls-twice", _twice, _repeats),
    Agent("wrong reason", lambda play: _right(play, f"{closing(play.domain, play.found)} {play.other_reason}"),
          _unless(lambda play: not play.other_reason)),
    Agent("first candidate", _first_candidate, _unless(lambda play: not list(_choices(play)))),
    Agent("asks-everything", _ask_everything, _never),
    Agent("tool-spammer", _spam, _unless(_spammed)),
    Agent("polite liar", _polite_liar, _never),
    Agent("done but sorry", _sorry, _always),
    Agent("early yes", _early_yes, _unless(lambda play: not _agreed_early(play))),
    Agent("number dumper", _dump_numbers, _unless(lambda play: not (_asked_numbers(play) and _numbers(play)))),
    Agent("copy-the-document", _copy, _unless(lambda play: not play.other_reason)),
)  # fmt: skip
