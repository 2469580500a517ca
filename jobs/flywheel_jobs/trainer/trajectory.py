"""Parts of the agent loops that need no verl: the row and its task, patience with outages, the trajectory's record."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import Lineage
from flywheel_api.records.prompt import Prompt
from flywheel_api.records.trajectory import TRAINING_ROLLOUT, Trajectory
from flywheel_api.results import Track
from flywheel_api.stages import OVERLONG_ENV, ROLLOUTS_ENV
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.core.errors import FlywheelError, InfraError, ValidationFailure
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.trainer.workspace import domains_beside
from flywheel_store.backoff import delay

log = get_logger(__name__)
T = TypeVar("T")
VALIDATION_SPLITS = frozenset({"validation", "val", "test"})
TRIES = 3
BACKOFF_BASE, BACKOFF_CAP = 0.5, 4.0  # seconds; an episode holds a vLLM slot while it waits


@dataclass(frozen=True)
class Row:
    """What verl hands to a loop for one trajectory, read once. `raw` is verl's own mapping, for custom rewards."""

    raw: Mapping[str, Any]
    prompt: Prompt
    uid: str
    session: int
    step: int

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Row:
        """Rows of any data set; the parts that verl adds have defaults for tests."""
        return cls(
            raw=raw,
            prompt=Prompt.read(raw),
            uid=str(raw.get("uid") or ""),
            session=int(raw.get("session_id") or 0),
            step=int(raw.get("global_steps") or 0),
        )


@dataclass(frozen=True)
class Sampled:
    """A trajectory as a loop ends it. `reward` is the reward function's own answer; an outage leaves it empty.

    `fault` says why it cannot be scored although nothing was away: its own text, or what the reward makes of it; `cut`
    that it ran into its token limit.
    """

    turns: int
    response_tokens: int
    text: str
    reward: Mapping[str, Any]
    outage: str | None = None
    task: Task | None = None
    episode: Episode | None = None
    fault: str | None = None
    cut: bool = False

    @property
    def masked(self) -> bool:
        """Whether nothing may be learnt from it: it says nothing about the policy, or was cut and such are left out."""
        overlong = self.cut and os.environ.get(OVERLONG_ENV) == "Mask"
        return self.outage is not None or self.fault is not None or overlong

    @property
    def score(self) -> float:
        """What verl is given; 0 where the trajectory is masked."""
        return 0.0 if self.masked else float(self.reward["score"])


class Unplayable(Exception):
    """What the policy wrote broke something that reads it."""


def task_of(prompt: Prompt) -> Task:
    """The task of a row. Raises ValidationFailure for a row that has none, or one that cannot be played."""
    where = f"row {prompt.extra_info.index}"
    try:
        task = prompt.task
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValidationFailure(f"extra_info.task of {where} is no task: {place}: {first['msg']}") from error
    except ValueError as error:
        raise ValidationFailure(f"extra_info.task of {where} is not JSON: {error}") from error
    if task is None:
        raise ValidationFailure(
            f"{where} has no extra_info.task: agentLoop needs rows with a task; "
            "leave agentLoop out for single-turn data"
        )
    return task


def shelf() -> Shelf:
    """The domain packages of this run, on this node."""
    return _shelf(os.environ.get(ROLLOUTS_ENV, ""))


@lru_cache(maxsize=4)
def _shelf(rollouts: str) -> Shelf:
    return Shelf(domains_beside(Path(rollouts)))


async def patiently(work: Callable[[], Awaitable[T]], tries: int = TRIES) -> T:
    """The result of `work`, tried again after an InfraError; the last one is raised. Anything else passes through."""
    for attempt in range(tries):
        try:
            return await work()
        except InfraError:
            if attempt + 1 == tries:
                raise
            await asyncio.sleep(delay(attempt, BACKOFF_BASE, BACKOFF_CAP))
    raise AssertionError("unreachable")


def fault_of(reward: Mapping[str, Any]) -> str | None:
    """Why an answer of a reward function is no score; None where it is one. Strings of digits count."""
    score = reward.get("score")
    try:
        finite = score is not None and math.isfinite(float(score))
    except (TypeError, ValueError, OverflowError):
        finite = False
    return None if finite else f"the reward gave {score!r}, not a finite number"[:256]


async def scored(
    score: Callable[[], Awaitable[dict[str, Any]]],
) -> tuple[dict[str, Any], str | None, str | None]:
    """What a reward function made of a trajectory: its answer, the outage that kept it away, or its fault.

    A reward that fails on one odd text costs that trajectory; a step of nothing else ends the training (see `sync`).
    """
    try:
        reward = await patiently(score)
    except InfraError as error:
        return {}, str(error), None
    except FlywheelError:
        raise
    except Exception as error:
        return {}, None, _said("the reward", error)
    return reward, None, fault_of(reward)


