"""verl agent loops: one stateful episode per trajectory, scored in place, outages masked.

verl makes a new loop object for every trajectory. Differences from verl's stock loops: the rules of a conversation are
those of `flywheel_jobs.agentic.episode`, which solving and evaluation follow too (a task's own tools and state machine,
one call a turn, the call of the last permitted turn still takes effect, the environment closes the conversation); the
reward is computed here, so that an outage (InfraError) can be retried and then masks the trajectory: never reward 0.
"""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.utils.profiler import simple_timer

from flywheel_api.records.agentic import Task
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.agentic.prompt import limits
from flywheel_jobs.agentic.right import right_of
from flywheel_jobs.core.errors import InfraError
from flywheel_jobs.reading.thought import opened
from flywheel_jobs.trainer import trajectory
from flywheel_jobs.trainer.trajectory import Row, Sampled

_TAIL = 32  # tokens of a prompt that show whether it leaves a thought open


class ScoredLoop(AgentLoopBase):  # type: ignore[misc]
    """What both loops share: the reward in place, masking, and the record of the trajectory."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reward = get_custom_reward_fn(self.config)
        self._limit = int(self.rollout_config.response_length)

    async def finish(
        self,
        output: AgentLoopOutput,
        row: Row,
        task: Task | None = None,
        episode: Episode | None = None,
        outage: str | None = None,
        fault: str | None = None,
    ) -> AgentLoopOutput:
        """Scores a trajectory, or masks it because of an outage or a fault, here or before; writes its record."""
        text = await self.loop.run_in_executor(None, self.decode, output.response_ids, output.prompt_ids)
        reward: dict[str, Any] = {}
        ids = output.response_ids
        cut = len(ids) >= self._limit and ids[-1] != self.tokenizer.eos_token_id
        if outage is None and fault is None:
            reward, outage, fault = await trajectory.scored(lambda: self._score(text, output, row, episode, cut))
        sampled = Sampled(output.num_turns, len(ids), text, reward, outage, task, episode, fault, cut)
        if sampled.masked:
            output.response_mask = [0] * len(output.response_mask)
        output.reward_score = sampled.score
        right = float(not sampled.masked and bool(reward.get("correct", sampled.score >= 1.0)))
        output.extra_fields["reward_extra_info"] = {
            "score": sampled.score,
            "masked": float(sampled.masked),
            "correct": right,  # what dynamic sampling goes by where the score also pays for form
        }
        trajectory.record(row, sampled)
        return output

    def decode(self, ids: list[int], prompt: list[int]) -> str:
        """Text of tokens without special ones, after the mark of a thought that the prompt (token ids) leaves open."""
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return opened(str(self.tokenizer.decode(prompt[-_TAIL:]))) + text

    async def _score(
        self, text: str, output: AgentLoopOutput, row: Row, episode: Episode | None, cut: bool
    ) -> dict[str, Any]:
        """The reward function's answer. It gets the row as verl's own reward managers hand it on, and the episode."""
        if self._reward is None:
            raise ValueError("no reward function is configured: set reward.custom_reward_function.path and .name")
        result = self._reward(
            data_source=row.raw["data_source"],
            solution_str=text,
            ground_truth=dict(row.raw["reward_model"])["ground_truth"],
            extra_info=trajectory.reward_info(row, episode, output.num_turns) | {"cut": cut},
        )
        result = await result if inspect.isawaitable(result) else result
        return dict(result) if isinstance(result, dict) else {"score": result}


class SingleTurnLoop(ScoredLoop, SingleTurnAgentLoop):  # type: ignore[misc]
    """One prompt, one answer."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """One trajectory of a row."""
        output = await SingleTurnAgentLoop.run(self, sampling_params, priority=priority, **row)
        return await self.finish(output, Row.read(row))


class ToolLoop(ScoredLoop):
    """An episode of the row's task (`extra_info.task`, a JSON string).

    Tokens of tools and users have response mask 0. The user is played by a program (`flywheel_jobs.agentic.user`).
    """

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """One trajectory of a row."""
        read = Row.read(row)
        task = trajectory.task_of(read.prompt)
        turns = int(self.rollout_config.multi_turn.max_assistant_turns)
        self.metrics: dict[str, Any] = {"num_preempted": -1}
        self.mask: list[int] = []
        self.logprobs: list[float] = []
        self.extra: dict[str, Any] = {}
        self.turns = 1
        self.ids: list[int] = []
        outage: str | None = None
        fault: str | None = None
        ended: Episode | None = None
        try:
            right = await asyncio.to_thread(right_of, trajectory.shelf(), task)
            most = min(turns, limits(right.domain).turns)  # the same as where tasks are measured and evaluated
            episode = await trajectory.patiently(lambda: asyncio.to_thread(Episode, task, right, max_turns=most))
            self.ids = await self.ct_build_initial_tokens(episode.messages)
            ended = await self._converse(episode, sampling_params, priority)
        except InfraError as error:
            outage = str(error)
        except trajectory.Unplayable as error:
            fault = str(error)
        return await self.finish(await self._output(read.step), read, task, ended, outage, fault)

    async def _converse(self, episode: Episode, sampling: dict[str, Any], priority: int) -> Episode:
        """Turns until the environment closes the episode or tokens run out; returns the episode as it ended."""
        request = uuid4().hex
        while not episode.done:
            known = len(episode.messages)
            text, cut = await self._generate(request, sampling, priority)
            turn = partial(trajectory.spoken, episode, text, cut)
            episode = await trajectory.patiently(partial(asyncio.to_thread, turn))
            if episode.wants_user:
                reply = episode.scripted()
                episode.user_says(reply.text, stop=reply.stop)
            if episode.done:
                break
            if not await self._take(episode.messages, known + 1):
                episode.env.end("length")
        return episode

    async def _generate(self, request: str, sampling: dict[str, Any], priority: int) -> tuple[str, bool]:
        """One turn of the policy: its text, and whether it was cut off before its end-of-turn token."""
        with simple_timer("generate_sequences", self.metrics):
            output = await self.server_manager.generate(
                request_id=request,
                prompt_ids=self.ids,
                sampling_params={**sampling, "max_tokens": self._limit - len(self.mask)},
                priority=int(priority),
            )
        asked = self.ids
        earliest = self.extra.get("min_global_steps")
        self.extra.update(output.extra_fields)
        if earliest is not None:
            self.extra["min_global_steps"] = earliest
        if output.num_preempted is not None:
            self.metrics["num_preempted"] = max(0, self.metrics["num_preempted"]) + output.num_preempted
        merged, self.mask, logprobs = await self.ct_merge_assistant_token(
            self.ids,
            output.token_ids,
            self.mask,
            self.logprobs if output.log_probs else None,
            assistant_logprobs=output.log_probs or None,
        )
        self.ids = merged.token_ids
        self.logprobs = logprobs or []
        self.turns += 1
        ended = bool(output.token_ids) and output.token_ids[-1] == self.tokenizer.eos_token_id
        return await self.loop.run_in_executor(None, self.decode, output.token_ids, asked), not ended

    async def _take(self, messages: list[dict[str, Any]], known: int) -> bool:
        """Appends what the environment said, masked; False (and nothing appended) when the response is full."""
        merged, mask, logprobs = await self.ct_merge_context_msg(
            messages[:known], messages, self.ids, self.mask, self.logprobs or None
        )
        if len(mask) >= self._limit:
            return False
        self.ids, self.mask, self.logprobs = merged.token_ids, mask, logprobs or []
        self.turns += 1
        return True

    async def _output(self, step: int) -> AgentLoopOutput:
        """What verl trains on. An episode that an outage ended before its first token gets one masked token."""
        if not self.mask:
            end = self.tokenizer.eos_token_id or 0
            self.ids, self.mask, self.logprobs = [*(self.ids or [end]), end], [0], [0.0]
        split = len(self.ids) - len(self.mask)
        return AgentLoopOutput(
            prompt_ids=self.ids[:split],
            response_ids=self.ids[split:][: self._limit],
            response_mask=self.mask[: self._limit],
            response_logprobs=self.logprobs[: self._limit] if self.logprobs else None,
            num_turns=self.turns,
            metrics=AgentLoopMetrics(**self.metrics),
            extra_fields={
                "min_global_steps": step - 1,  # the weights are those after the step before
                "max_global_steps": step - 1,
                **self.extra,
                "turn_scores": [],
                "tool_rewards": [],
            },
        )
