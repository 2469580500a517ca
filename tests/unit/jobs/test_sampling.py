"""The policy is sampled alike wherever it is sampled: each stage asks the same, and training is set the same."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.content import ROLES
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec, Role
from flywheel_api.sampling import NEUTRAL
from flywheel_api.stages import ResolvedEndpoint, Stage
from flywheel_api.verl.settings import RunPaths, settings
from flywheel_api.verl_keys import KEYS
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_operator.plan import graph
from flywheel_operator.render.round import endpoints
from flywheel_operator.settings import OperatorConfig
from golden import ROUNDS, load
from unit.jobs.virtual import ASK, Wire, ok, run

ASKED = [stage for stage, roles in ROLES.items() if Role.POLICY in roles]


def resolved(example: str, stage: Stage) -> dict[Role, ResolvedEndpoint]:
    meta, body = load(example)
    spec = FlywheelRoundSpec.model_validate(body)
    return {e.role: e for e in endpoints(OperatorConfig(), meta, spec, graph.stages_of(spec, []), stage)}


def request(endpoint: ResolvedEndpoint, **ask: Any) -> dict[str, Any]:
    """What is said of sampling in a request to that endpoint."""
    wire = Wire(lambda body, number: ok())

    async def work() -> None:
        client = ChatClient(endpoint, transport=wire)
        await client.chat(ASK, **ask)
        await client.aclose()

    run(work())
    other = ("model", "messages", "max_tokens", "temperature")
    return {name: value for name, value in wire.bodies[0].items() if name not in other}


@pytest.mark.parametrize("example", ROUNDS)
def test_every_stage_samples_the_policy_alike_and_as_training_does(example: str) -> None:
    """vLLM filled what a request left open from the checkpoint's generation_config.json (NeMo-RL, verl)."""
    assert len(ASKED) == 6
    said = [request(resolved(example, stage)[Role.POLICY], temperature=0.3) for stage in ASKED]
    assert all(one == {"top_p": 1.0, **NEUTRAL} for one in said)
    paths = RunPaths("/m", ("/d",), ("/v",), "/c", "/r", "/l")
    spec = RLJobSpec.model_validate({"model": "hf://a/b", "data": {"train": ["sha256:" + "a" * 64]}, "reward": {}})
    trained = settings(spec, paths, "job", "team")
    rollout = "actor_rollout_ref.rollout"
    known = {name.removeprefix(f"{rollout}.") for name in KEYS.keys if name.startswith(f"{rollout}.")}
    for name, value in said[0].items():
        if name in known:
            assert trained[f"{rollout}.{name}"] == value, name
    assert {"top_p", "top_k"} <= known


def test_vendors_are_not_told_what_they_do_not_know() -> None:
    for stage in ROLES:
        for role, endpoint in resolved("round-8b", stage).items():
            assert (request(endpoint) == {"top_p": 1.0}) is (role is not Role.POLICY), (stage, role)
