"""Whole cases, drawn per rule and per side of its limit, so that every sentence of a policy is the last word somewhere.

A draw takes a wish that the rule speaks about, puts the state on the wanted side by the rule's own examples (or by one
cell that its condition reads), and moves other rules out of the way by theirs. What does not come out right is drawn
again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

from flywheel_domains.behaviour import Behaviour, Result, Unidentifiable, behave
from flywheel_domains.case import WROTE, Case, Edit, Want
from flywheel_domains.decide import Circle
from flywheel_domains.domain import Domain
from flywheel_domains.edits import example_edits, flips, merged
from flywheel_domains.model import Rule
from flywheel_domains.slots import NoCandidate, Tie
from flywheel_domains.tools import DONE_ALREADY
from flywheel_domains.values import plain
from flywheel_domains.wishes import Drawing, NotDrawn, caller_of, draw_want
from flywheel_domains.world import World

TRIES = 60
"""Draws for one case before the side of a rule is said to be out of reach."""
PUSHES = 4
"""Rules that are moved out of the way in one draw."""
SAME_AGAIN = 0.4
"""Share of the earlier wishes that are for the same."""
SECOND_WISH = 0.15
"""Share of cases with two wishes, where the rule does not need another number."""


def draw(domain: Domain, world: World, rng: random.Random, target_rule: str | None = None, fires: bool = True) -> Case:
    """A case that is a task; with `target_rule` one in which it is the last word (`fires`), or is read and does not.

    Raises NotDrawn if that side of the rule was not reached.
    """
    return draw_behaviour(domain, world, rng, target_rule, fires).case


def draw_behaviour(
    domain: Domain,
    world: World,
    rng: random.Random,
    target_rule: str | None = None,
    fires: bool = True,
    wish: str | None = None,
) -> Behaviour:
    """The case with its behaviour, which was computed to see whether it is one; `wish` is what it is about.

    Raises NotDrawn.
    """
    why = "there is no wish for it"
    rule = domain.rule(target_rule) if target_rule else None
    if rule is not None and not fires and rule.when is None and rule.unless is None:
        raise NotDrawn(f"rule {rule.id} has no condition, so it has one side only")
    for number in range(TRIES):
        try:
            found = _drawn(domain, world, rng, target_rule, fires, wish, number)
        except (NotDrawn, NoCandidate, Tie, Unidentifiable, Circle) as error:
            why = str(error)
            continue
        why = problem(domain, found) or (_missed(found, target_rule, fires) if target_rule else "")
        if not why:
            return found
    side = "" if target_rule is None else f" for rule {target_rule}, {'firing' if fires else 'not firing'}"
    raise NotDrawn(f"no case in {TRIES} draws{side}: {why}")


def _missed(found: Behaviour, target: str, fires: bool) -> str:
    if fires:
        alone = target in found.identified_by or any(result.rules == (target,) for result in found.results)
        return "" if alone else "another rule was the last word"
    fired = {rule for result in found.results for rule in result.decision.fired}
    return "" if target in found.read and target not in fired else "the rule was not read, or fired"


def problem(domain: Domain, found: Behaviour) -> str:
    """Why this is no task, "" if it is one: nothing to look up or find out, or a write that changes nothing."""
    looked = any(result.proof or result.asked for result in found.results) or bool(found.identified_by)
    if not looked:
        return "nothing has to be looked up"
    if not found.session.ended and {result.want for result in found.results} != set(range(len(found.case.wants))):
        return "a wish is about nothing that is there"
    for result, after in zip(found.results, [*(r.world for r in found.results[1:]), found.final], strict=True):
        if result.ending in WROTE and result.world.digest == after.digest:
            return "the write changes nothing"
        if result.decision.why_not == DONE_ALREADY:
            return "the same is wished twice"
    best = [(result.want, about) for result in found.results for about in _best_of(domain, result)]
    if any(one[0] != other[0] and one[1] == other[1] for one, other in combinations(best, 2)):
        return "the best of the same is wished twice"
    if contradicting(found):
        return "two wishes ask for the same and are answered in two ways"
    return ""


def contradicting(found: Behaviour) -> bool:
    """Whether a caller who is asked by the name of a slot would have to know which of their wishes is meant."""
    for slot in {slot for result in found.results for slot in result.asked}:
        told = [result.answers(slot) for result in found.results if slot in result.asked]
        longest = max(told, key=len)
        if any(each != longest[: len(each)] for each in told):
            return True
    return False


def _best_of(domain: Domain, result: Result) -> Iterator[tuple[Any, ...]]:
    """What a wish takes the best of, and for which row: after "the earliest time" nobody asks for it again."""
    want = result.option
    wish, known = domain.wishes[want.wish], {**want.described, **result.call.args, **want.said}
    mine = [name for name, slot in wish.slots.items() if slot.way == "mine"]
    rows = {name: known.get(name) for name in mine[:1]} or dict(want.said)
    for name, slot in wish.slots.items():
        if slot.choose is not None and None not in rows.values():
            yield wish.goal, name, slot.choose.source.text, slot.choose.by, plain(rows)


def _drawn(
    domain: Domain, world: World, rng: random.Random, target: str | None, fires: bool, wish: str | None, number: int
) -> Behaviour:
    kind = _kind(domain, rng)
    caller, owner, knows = caller_of(domain, world, rng, kind)
    at = Drawing(domain, world, rng, caller, kind, owner)
    rule = domain.rule(target) if target else None
    name = wish or rng.choice(list(wishes_for(domain, rule)) or [""])
    if not name:
        raise NotDrawn("no wish is about it")
    earlier = rule is not None and reads_session(rule)
    two = earlier or rng.random() < (0.5 if rule is not None and number > TRIES // 3 else SECOND_WISH)
    wants: tuple[Want, ...] = (draw_want(at, name),)
    if two:
        wants = (_companion(at, name, wants[0]), *wants)
    persona = rng.choice(domain.personas) if domain.personas else None
    case = Case(
        domain=domain.domain,
        seed=world.base.seed,
        caller=caller,
        kind=kind,
        persona=persona.id if persona else "",
        wants=wants,
        knows=knows,
        claims=dict(persona.claims) if persona else {},
        target=target,
    )
    found = behave(domain, world, case)
    if rule is None or not rule.verdict:
        return found
    return _steered(domain, world, rng, found, rule, fires)


def _kind(domain: Domain, rng: random.Random) -> str:
    if not domain.callers:
        raise NotDrawn("the domain declares no callers")
    kinds = list(domain.callers)
    return rng.choices(kinds, [domain.callers[kind].share for kind in kinds])[0]


def wishes_for(domain: Domain, rule: Rule | None) -> Iterator[str]:
    """Wishes whose goal a rule speaks about; all of them without a rule, each as often as its share says."""
    for name, wish in domain.wishes.items():
        about = rule is None or domain.groups_of(wish.goal) & set(rule.applies)
        leads = rule is not None and any(
            domain.groups_of(other.instead.tool) & set(rule.applies)
            for other in domain.rules_of(wish.goal)
            if other.instead is not None
        )
        if about or leads:
            yield from [name] * (wish.share if rule is None else 1)


def _companion(at: Drawing, name: str, want: Want) -> Want:
    """A wish before the wanted one: half the time about the same row, so that what is done first matters."""
    wished = at.domain.wishes[want.wish].slots
    rows = {key: value for key, value in want.said.items() if wished[key].way == "mine"}
    other = name if at.rng.random() < SAME_AGAIN else at.rng.choice(list(at.domain.wishes))
    return draw_want(at, other, rows=rows if at.rng.random() < 0.5 else None)


def _steered(domain: Domain, world: World, rng: random.Random, found: Behaviour, rule: Rule, fires: bool) -> Behaviour:
    """The case with the state on the wanted side of a rule, and other rules out of its way."""
    pushed: set[tuple[str, int]] = set()
    wanted: list[tuple[Rule, bool, int]] = [(rule, fires, -1)]
    while wanted and len(pushed) <= PUSHES and found.results:
        about, side, at = wanted.pop()
        edits = _edits_for(domain, rng, found, about, side, at)
        if edits:
            try:
                found = behave(domain, world, replace(found.case, edits=merged(found.case.edits, edits)))
            except ValueError as error:
                raise NotDrawn(str(error)) from None
        if not _missed(found, rule.id, fires):
            break
        for name, at in _blocking(domain, found, rule):
            if (name, at) not in pushed:
                pushed.add((name, at))
                wanted.append((domain.rule(name), False, at))
    return found


def _blocking(domain: Domain, found: Behaviour, rule: Rule) -> list[tuple[str, int]]:
    """Rules that are the last word where another should be; what was done before matters to rules about the session."""
    last = len(found.results) - 1
    numbers = range(0 if reads_session(rule) else max(0, last), last + 1)
    return [(name, number) for number in numbers for name in found.results[number].rules if name != rule.id]


def reads_session(rule: Rule) -> bool:
    """Whether a rule is about what was done before."""
    test = rule.when or rule.unless
    return rule.verdict != "identify" and test is not None and "session" in test.names


def _edits_for(
    domain: Domain, rng: random.Random, found: Behaviour, rule: Rule, fires: bool, at: int
) -> tuple[Edit, ...]:
    """Edits by which a rule is put on a side, at a result or the last one that it speaks about."""
    words = set(rule.applies)
    about = [r for r in found.results if rule.id in r.decision.read or domain.groups_of(r.call.name) & words]
    if 0 <= at < len(found.results):
        about = [found.results[at]]
    if not about:
        return ()
    examples = [example for example in rule.examples if example.fires is fires]
    edits = example_edits(domain, about[-1], rng.choice(examples)) if examples else ()
    return edits or next(flips(domain, about[-1], rule, fires, rng), ())
