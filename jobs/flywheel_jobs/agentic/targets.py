"""What tasks are made of: seeds, branches and twins, each with the case that it is and who speaks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from flywheel_api.records.agentic import Branch, BranchKind, Grown, TreeRecord
from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Persona
from flywheel_domains.domain import Domain
from flywheel_domains.words import first_message
from flywheel_jobs.agentic import balance, kinds
from flywheel_jobs.agentic.distinct import near_right
from flywheel_jobs.agentic.drawing import Side, personas, spoken_by
from flywheel_jobs.agentic.growth import asks_no_less
from flywheel_jobs.agentic.pairs import Twin, twin
from flywheel_jobs.agentic.right import Right, compute, read_case, steps
from flywheel_jobs.core.turns import in_turn


@dataclass(frozen=True)
class Target:
    """One task to make. A twin has its original's document and mostly its words (`said`); `pair` are both of them.

    `parent` is what it was made from: a tree, or the draw of a plain case. `steps` are those of its right way.
    """

    parent: str
    lineage: Lineage
    package: str
    chain: tuple[Branch, ...]
    right: Right
    persona: Persona
    steps: int = 0
    own: bool = False
    pair: tuple[Right, ...] = ()
    said: Right | None = None
    of: str = ""

    @property
    def key(self) -> str:
        """Journal key."""
        path = "/".join(b.id for b in self.chain) or "root"
        return f"{self.parent}/{path}{'/twin' if self.of else ''}"

    @property
    def kind(self) -> BranchKind:
        """Its kind: what its branch adds to the one above."""
        return self.chain[-1].kind

    @cached_property
    def legal(self) -> bool:
        """Whether what is wished is allowed."""
        return kinds.legal(self.right)


def targets(trees: Sequence[TreeRecord], domain_of: dict[str, Domain]) -> tuple[list[Target], list[Target]]:
    """The seed's own case (of fresh ones) and every branch; and what else the domain offered, to fill up with.

    Trees in turn, so that a cut keeps their variety.
    """
    named, spare = [], []
    for record in trees:
        domain, seed = domain_of[record.seed.task.package], record.seed
        chain = tuple(seed.task.chain)
        own = []
        if seed.fresh:
            right = compute(domain, read_case(seed.task.case))
            chain = (root_of(right),)
            package, way = seed.task.package, len(steps(right))
            own.append(Target(record.id, record.lineage, package, chain, right, seed.persona, way, own=True))
        named.append([*own, *(_target(record, domain, chain, grown) for grown in record.branches)])
        spare.append([_target(record, domain, chain, grown) for grown in record.spare])
    return list(in_turn(*named)), list(in_turn(*spare))


def _target(record: TreeRecord, domain: Domain, chain: tuple[Branch, ...], grown: Grown) -> Target:
    right = compute(domain, read_case(grown.case))
    seed = record.seed
    return Target(
        record.id,
        record.lineage,
        seed.task.package,
        (*chain[: grown.level - 1], grown.branch),
        right,
        seed.persona,
        grown.steps,
    )


def root_of(right: Right) -> Branch:
    """The branch of a case that grew from none: what is wished in it."""
    said = first_message(right.domain, right.start, right.case)
    return Branch(id="root", kind=kinds.kind_of(right), condition=said[:400])


def drawn(cases: Iterator[Right], package: str, lineage: Lineage, people: Sequence[Persona]) -> Iterator[Target]:
    """Plain cases, for what no tree offers."""
    for number, right in enumerate(cases):
        case = f"drawn/{near_right(package, right)[:23]}"
        speaker = people[number % len(people)]
        yield Target(case, lineage, package, (root_of(right),), right, speaker, len(steps(right)))


def spoken(found: Sequence[Target], people: Sequence[Persona], rng: random.Random) -> list[Target]:
    """The targets in the words of personas who take turns: the round's, and within a domain its own.

    So as many speak as there are. A fresh seed's own case keeps its persona.
    """
    own = {target.persona.id for target in found if target.own}
    others = [person for person in people if person.id not in own] or list(people)
    turn = {name: rng.randrange(len(people)) for name in sorted({t.right.domain.domain for t in found})}
    made, number = [], 0
    for target in found:
        if not target.own:
            domain = target.right.domain
            speakers = personas(domain, Side.TRAINING)
            speaker = speakers[turn[domain.domain] % len(speakers)] if speakers else None
            right = spoken_by(domain, target.right.case, speaker, Side.TRAINING)
            target = replace(target, right=right, persona=others[number % len(others)])
            turn[domain.domain] += 1
            number += 1
        made.append(target)
    return made


def twins_of(found: Sequence[Target], rng: random.Random, most: int, legal_share: float) -> list[Target]:
    """The chosen targets with twins of those whose rule a state decides, at most so many in all.

    Those that the legal ones or the others lack to their shares, the longest right ways first, and none with another's
    workflow. A pair is kept together: the original learns of its twin's rules as well.
    """
    missing = balance.shares((t.legal for t in found), most, legal_share)
    every = [(place, other) for place, target in enumerate(found) if (other := twin(target.right, rng)) is not None]
    every.sort(key=lambda pair: len(steps(pair[1].right)), reverse=True)
    twins: dict[int, Twin] = {}
    for place, other in balance.first_of(every, lambda pair: pair[1].right.workflow, (t.right.workflow for t in found)):
        side = kinds.legal(other.right)
        if missing[side] > 0 and len(twins) < most - len(found):
            missing[side] -= 1
            twins[place] = other
    made: list[Target] = []
    for place, target in enumerate(found):
        if place not in twins:
            made.append(target)
            continue
        other = twins[place]
        pair = (target.right, other.right)
        made.append(replace(target, pair=pair))
        branch = Branch(
            id=f"{target.chain[-1].id[:55]}-twin",
            kind=kinds.added_kind(target.right, other.right),
            condition=f"Otherwise by: {domain_rule(other.right, other.rule)}"[:400],
        )
        said = pair[0] if other.same_words else other.right
        above = target.chain[:-1] if asks_no_less(target.right, other.right) else ()  # else it begins anew
        chain = (*above, branch)
        made.append(replace(target, chain=chain, right=other.right, said=said, pair=pair, of=target.key))
    return made


def domain_rule(right: Right, rule: str) -> str:
    """The sentence of a rule."""
    return right.domain.rule(rule).say
