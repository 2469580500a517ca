"""verl agent loops: one stateful environment per trajectory, scored in place, outages masked.

verl makes a new loop object for every trajectory, so an environment is simply an attribute of it. Differences from verl's
stock `tool_agent`: tools come from the row's task, not from a file shared by all rows; state lives as long as the
trajectory; the call of the last permitted turn is carried out (its effect counts, its answer is not shown); an outage
(InfraError) of a tool or reward is retried, then masks the trajectory and never becomes reward 0 or training text (law 6).
"""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.experimental.agent_loop.tool_agent_loop import AgentData, AgentState, FunctionCall, ToolAgentLoop
from verl.tools.schemas import ToolResponse
from verl.trainer.ppo.reward import get_custom_reward_fn

from flywheel_jobs.envs import make_env
from flywheel_jobs.errors import InfraError
from flywheel_jobs.trainer import episode


class ScoredLoop(AgentLoopBase):  # type: ignore[misc]
    """What both loops share: the reward in place, masking, and the record of the trajectory."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reward = get_custom_reward_fn(self.config)

    async def finish(
        self, output: AgentLoopOutput, row: dict[str, Any], context: dict[str, Any], outage: str | None
    ) -> AgentLoopOutput:
        """Scores a trajectory, or masks it because of an outage here or before; writes its record."""
        result: dict[str, Any] = {}
        if outage is None:
            try:
                result = await episode.patiently(lambda: self._score(output, row, context))
            except InfraError as error:
                outage = str(error)
        score = float(result.get("score", 0.0))
        if outage is not None:
            output.response_mask = [0] * len(output.response_mask)
        output.reward_score = score
        output.extra_fields["reward_extra_info"] = {"score": score, "masked": float(outage is not None)}
        text = self.tokenizer.decode(output.response_ids, skip_special_tokens=True)
        episode.record(row, context, output, {**result, "score": score, "response": text, "outage": outage})
        return output

    async def _score(self, output: AgentLoopOutput, row: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        if self._reward is None:
            raise ValueError("no reward function is configured: set reward.custom_reward_function.path and .name")
        text = await self.loop.run_in_executor(
            None, lambda: self.tokenizer.decode(output.response_ids, skip_special_tokens=True)
        )
        info = {**dict(row.get("extra_info") or {}), **context, "num_turns": output.num_turns}
        result = self._reward(
            data_source=row["data_source"],
            solution_str=text,
            ground_truth=dict(row["reward_model"])["ground_truth"],
            extra_info=info,
        )
        result = await result if inspect.isawaitable(result) else result
        return dict(result) if isinstance(result, dict) else {"score": float(result)}

    def stillborn(self, prompt_ids: list[int], row: dict[str, Any]) -> AgentLoopOutput:
        """A trajectory that never began: one masked token, so that shapes stay as verl expects."""
        step = int(row.get("global_steps", 1)) - 1
        end = self.tokenizer.eos_token_id or 0
        return AgentLoopOutput(
            prompt_ids=prompt_ids or [end],
            response_ids=[end],
            response_mask=[0],
            response_logprobs=[0.0],
            num_turns=1,
            metrics=AgentLoopMetrics(),
            extra_fields={"min_global_steps": step, "max_global_steps": step, "turn_scores": [], "tool_rewards": []},
        )


class SingleTurnLoop(ScoredLoop, SingleTurnAgentLoop):  # type: ignore[misc]
    """One prompt, one answer, scored in place."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """One trajectory of a row."""
        output = await SingleTurnAgentLoop.run(self, sampling_params, priority=priority, **row)
        return await self.finish(output, row, {}, None)


class ToolLoop(ScoredLoop, ToolAgentLoop):  # type: ignore[misc]
    """Tool calls against the state machine of the row's task (`extra_info.task`, a JSON string)."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **row: Any) -> AgentLoopOutput:
        """One trajectory of a row."""
        self._outage: str | None = None
        self._messages: list[dict[str, Any]] = []
        self.task = episode.parse_task(row)
        try:
            self.env = await episode.patiently(lambda: asyncio.to_thread(make_env, self.task))
        except InfraError as error:
            prompt = await self.ct_build_initial_tokens(list(row["raw_prompt"]), tools=self.task.get("tools"))
            return await self.finish(self.stillborn(prompt, row), row, {}, str(error))
        self.tool_schemas = list(self.env.tools)
        output = await ToolAgentLoop.run(self, sampling_params, priority=priority, **row)
        context = {"task": self.task, "env": self.env, "messages": self._messages}
        return await self.finish(output, row, context, self._outage)

    async def _handle_pending_state(self, agent_data: AgentData, sampling_params: dict[str, Any]) -> AgentState:
        self._messages = agent_data.messages
        return await super()._handle_pending_state(agent_data, sampling_params)

    async def _handle_generating_state(
        self, agent_data: AgentData, sampling_params: dict[str, Any], ignore_termination: bool = False
    ) -> AgentState:
        """As verl's, which leaves at the last permitted turn before it looks for calls: that turn's call still takes effect."""
        agent_data.tool_calls = []
        known = len(agent_data.messages)
        state = await super()._handle_generating_state(agent_data, sampling_params, ignore_termination)
        if state is AgentState.TERMINATED and len(agent_data.messages) == known:
            content, calls = await self.tool_parser.extract_tool_calls(agent_data.response_ids, [])
            agent_data.tool_calls = calls
            agent_data.messages.append(self._build_assistant_message(content, agent_data))
            for call in calls[: self.max_parallel_calls]:
                await self._call_tool(call, {}, agent_data)
        return state

    async def _handle_processing_tools_state(self, agent_data: AgentData) -> AgentState:
        state = await super()._handle_processing_tools_state(agent_data)
        return AgentState.TERMINATED if self._outage is not None else state

    async def _call_tool(
        self, tool_call: FunctionCall, tools_kwargs: dict[str, Any], agent_data: AgentData
    ) -> tuple[ToolResponse, float | None, dict[str, Any]]:
        """A call on this trajectory's environment. Bad arguments and unknown names are the environment's to answer."""
        try:
            arguments = json.loads(tool_call.arguments)
        except json.JSONDecodeError as error:
            return ToolResponse(text=f"error: arguments are not JSON: {error}"), None, {}
        try:
            text = await episode.patiently(lambda: asyncio.to_thread(self.env.call, tool_call.name, arguments))
        except InfraError as error:
            self._outage = str(error)
            return ToolResponse(text=""), None, {}
        return ToolResponse(text=episode.capped(str(text), self.max_tool_response_length)), None, {}
