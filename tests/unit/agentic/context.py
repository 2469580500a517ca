"""A stage's context without servers and without a store: what tests of single stages of the agentic track share."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from flywheel_api.artifacts import ServedBy
from flywheel_api.common import DomainPin
from flywheel_api.records.reasoning import Persona
from flywheel_api.results import PreparedResult, SuiteInfo, Track
from flywheel_api.round import AgenticSpec, FlywheelRoundSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.endpoints.llm import ChatResult
from unit.agentic.world import ANN, PACKAGE

PEOPLE = [ANN.model_copy(update={"id": f"persona-{n}"}) for n in range(6)]
ENDPOINTS = [
    {"role": "Teacher", "url": "http://standin:8000/v1", "model": "standin"},
    {"role": "Policy", "pool": {"gpusPerReplica": 0}},
]


def agentic(**more: Any) -> AgenticSpec:
    """A spec of the agentic track on the small table."""
    return AgenticSpec.model_validate({"personas": "builtin://personas", "domains": [{"name": "booking"}], **more})


class Says:
    """A model that answers every request with the same JSON."""

    def __init__(self, role: Role, **answer: Any) -> None:
        self.role, self.answer = role, json.dumps(answer)
        self.endpoint = SimpleNamespace(max_tokens=1024)

    async def chat(self, messages: Sequence[Any], **options: Any) -> ChatResult:
        """The answer."""
        return ChatResult(texts=[self.answer], finish_reasons=["stop"])

    async def identify(self) -> ServedBy:
        """Who it is."""
        return ServedBy(role=self.role, model="says", standin=True)


class Context:
    """What a stage asks its context for: records of earlier stages by file, random numbers, items one by one."""

    def __init__(self, spec: AgenticSpec, records: Mapping[str, Sequence[Any]], suites: Sequence[str] = ()) -> None:
        self.agentic, self.files, self.dropped = spec, records, Counter[str]()
        infos = [SuiteInfo(name=name, track=Track.AGENTIC, items=1) for name in suites]
        self.prepared = PreparedResult(suites=infos, domains=[DomainPin(name="booking", digest=PACKAGE)])
        self.config = SimpleNamespace(previous_rollouts=["sha256:r"], owner=SimpleNamespace(name="r2"))
        self.spec = FlywheelRoundSpec.model_validate(
            {
                "campaign": "demo",
                "base": {"model": "s3://b/m"},
                "endpoints": ENDPOINTS,
                "agentic": spec.model_dump(by_alias=True, exclude_none=True),
                "training": {"preset": "smollm2-135m-cpu"},
                "evaluation": {"suites": [{"name": "booking-heldout"}]},
            }
        )
        self.store = None
        self.models: dict[Role, Any] = {}

    def records(self, stage: Stage, path: str, kind: type[Any]) -> list[Any]:
        """Records of an earlier stage, by file."""
        return list(self.files.get(path, PEOPLE if kind is Persona else ()))

    def result(self, stage: Stage, kind: type[Any]) -> PreparedResult:
        """The only result that is asked for."""
        return self.prepared

    def rng(self, *names: str) -> random.Random:
        """Random numbers by name."""
        return random.Random("/".join(names))

    def seed(self, *parts: object) -> int:
        """A number; any will do."""
        return len(str(parts))

    def llm(self, role: Role) -> Any:
        """The model that plays a role."""
        return self.models.get(role) or Says(role)

    def counts(self, made: int, dropped: Any = None) -> dict[str, int]:
        """What was made and dropped."""
        return {"out": made, **(dropped or self.dropped)}

    async def map_items(
        self, items: Sequence[Any], key: Callable[[Any], str], do: Callable[[Any], Awaitable[Any]], *_: Any
    ) -> dict[str, Any]:
        """One item after the other."""
        return {key(item): await do(item) for item in items}
