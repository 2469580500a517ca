"""What a chat request says, and how it asks for less where a server cannot do everything. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flywheel_api.common import Dialect
from flywheel_jobs.endpoints.dialect import render, tools_of
from flywheel_jobs.endpoints.purse import most_tokens, prompt_tokens
from flywheel_jobs.endpoints.verdicts import Outcome
from flywheel_jobs.endpoints.wire import Read, without_echo

Message = Mapping[str, object]
SCHEMA, N, SEED = "response_format", "n", "seed"
_ROLES = r"\btool|\brole|template|alternat|messages"
_NAMES = {
    SCHEMA: r"response_format|schema|grammar|json",
    N: r"\bn\b|choices|samples",
    SEED: r"seed",
    Dialect.USER_TURNS.value: _ROLES,
    Dialect.TOOLS.value: _ROLES,
}
"""What can be left out or said otherwise, in the order of trying, and the words by which errors name it."""
LIMIT, LIMIT_TOO = "max_tokens", "max_completion_tokens"
TOP_P, TEMPERATURE = "top_p", "temperature"
SAMPLING = frozenset({TOP_P, TEMPERATURE})
_TAKES_NO = {
    LIMIT: r"max_completion_tokens|max_tokens.{0,40}(unsupported|not supported)",
    TOP_P: r"(?=.*top_p)(?=.*(unsupported|n.t supported?|deprecated|cannot both))",  # the one of two that may go
    TEMPERATURE: r"(?=.*temperature)(?=.*(unsupported|n.t supported?|deprecated))",
}
"""What is left out only where a server says that it takes none: models that think have a limit of another name and
sample as they will. A value that it does not take ("must be at most 1.5") is a mistake of the spec, and stays one."""


@dataclass
class Learnt:
    """What this role's server turned out not to do; found by asking once without."""

    dialect: Dialect = Dialect.AUTO
    single: bool = False
    no_seed: bool = False
    no_schema: set[str] = field(default_factory=set)
    takes_no: set[str] = field(default_factory=set)

    def take(self, ask: Ask, without: frozenset[str], fewer: bool) -> list[str]:
        """Notes what an answered request was without, or that it gave fewer choices; what of it is new."""
        new = []
        if (N in without or fewer) and not self.single:
            self.single = True
            new.append(N)
        if SEED in without and not self.no_seed:
            self.no_seed = True
            new.append(SEED)
        if SCHEMA in without and ask.title not in self.no_schema:
            self.no_schema.add(ask.title)
            new.append(SCHEMA)
        told = sorted(without & _TAKES_NO.keys() - self.takes_no)
        self.takes_no.update(told)
        new += told
        other = _dialect(without)
        if other is not None and self.dialect is Dialect.AUTO:
            self.dialect = other
            new.append(Dialect.TEXT)
        return new


