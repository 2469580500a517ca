"""From a case to a task (docs/method.md, "Inversion"): prompt, policy document, user, and what is right, computed."""

from __future__ import annotations

from collections.abc import Sequence

from flywheel_api.records.agentic import Branch, Depth, Task
from flywheel_api.records.base import Lineage, record_id
from flywheel_api.records.reasoning import Persona
from flywheel_domains.case import StepKind
from flywheel_domains.lookups import Unprovable
from flywheel_domains.words import persona_of
from flywheel_jobs.agentic import kinds, policy, prompt, words
from flywheel_jobs.agentic.right import Right, dump_case, summary
from flywheel_jobs.agentic.words import UserText
from flywheel_jobs.core.errors import ItemDropped

WRITES = frozenset({StepKind.CALL, StepKind.HAND_OVER})


def build_task(
    package: str,
    right: Right,
    persona: Persona,
    text: UserText,
    lineage: Lineage,
    chain: Sequence[Branch] = (),
    twins: Sequence[Right] = (),
    pushes: int | None = None,
) -> Task:
    """The task of a case. `twins` share its words and its policy document.

    Raises ItemDropped where look-ups do not lead to what is right.
    """
    domain = right.domain
    try:
        right_path = summary(right)
    except Unprovable as error:
        raise ItemDropped("unprovable", str(error)) from error
    ids = policy.rule_ids(right, *twins)
    sop = policy.text(domain, ids)
    speaker = persona_of(domain, right.case)
    writes = sum(step.kind in WRITES for step in right.behaviour.steps)
    user = words.user_of(right, text, pushes if pushes is not None else speaker.pushes if speaker else 0)
    case = dump_case(right.case)
    return Task(
        id=record_id(f"{domain.domain}-task", package, case, text.task, ids),
        lineage=lineage,
        domain=domain.domain.replace("_", "-"),
        package=package,
        case=case,
        messages=prompt.build(domain, sop, text.task, right.case.now),
        right=right_path,
        outcome=kinds.outcome_of(right),
        kind=chain[-1].kind if chain else kinds.kind_of(right),
        legal=kinds.legal(right),
        sop=sop,
        rule_ids=ids,
        user=user,
        settle_after=(writes or 1) if domain.prompt.compact else None,
        depth=Depth(
            branch=max(1, len(chain)),
            cells=len(right.behaviour.proof),
            steps=len(right_path.calls),
            rules=len(ids),
        ),
        chain=list(chain),
    )
