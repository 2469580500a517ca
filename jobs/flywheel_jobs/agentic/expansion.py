"""Requests of the expanding side of the flywheel: linear workflows from personas, trees from what the policy did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flywheel_api.records.agentic import Action, Branch, BranchKind, Seed, Tree
from flywheel_api.records.reasoning import Persona
from flywheel_api.records.trajectory import Trajectory
from flywheel_jobs.agentic.drive import end_group
from flywheel_jobs.agentic.inversion import card
from flywheel_jobs.agentic.tree import branch_problems
from flywheel_jobs.envs.engine import Domain

MIN_TOOLS, MAX_TOOLS, MAX_PARAMETERS = 3, 5, 3  # the paper's; docs/method.md, "Workflows"
SHOWN_TRAJECTORIES, SHOWN_CHARACTERS = 3, 1500

SEED = (
    "Design a linear workflow for a customer-service agent in the domain of the input, for the persona given there. "
    "Use 3 to 5 of its tools. Answer JSON: goal (what the customer wants, one sentence), background, tools (names), "
    "workflow (tool names in the order in which they are called on the customer's key, a look-up first), restriction "
    "(one sentence), state (columns of the customer's row for which the workflow is right), rules "
    "(ids of the rules that it touches)."
)
EXPAND = (
    "Extend a workflow into a behaviour tree. The input holds the domain, the workflow, the branches that were "
    "followed from the root (parent), what the policy did on it (observed end groups and some trajectories) and how "
    "many new branches to add (branches). Repeat the parent's branches, and put the new ones directly below the last "
    "of them: constraints, variations, adversarial requests and escalations that were observed or are plausible. Every "
    "branch names its state (columns of the row), path and trap (tool names; trap is empty when the wish is allowed), "
    "and rules. Answer JSON of this schema: "
)


class Workflow(BaseModel):
    """What the teacher answers for a seed."""

    model_config = ConfigDict(extra="forbid")
    goal: Annotated[str, Field(min_length=3, max_length=400)]
    background: Annotated[str, Field(max_length=1000)] = ""
    tools: Annotated[list[str], Field(min_length=MIN_TOOLS, max_length=MAX_TOOLS)]
    workflow: Annotated[list[str], Field(min_length=2, max_length=7)]
    restriction: Annotated[str, Field(max_length=400)] = ""
    state: dict[str, str]
    rules: Annotated[list[str], Field(min_length=1, max_length=8)]


def seed_payload(domain: Domain, persona: Persona, index: int) -> dict[str, object]:
    """The data of a seed request."""
    return {
        "ask": "workflow",
        "domain": card(domain),
        "persona": {"name": persona.name, "trade": persona.trade, "text": persona.text},
        "index": index,
    }


def seed_branch(workflow: Workflow) -> Branch:
    """A linear workflow as the root branch of a tree."""
    return Branch(
        id="normal",
        kind=BranchKind.NORMAL,
        condition=workflow.goal,
        action=Action.PROCEED,
        state=workflow.state,
        path=workflow.workflow,
        rules=workflow.rules,
    )


def workflow_problems(workflow: Workflow, domain: Domain) -> list[str]:
    """What is wrong with a linear workflow."""
    wrong = [f"no tool {t!r}" for t in workflow.tools if domain.tool(t) is None]
    wrong += [f"workflow calls {t!r}, which tools does not list" for t in workflow.workflow if t not in workflow.tools]
    for name in workflow.tools:
        tool = domain.tool(name)
        if tool is not None and len(tool.parameters) > MAX_PARAMETERS:
            wrong.append(f"{name} has more than {MAX_PARAMETERS} parameters")
    return wrong or branch_problems(seed_branch(workflow), domain)


def observed(trajectories: Iterable[Trajectory]) -> dict[str, int]:
    """End groups of rollouts and how often each was seen."""
    return dict(sorted(Counter(end_group(t) for t in trajectories).items()))


def expand_instruction() -> str:
    """What the teacher is asked to do."""
    return EXPAND + json.dumps(Tree.model_json_schema())


def expand_payload(domain: Domain, seed: Seed, seen: Sequence[Trajectory], branches: int) -> dict[str, object]:
    """The data of an expansion request: failures first among the trajectories that are shown."""
    shown = sorted(seen, key=lambda t: (t.score, t.id))[:SHOWN_TRAJECTORIES]
    return {
        "ask": "expand",
        "domain": card(domain),
        "persona": {"name": seed.persona.name, "trade": seed.persona.trade, "text": seed.persona.text},
        "workflow": seed.workflow.model_dump(exclude_defaults=True),
        "parent": [b.model_dump(mode="json", exclude={"next"}) for b in seed.task.chain],
        "observed": observed(seen),
        "trajectories": [_shown(t, len(seed.task.messages)) for t in shown],
        "branches": branches,
    }


def _shown(trajectory: Trajectory, skip: int) -> dict[str, object]:
    said = "\n".join(f"{m['role']}: {m['content']}" for m in trajectory.messages[skip:])
    return {"score": trajectory.score, "closed": trajectory.closed, "said": said[:SHOWN_CHARACTERS]}
