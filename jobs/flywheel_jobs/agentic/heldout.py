"""Held-out suites of the agentic track: personas, keys and wordings that no training task uses.

Disjoint by persona (the caller splits them), by key (a hash of the key decides its side for good) and by template.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from flywheel_api.records.agentic import Action, Branch, BranchKind, Task
from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Persona
from flywheel_jobs.agentic import prompt
from flywheel_jobs.agentic.inversion import UserText, build_task
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.envs import domain_of
from flywheel_jobs.envs.engine import Domain

SUFFIX = "-heldout"
HELDOUT_KEYS = 0.4

TEMPLATES: dict[str, tuple[str, ...]] = {
    "airline": (
        "{name} the {trade} here. Undo booking {key}.",
        "My name is {name}. I work as {a} {trade}. Undo booking {key}.",
    ),
}
"""Wordings of evaluation only; the stand-in teacher has others (flywheel_standin), and a test keeps them apart."""

BRANCHES: dict[str, tuple[Branch, ...]] = {
    "airline": tuple(
        Branch(
            id=f"heldout-{fare}",
            kind=BranchKind.NORMAL,
            condition=f"The fare is {fare}.",
            action=Action.PROCEED,
            state={"fare": fare},
            path=["get_booking", write],
            rules=[fare],
        )
        for fare, write in (("cancelable", "cancel"), ("refundable", "refund"))
    ),
}


SUITES: dict[str, str] = {f"{domain}{SUFFIX}": domain for domain in BRANCHES}
"""Suite name -> domain."""


def keys(domain: Domain, heldout: bool) -> list[int]:
    """Row keys of one side, without those of the prompt's examples."""
    low, high = domain.key_range
    used = prompt.example_keys(domain.name)
    return [k for k in range(low, high + 1) if k not in used and _is_heldout(domain.name, k) == heldout]


def _is_heldout(domain: str, key: int) -> bool:
    point = int.from_bytes(hashlib.sha256(f"heldout-key/{domain}/{key}".encode()).digest()[:8], "big")
    return point < HELDOUT_KEYS * 2.0**64


def build(name: str, items: int, personas: Sequence[Persona], rng: random.Random) -> list[Task]:
    """The items of a suite over held-out personas, its branches in turn.

    Equal arguments give equal items, so that base and candidate, and rounds among each other, answer the same. Raises
    ValidationFailure for more items than there are keys, branches and templates for, or without personas.
    """
    domain = domain_of(SUITES[name])
    branches, templates = BRANCHES[domain.name], TEMPLATES[domain.name]
    people = sorted(personas, key=lambda p: p.id)
    if not people:
        raise ValidationFailure(f"suite {name} needs held-out personas: raise spec.agentic.holdoutPersonas")
    free = [(t, k) for t in templates for k in keys(domain, heldout=True)]
    if items > len(free) * len(branches):
        raise ValidationFailure(f"suite {name} has at most {len(free) * len(branches)} items: lower its items")
    rng.shuffle(people)
    decks = [rng.sample(free, len(free)) for _ in branches]
    made = []
    for n in range(items):
        turn = n % len(branches)
        template, key = decks[turn][n // len(branches)]
        made.append(_item(name, domain, people[n % len(people)], template, key, branches[turn], rng))
    return made


def _item(
    suite: str, domain: Domain, persona: Persona, template: str, key: int, branch: Branch, rng: random.Random
) -> Task:
    a = "an" if persona.trade[:1].lower() in "aeiou" else "a"
    task = template.format(name=persona.name, trade=persona.trade, a=a, key=key)
    text = UserText(task=task, user_background=f"{persona.text} The booking number is {key}.")
    lineage = Lineage(operator="suite", round=suite, persona_id=persona.id, branch_path=[branch.id], template=template)
    return build_task(domain, [branch], persona, key, text, rng, lineage)