@dataclass(frozen=True)
class Ask:
    """One logical request."""

    model: str
    messages: tuple[Message, ...]
    temperature: float
    top_p: float
    max_tokens: int
    schema: Mapping[str, object] | None = None
    written: Mapping[str, object] = field(default_factory=dict)  # what else is said, of sampling and by the spec
    tools: tuple[Mapping[str, object], ...] = ()  # said in the dialect Tools only: the prompt has them, too
    metadata: Mapping[str, str] | None = None

    @property
    def title(self) -> str:
        """The schema's name."""
        return str((self.schema or {}).get("title", "answer"))

    def body(
        self, count: int, seed: int | None, learnt: Learnt, without: frozenset[str] = frozenset()
    ) -> dict[str, object]:
        """The request's body."""
        without = without | learnt.takes_no
        dialect = _dialect(without) or learnt.dialect
        body: dict[str, object] = {
            "model": self.model,
            "messages": render(self.messages, dialect),
            TEMPERATURE: self.temperature,
            TOP_P: self.top_p,
            LIMIT_TOO if LIMIT in without else LIMIT: self.max_tokens,
            **self.written,
        }
        if dialect is Dialect.TOOLS and self.talks_of_tools:
            body["tools"] = list(self.tools) or tools_of(self.messages)
        if self.metadata is not None:
            body["metadata"] = dict(self.metadata)
        if count > 1:
            body[N] = count
        if seed is not None and not learnt.no_seed:
            body[SEED] = seed
        if self.schema is not None and self.title not in learnt.no_schema:
            form = {"name": "answer", "schema": dict(self.schema), "strict": strict(self.schema)}
            body[SCHEMA] = {"type": "json_schema", "json_schema": form}
        return {k: v for k, v in body.items() if k not in without}

    @property
    def talks_of_tools(self) -> bool:
        """Whether the conversation has results of tools, which servers take in different ways."""
        return any(message.get("role") == "tool" for message in self.messages)

    def parts(self, body: Mapping[str, object], learnt: Learnt) -> list[str]:
        """What can be left out of a body or said otherwise."""
        dialects = [Dialect.USER_TURNS.value, Dialect.TOOLS.value]
        open_ = learnt.dialect is Dialect.AUTO and self.talks_of_tools
        return [name for name in (SCHEMA, N, SEED) if name in body] + (dialects if open_ else [])

    def reserve(self, count: int) -> int:
        """Tokens that this can cost at most."""
        return most_tokens(self.messages) + count * self.max_tokens

    @staticmethod
    def prompt(body: Mapping[str, object]) -> int:
        """Tokens of a body's prompt, estimated."""
        messages = body["messages"]
        return prompt_tokens(messages) if isinstance(messages, list) else 0


@dataclass
class Less:
    """How one request asks for less: which parts it leaves out now, and which it has tried.

    `own_sampling`: a policy's samples are what is trained on and measured, so it is never asked to sample as it will.
    """

    there: list[str]
    own_sampling: bool = False
    without: frozenset[str] = frozenset()
    tried: list[frozenset[str]] = field(default_factory=list)
    sure: bool = False  # the server refused: an answer without a part says that it cannot do the part
    takes_no: frozenset[str] = frozenset()  # what it said so of: left out of each further try

    def again(self, read: Read, failures: int) -> bool:
        """Whether to ask at once with less. Not when the parts cannot be the reason, or all was tried."""
        said = without_echo(read.said).lower()
        named = any(re.search(_NAMES[name], said) for name in self.there)
        refused = read.outcome is Outcome.ITEM_REFUSED and read.row.word == "request-refused"
        refused = refused or read.said.startswith("HTTP 501")
        if refused and self._told(said):
            self.sure = True
            return True
        if not refused and not (read.said.startswith("HTTP 500") and failures):
            return False
        fewer = next((one for one in self._steps(said) if one not in self.tried), None)
        if fewer is None:
            return False
        self.sure = refused or named
        self.without = fewer | self.takes_no
        self.tried.append(fewer)
        return True

    def _told(self, said: str) -> bool:
        """Whether the server says of something more that it takes none."""
        fixed = SAMPLING if self.own_sampling else frozenset[str]()
        new = {name for name in _TAKES_NO.keys() - self.takes_no - fixed if re.search(_TAKES_NO[name], said)}
        self.takes_no |= new
        self.without |= new
        return bool(new)

    def _steps(self, said: str) -> Iterator[frozenset[str]]:
        named = [name for name in self.there if re.search(_NAMES[name], said)]
        yield from (frozenset({name}) for name in dict.fromkeys([*named, *self.there]))
        if self.there:
            yield frozenset(self.there)


def _dialect(without: frozenset[str]) -> Dialect | None:
    return next((d for d in (Dialect.USER_TURNS, Dialect.TOOLS) if d.value in without), None)


def strict(schema: object) -> bool:
    """Whether OpenAI's strict mode takes a schema: closed objects, all fields required, no defaults."""
    if isinstance(schema, list):
        return all(strict(one) for one in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object":
        fields: Mapping[str, Any] = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(fields):
            return False
    return "default" not in schema and all(strict(value) for value in schema.values())