def spoken(episode: Episode, text: str, cut: bool) -> Episode:
    """The episode after the agent's turn; the given one stays as it was, so that an outage leaves nothing half done.

    Raises Unplayable where the text itself breaks the environment or its parser: that costs one trajectory.
    """
    after = episode.fork()
    try:
        after.agent_says(text, cut)
    except FlywheelError:
        raise
    except Exception as error:
        raise Unplayable(_said("the environment", error)) from error
    return after


def _said(who: str, error: Exception) -> str:
    return f"{who} raised {type(error).__name__}: {error}"[:256]


def reward_info(row: Row, episode: Episode | None, turns: int) -> dict[str, Any]:
    """`extra_info` of verl's reward interface: the row's own, with the episode and, as plain JSON, its task."""
    own = dict(row.raw.get("extra_info") or {})
    if episode is None:
        return own | {"num_turns": turns}
    task = json.loads(row.prompt.extra_info.task)
    shown = {"task": task, "env": episode.env, "messages": episode.messages, "episode": episode}
    return own | shown | {"num_turns": turns}


def record(row: Row, sampled: Sampled) -> None:
    """Appends a trajectory to `$FLYWHEEL_ROLLOUTS/step-<n>/<pid>.jsonl` on this node; nothing when that is unset.

    Trajectories of verl's own validation go to `validation-<n>/`: they are no part of the curve or of the next round.
    A record is a by-product: one that cannot be written is counted as unreadable later, and never ends the training.
    """
    root = os.environ.get(ROLLOUTS_ENV)
    if not root:
        return
    validation = row.prompt.extra_info.split in VALIDATION_SPLITS
    folder = Path(root) / f"{'validation' if validation else 'step'}-{row.step}"
    try:
        line = line_of(describe(row, sampled))
    except Exception as error:
        line = json.dumps({"lost": f"{type(error).__name__}: {error}"}).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{os.getpid()}.jsonl").open("ab") as stream:
            stream.write(line + b"\n")
    except OSError as error:
        log.warning("a trajectory was not recorded", step=row.step, error=str(error))


def line_of(trajectory: Trajectory) -> bytes:
    """The record as one line of JSON, without its end. Messages of foreign rows may hold values that JSON lacks."""
    try:
        return trajectory.model_dump_json(by_alias=True, exclude_none=True, fallback=str).encode()
    except PydanticSerializationError:  # half of a surrogate pair, which UTF-8 cannot hold
        plain = trajectory.model_dump(by_alias=True, exclude_none=True)
        return json.dumps(plain, ensure_ascii=False, default=str).encode("utf-8", "replace")


def describe(row: Row, sampled: Sampled) -> Trajectory:
    """The record: whose trajectory it is, what was said and done, how it was scored."""
    prompt, task, episode = row.prompt, sampled.task, sampled.episode
    item = task.id if task is not None else prompt.item
    parts = {name: value for name, value in sampled.reward.items() if name != "score" and _finite(value)}
    correct = parts.pop("correct", None)
    return Trajectory(
        id=f"{row.uid}-{row.session}",
        lineage=_lineage(prompt, task, item),
        track=Track.REASONING if task is None else Track.AGENTIC,
        item=item,
        attempt=row.session,
        step=row.step,
        messages=_messages(prompt, sampled),
        calls=[call.dump() for call in episode.env.log] if episode else [],
        closed=(episode.env.closed or "") if episode else "",
        score=None if sampled.masked else sampled.score,
        outage=sampled.outage,
        unscored=sampled.fault,
        cut=sampled.cut,
        correct=None if correct is None else bool(correct),
        outcome=str(sampled.reward.get("outcome") or (task.outcome if task is not None else "")),
        details={name: float(value) for name, value in parts.items()},
        reason=str(sampled.reward.get("reason") or ""),
        turns=sampled.turns,
        response_tokens=sampled.response_tokens,
        truth=(prompt.reward_model.ground_truth or None) if task is None else None,
        task=task,
        problem=prompt.problem if task is None else None,
    )


def _lineage(prompt: Prompt, task: Task | None, item: str) -> Lineage:
    info = prompt.extra_info
    return Lineage(
        parent_ids=[item],
        round=info.round,
        operator=TRAINING_ROLLOUT,
        root_id=info.root_id or None,
        persona_id=info.persona_id,
        template=info.template,
        branch_path=task.lineage.branch_path if task is not None else [],
        standin=task.lineage.standin if task is not None else False,
    )


def _messages(prompt: Prompt, sampled: Sampled) -> list[dict[str, Any]]:
    if sampled.episode is not None:
        return sampled.episode.messages
    asked = [{"role": m.get("role"), "content": m.get("content")} for m in prompt.prompt]
    return [*asked, {"role": "assistant", "content": sampled.text}]


def _finite(value: Any) -> bool:
    return isinstance(value, bool | int | float) and math.isfinite(value)
