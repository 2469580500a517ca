"""The row that verl trains on, in the names that verl reads; made from problems and tasks, read back into them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flywheel_api.records.agentic import Task
from flywheel_api.records.reasoning import Problem

AGENT_NAME = "flywheel_tool_agent"  # verl's name of our tool agent loop
PROMPT_SCHEMA = "verl-prompt/v1"


class RewardModel(BaseModel):
    """What verl hands to the reward function."""

    model_config = ConfigDict(frozen=True)
    style: str = Field(default="rule", description="rule: the reward is computed, no model judges.")
    ground_truth: str = Field(default="", description="The right answer, or what a right agent does as JSON.")


class ExtraInfo(BaseModel):
    """What travels with a row: id and lineage, and for tasks the task as JSON (Parquet columns have one type)."""

    model_config = ConfigDict(frozen=True)
    index: int | str = Field(default=0, description="Number of the row.")
    split: str = Field(default="", description="train or validation.")
    id: str = Field(default="", description="Id of the problem or task.")
    operator: str = Field(default="", description="How it was made (lineage).")
    parent_ids: list[str] = Field(default_factory=list, description="Ids of what it was made from (lineage).")
    root_id: str = Field(default="", description="Id of the seed at its root (lineage).")
    round: str = Field(default="", description="Round that made it (lineage).")
    persona_id: str = Field(default="", description="Persona that it is set in (lineage).")
    template: str = Field(default="", description="Template or workflow that it follows (lineage).")
    outcome: str = Field(default="", description="Expected outcome of a task.")
    policy_pass: str = Field(default="", description="PassRate of the policy as JSON, where it was measured.")
    task: str = Field(default="", description="The task as JSON; empty for problems.")
    problem: str = Field(default="", description="The problem as JSON, for the round that mines its rollouts.")

    @model_validator(mode="before")
    @classmethod
    def _ours(cls, value: Any) -> Any:
        """Rows that others wrote may hold anything under any name: what cannot be ours is left out."""
        given = dict(value) if isinstance(value, Mapping) else {}
        known = {name: _scalar(given.get(name)) for name in cls.model_fields}
        found = {name: v if name == "index" else str(v) for name, v in known.items() if v is not None}
        parents = given.get("parent_ids")
        if not isinstance(parents, Iterable) or isinstance(parents, str | Mapping):  # verl hands arrays on
            parents = []
        return found | {"parent_ids": [str(p) for p in parents]}


class Prompt(BaseModel):
    """A row of a training or validation set."""

    model_config = ConfigDict(frozen=True)
    data_source: str = Field(description="Where it comes from: flywheel/<family or domain>.")
    agent_name: str | None = Field(default=None, description="Agent loop that plays it; unset means a single turn.")
    prompt: list[dict[str, Any]] = Field(description="Chat messages.")
    ability: str = Field(description="math or agentic.")
    reward_model: RewardModel
    extra_info: ExtraInfo

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Prompt:
        """The row that verl hands to an agent loop, ours or anybody's: what only our rows have may be missing."""
        prompt = row["raw_prompt"] if row.get("raw_prompt") is not None else row.get("prompt")
        truth = dict(row.get("reward_model") or {}).get("ground_truth")
        return cls(
            data_source=str(row.get("data_source") or ""),
            agent_name=row.get("agent_name"),
            prompt=[] if prompt is None else list(prompt),
            ability=str(row.get("ability") or ""),
            reward_model=RewardModel(ground_truth="" if truth is None else str(truth)),
            extra_info=ExtraInfo.model_validate(row.get("extra_info")),
        )

    @property
    def item(self) -> str:
        """Id of the problem or task; the row's number where others gave it none."""
        return self.extra_info.id or str(self.extra_info.index)

    @property
    def task(self) -> Task | None:
        """The task of the row, if it is one of the agentic track. Raises ValueError when it does not parse."""
        if not self.extra_info.task:
            return None
        value = json.loads(self.extra_info.task)
        return Task.model_validate({"id": self.item, **value} if isinstance(value, dict) else value)

    @property
    def problem(self) -> Problem | None:
        """The problem of a row of ours: family, level, exact form and lineage; None for tasks and rows of others."""
        try:
            return Problem.model_validate_json(self.extra_info.problem)
        except ValueError:
            return None

    def row(self) -> dict[str, Any]:
        """The Parquet row; single-turn rows carry no agent."""
        return self.model_dump(exclude={"agent_name"} if self.agent_name is None else None)


def _scalar(value: Any) -> str | int | None:
    """A value of a column that holds one; None for anything else. numpy's scalars become Python's."""
    plain = value.item() if hasattr(value, "item") and not getattr(value, "shape", None) else value
    return plain if isinstance(plain, str | int) else None


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
            problem=json.dumps(problem.dump(), sort_keys=True, ensure_ascii=False),
        ),
    )


def of_task(task: Task) -> Prompt:
    """verl's row of a task, for the project's tool agent loop."""
    return Prompt(
        data_source=f"flywheel/{task.domain}",
        agent_name=AGENT_NAME,
        prompt=[{"role": str(m["role"]), "content": str(m.get("content") or "")} for m in task.messages],
        ability="agentic",
        reward_model=RewardModel(ground_truth=json.dumps(task.right.dump(), sort_keys=True)),
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
