"""What tasks are made of: seeds, branches and twins, each with the case that it is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from flywheel_api.records.agentic import Branch, TreeRecord
from flywheel_api.records.reasoning import Persona
from flywheel_domains.domain import Domain
from flywheel_jobs.agentic import kinds
from flywheel_jobs.agentic.drawing import Side, personas, spoken_by
from flywheel_jobs.agentic.growth import in_turn
from flywheel_jobs.agentic.pairs import twin
from flywheel_jobs.agentic.right import Right, compute, read_case


@dataclass(frozen=True)
class Target:
    """One task to make. A twin has its original's document and mostly its words (`said`); `pair` are both of them."""

    tree: TreeRecord
    chain: tuple[Branch, ...]
    right: Right
    persona: Persona
    pair: tuple[Right, ...] = ()
    said: Right | None = None
    of: str = ""

    @property
    def key(self) -> str:
        """Journal key."""
        path = "/".join(b.id for b in self.chain) or "root"
        return f"{self.tree.id}/{path}{'/twin' if self.of else ''}"

    @property
    def package(self) -> str:
        """The package of its domain."""
        return self.tree.seed.task.package

    @property
    def stratum(self) -> tuple[object, ...]:
        """What is balanced: domain, kind and how it ends."""
        task = self.tree.seed.task
        return task.domain, kinds.kind_of(self.right), self.right.behaviour.endings


def targets(
    trees: Sequence[TreeRecord], domain_of: dict[str, Domain], people: Sequence[Persona], rng: random.Random
) -> Iterator[Target]:
    """The seed's own case (of fresh ones) and every branch, trees in turn so that a cut keeps their variety.

    Personas take turns, the round's and within a tree the domain's: the words are somebody else's at each branch.
    """
    lists = [list(_of(record, domain_of[record.seed.task.package], rng)) for record in trees]
    for number, target in enumerate(in_turn(*lists)):
        own = number < len(trees)
        yield target if own else replace(target, persona=people[number % len(people)])


def _of(record: TreeRecord, domain: Domain, rng: random.Random) -> Iterator[Target]:
    seed = record.seed
    people = personas(domain, Side.TRAINING)
    start = rng.randrange(len(people)) if people else 0
    chain = tuple(seed.task.chain)
    if seed.fresh:
        right = compute(domain, read_case(seed.task.case))
        root = Branch(id="root", kind=kinds.kind_of(right), condition=seed.task.user.task[:400], patch={})
        chain = (root,)
        yield Target(record, chain, right, seed.persona)
    for number, grown in enumerate(record.branches):
        speaker = people[(start + number) % len(people)] if people else None
        right = spoken_by(domain, read_case(grown.case), speaker, Side.TRAINING)
        yield Target(record, (*(chain if grown.deeper else chain[:-1]), grown.branch), right, seed.persona)


def twins_of(found: Sequence[Target], rng: random.Random, most: int) -> list[Target]:
    """The chosen targets with twins of those whose rule a state decides, at most so many in all.

    A pair is kept together: the original learns of its twin's rules as well.
    """
    made: list[Target] = []
    left = most - len(found)
    for target in found:
        other = twin(target.right, rng) if left > 0 else None
        if other is None:
            made.append(target)
            continue
        left -= 1
        pair = (target.right, other.right)
        made.append(replace(target, pair=pair))
        branch = Branch(
            id=f"{target.chain[-1].id[:55]}-twin",
            kind=kinds.kind_of(other.right),
            condition=f"Otherwise by: {domain_rule(other.right, other.rule)}"[:400],
        )
        said = pair[0] if other.same_words else other.right
        chain = (*target.chain[:-1], branch)
        made.append(replace(target, chain=chain, right=other.right, said=said, pair=pair, of=target.key))
    return made


def domain_rule(right: Right, rule: str) -> str:
    """The sentence of a rule."""
    return right.domain.rule(rule).say
