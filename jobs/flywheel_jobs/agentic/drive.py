"""Runs an episode between endpoints: one model plays the agent, another, where the task needs it, the user.

An outage is a typed error that passes through (law 6); the stage journals what was finished and tries again.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import Lineage, record_id
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Track
from flywheel_api.round import Role
from flywheel_jobs.agentic import prompt
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.agentic.right import Right
from flywheel_jobs.agentic.score import score
from flywheel_jobs.endpoints.llm import CUT, ChatClient
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.reading.calls import parse

USER = (
    "Play the customer described in the input, in the tone that it names; agent_said is what the agent last said to "
    "you. Tell facts only when asked for them; say yes to what you wished for. When a wish is settled or refused, go "
    "on with what stands under later, in its order. When refused, insist as often as pushes says, with what stands "
    "under claims, then give up. Never make up a fact: what the input does not hold you do not know. Answer JSON: "
    "reply (one or two sentences) and stop (true when everything is settled or you give up)."
)


class Reply(BaseModel):
    """What the simulated user says."""

    model_config = ConfigDict(extra="forbid")
    reply: Annotated[str, Field(max_length=1000)]
    stop: bool = False


async def run(
    task: Task,
    right: Right,
    agent: ChatClient,
    user: ChatClient | None = None,
    max_turns: int | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
) -> Episode:
    """One episode to its end. Turns and tokens a turn are those of the domain's prompt unless given.

    Without a model for the user a program plays them (`user`).
    """
    limits = prompt.limits(right.domain)
    max_tokens = limits.tokens if max_tokens is None else max_tokens
    episode = Episode(task, right, max_turns=max_turns or limits.turns)
    tools = prompt.schemas(right.domain)
    about = {"package": task.package, "case": json.dumps(task.case)}
    while not episode.done:
        if episode.wants_user:
            if user is None:
                reply = episode.scripted()
                episode.user_says(reply.text, stop=reply.stop)
                continue
            answer = await ask(user, messages_for(USER, _scene(task, episode)), Reply, "reply")
            episode.user_says(answer.reply, stop=answer.stop)
            continue
        turn_seed = None if seed is None else (seed + 7919 * episode.agent_turns) % (1 << 31)
        result = await agent.chat(
            episode.messages, temperature=temperature, max_tokens=max_tokens, seed=turn_seed, tools=tools, about=about
        )
        episode.agent_says(str(result.texts[0]), cut=result.finish_reasons[0] in CUT)
    return episode


def _scene(task: Task, episode: Episode) -> dict[str, object]:
    said = [parse(m["content"]).text for m in episode.said if m["role"] in ("assistant", "user")]  # never thought
    return {
        "ask": "user",
        **task.user.dump(),
        "turn": episode.asked + 1,
        "told": episode.told,
        "heard": episode.heard,
        "agent_said": said[-1] if said else "",
        "writes_done": episode.env.writes_done(),
    }


def trajectory(task: Task, episode: Episode, role: Role, attempt: int, lineage: Lineage) -> Trajectory:
    """The record of an episode, scored as training scores it."""
    scored = score(episode)
    return Trajectory(
        id=record_id("trajectory", task.id, role, attempt, episode.said),
        lineage=lineage,
        track=Track.AGENTIC,
        item=task.id,
        role=role,
        attempt=attempt,
        messages=episode.messages,
        calls=episode.env.log,
        closed=episode.env.closed or "",
        score=scored.score,
        outcome=task.outcome,
        details=scored.facts,
        reason=scored.reason,
    )


def end_group(t: Trajectory) -> str:
    """How an episode ended, in the words by which expansion groups what the policy did."""
    if t.success:
        return "success"
    if any(c.status in ("refused", "bad-arguments", "unknown-tool") for c in t.calls):
        return "tool-error"
    return t.reason or "other"
