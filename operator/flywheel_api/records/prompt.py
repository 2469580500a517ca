"""The row that verl trains on, in the names that verl reads; made from problems and tasks, read back into them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flywheel_api.records.agentic import Task
from flywheel_api.records.reasoning import Problem

AGENT_NAME = "flywheel_tool_agent"  # verl's name of our tool agent loop
PROMPT_SCHEMA = "verl-prompt/v1"


class RewardModel(BaseModel):
    """What verl hands to the reward function."""

    model_config = ConfigDict(frozen=True)
    style: str = "rule"
    ground_truth: str = ""


class ExtraInfo(BaseModel):
    """What travels with a row: id and lineage, and for tasks the task as JSON (Parquet columns have one type)."""

    model_config = ConfigDict(frozen=True)
    index: int = 0
    split: str = ""
    id: str = ""
    operator: str = ""
    parent_ids: list[str] = Field(default_factory=list)
    root_id: str = ""
    round: str = ""
    persona_id: str = ""
    template: str = ""
    outcome: str = ""
    policy_pass: str = ""
    task: str = ""

    @field_validator("parent_ids", mode="before")
    @classmethod
    def _plain_list(cls, value: Any) -> Any:
        """verl hands arrays on."""
        return [] if value is None else list(value)


class Prompt(BaseModel):
    """A row of a training or validation set."""

    model_config = ConfigDict(frozen=True)
    data_source: str
    agent_name: str | None = None
    prompt: list[dict[str, str]]
    ability: str
    reward_model: RewardModel
    extra_info: ExtraInfo

    @property
    def task(self) -> Task | None:
        """The task of the row, if it is one of the agentic track. Raises ValueError when it does not parse."""
        return Task.model_validate_json(self.extra_info.task) if self.extra_info.task else None

    def row(self) -> dict[str, Any]:
        """The Parquet row; single-turn rows carry no agent."""
        return self.model_dump(exclude={"agent_name"} if self.agent_name is None else None)


def of_problem(problem: Problem) -> Prompt:
    """verl's row of a problem."""
    return Prompt(
        data_source=f"flywheel/{problem.family or 'reasoning'}",
        prompt=problem.messages(),
        ability="math",
        reward_model=RewardModel(ground_truth=problem.answer or ""),
        extra_info=ExtraInfo(
            id=problem.id,
            operator=problem.lineage.operator,
            parent_ids=problem.lineage.parent_ids,
            root_id=problem.lineage.root_id or problem.id,
            round=problem.lineage.round,
            persona_id=problem.persona_id or "",
            template=problem.template,
            policy_pass=json.dumps(problem.policy_pass.dump()) if problem.policy_pass else "",
        ),
    )


def of_task(task: Task) -> Prompt:
    """verl's row of a task, for the project's tool agent loop."""
    return Prompt(
        data_source=f"flywheel/{task.domain}",
        agent_name=AGENT_NAME,
        prompt=[{"role": str(m["role"]), "content": str(m.get("content") or "")} for m in task.messages],
        ability="agentic",
        reward_model=RewardModel(ground_truth=json.dumps(task.expected, sort_keys=True)),
        extra_info=ExtraInfo(
            id=task.id,
            operator=task.lineage.operator,
            parent_ids=task.lineage.parent_ids,
            root_id=task.lineage.root_id or task.id,
            round=task.lineage.round,
            persona_id=task.lineage.persona_id,
            template=task.lineage.template,
            outcome=task.outcome,
            task=json.dumps(task.dump(), sort_keys=True, ensure_ascii=False),
        ),
    )
