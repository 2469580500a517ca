"""One conversation between an agent, a user and an environment; training, solving and evaluation follow these rules.

A turn with a tool call is carried out (the first call only; a turn is one action) and answered by role `tool`. A turn
without one speaks to the user. Whoever plays the user, the environment closes the conversation: when the request is
settled by its writes or handed over, when the user has nothing to add, at the turn limit, when a call cannot be read,
or when the agent was cut off.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from flywheel_api.records.agentic import Task
from flywheel_domains.consent import agrees
from flywheel_domains.session import Session
from flywheel_jobs.agentic.environment import Env
from flywheel_jobs.agentic.right import Right
from flywheel_jobs.agentic.user import Reply, reply, told_in
from flywheel_jobs.reading.calls import parse

Message = dict[str, Any]
TOOL_RESPONSE_LIMIT = 4096  # characters; the released code's cap, cut in the middle


@dataclass
class Episode:
    """A running conversation. `wants_user` is set when the agent has spoken to a user who may still answer."""

    task: Task
    right: Right
    max_turns: int = 3
    env: Env = field(init=False)
    messages: list[Message] = field(init=False)
    agent_turns: int = 0
    asked: int = 0
    told: int = 0
    heard: list[str] = field(default_factory=list)
    wants_user: bool = False

    def __post_init__(self) -> None:
        session = Session(caller=self.right.case.caller)
        self.env = Env(self.right.domain, self.right.start, session, settle_after=self.task.settle_after)
        self.messages = copy.deepcopy(self.task.messages)

    @property
    def done(self) -> bool:
        """True once the environment has closed the conversation."""
        return self.env.closed is not None

    @property
    def said(self) -> list[Message]:
        """Messages after the task's prompt."""
        return self.messages[len(self.task.messages) :]

    def fork(self) -> Episode:
        """A copy that goes its own way."""
        other = copy.copy(self)
        other.env, other.messages, other.heard = self.env.fork(), list(self.messages), list(self.heard)
        return other

    def agent_says(self, text: str, cut: bool = False) -> None:
        """Takes an agent's turn; `cut` says that it ran into its token limit. Raises ValueError after the end."""
        if self.done or self.wants_user:
            raise ValueError("it is not the agent's turn")
        self.agent_turns += 1
        self.messages.append({"role": "assistant", "content": text})
        turn = parse(text)  # thought is not carried out
        calls = turn.calls
        if cut and not calls:
            self.env.end("length")
        elif turn.broken:
            # no answer to the user: counted as one, a garbled write would pass for a refusal and be reinforced
            self.env.end("malformed")
        elif calls:
            answer = self.env.call(calls[0].name, calls[0].arguments)
            if not self.done:
                self.messages.append({"role": "tool", "content": capped(answer)})
        else:
            self._speaks(turn.text)
        if not self.wants_user:
            self._ends_at_limit()

    def _ends_at_limit(self) -> None:
        """Ends what the agent has no turn left for. A user answers its last one: they may have nothing to add."""
        if not self.done and self.agent_turns >= self.max_turns:
            self.env.end("turn-limit")

    def _speaks(self, text: str) -> None:
        self.env.says(text)
        if self.asked < self.task.user.replies:
            self.wants_user = True
        else:
            self.env.end("answered")

    def scripted(self) -> Reply:
        """What the user says if a program plays them."""
        last = parse(str(self.messages[-1]["content"])).text
        return reply(self.task.user, last, self.asked + 1, self.env.writes_done(), self.told, self.heard)

    def user_says(self, text: str, stop: bool) -> None:
        """Takes the user's reply; `stop` closes the conversation."""
        if not self.wants_user:
            raise ValueError("it is not the user's turn")
        self.wants_user = False
        self.asked += 1
        self.told += text in self.task.user.later
        slots = told_in(self.task.user, text, self.heard)
        self.heard += slots
        self.env.hears(tuple(slots), yes=agrees(text))
        self.messages.append({"role": "user", "content": text})
        self.env.next_turn()
        if stop:
            self.env.end("user-stop")
        self._ends_at_limit()


def capped(text: str) -> str:
    """A tool's answer of at most TOOL_RESPONSE_LIMIT characters, cut in the middle."""
    if len(text) <= TOOL_RESPONSE_LIMIT:
        return text
    half = TOOL_RESPONSE_LIMIT // 2
    return f"{text[:half]}...(truncated)...{text[-half:]}"
