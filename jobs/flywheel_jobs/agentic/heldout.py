"""Held-out suites of the agentic track: a domain's own held-out split (`holdout`), drawn rule by rule.

Disjoint from training by persona, wording and state, as far as the domain says; fixed by name, size and package.
"""

from __future__ import annotations

from collections.abc import Sequence

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import Lineage
from flywheel_api.records.reasoning import Persona
from flywheel_api.round_evaluation import HELDOUT
from flywheel_domains import words as wording
from flywheel_jobs.agentic import words
from flywheel_jobs.agentic.distinct import near_right
from flywheel_jobs.agentic.drawing import Side, draw_cases
from flywheel_jobs.agentic.right import Right
from flywheel_jobs.agentic.tasks import build_task
from flywheel_jobs.agentic.words import UserText
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains.packages import Package
from flywheel_jobs.domains.shelf import Shelf

MORE = 3  # cases that are drawn for each item, at most: some ask the same


def build(name: str, items: int, people: Sequence[Persona], package: Package, shelf: Shelf) -> list[Task]:
    """The items of a suite. Raises ValidationFailure for more items than the domain has different cases."""
    domain = shelf.domain(package.digest)
    if not people:
        raise ValidationFailure(f"suite {name} needs held-out personas: raise spec.agentic.holdoutPersonas")
    found = draw_cases(domain, Side.HELD_OUT, f"suite/{name}", items * MORE)
    distinct: dict[str, Right] = {}
    for right in found:
        distinct.setdefault(near_right(package.digest, right), right)
        if len(distinct) == items:
            break
    chosen = list(distinct.values())[:items]
    if len(chosen) < items:
        raise ValidationFailure(f"suite {name} has at most {len(chosen)} different items: lower its items")
    made = []
    for number, right in enumerate(chosen):
        persona = people[number % len(people)]
        said = wording.first_message(domain, right.start, right.case)
        text = UserText(task=said, background=words.background(right, persona))
        lineage = Lineage(operator="suite", round=name, persona_id=persona.id, template=right.case.wants[0].wish)
        made.append(build_task(package.digest, right, persona, text, lineage))
    return made


def domain_of_suite(name: str) -> str:
    """The domain that a suite's name speaks of."""
    return name.removesuffix(HELDOUT)
