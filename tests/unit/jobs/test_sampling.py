"""The policy is sampled alike wherever it is sampled: each stage asks the same, and training is set the same."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.content import ROLES
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec, Role
from flywheel_api.sampling import NEUTRAL, ONE_BY_ONE
from flywheel_api.stages import ResolvedEndpoint, Stage
from flywheel_api.verl.settings import RunPaths, settings
from flywheel_api.verl_keys import KEYS
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.samples import OPEN
from flywheel_jobs.endpoints.wire import Reply
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


def test_the_spec_s_own_keys_go_with_every_request_of_the_role() -> None:
    """With the probes as well: a server that wants a key refuses a probe without, and would seem to be away."""
    told = resolved("round-8b", Stage.MINE_REASONING)[Role.POLICY]
    quiet = {"chat_template_kwargs": {"enable_thinking": False}}
    endpoint = told.model_copy(update={"written": {**told.written, **quiet}})
    assert request(endpoint) == {"top_p": 1.0, **NEUTRAL, **quiet}

    def play(body: Any, number: int) -> Any:
        if body["messages"] != ASK:
            return ok(f"answer {number}", id="")
        return Reply(500) if number < 20 else ok(id="")

    wire = Wire(play)

    async def work() -> None:
        client = ChatClient(endpoint, transport=wire)
        await client.chat(ASK, n=3, temperature=1.0)
        await client.aclose()

    run(work())
    ours = [body for body in wire.bodies if body["messages"] != ASK]
    asked = " ".join(str(body["messages"]) for body in ours)
    assert "Say " in asked and OPEN in asked  # probes of an outage, and the look at answers that are all alike
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in wire.bodies)


@pytest.mark.parametrize(
    ("role", "tokens", "requests"),
    [(Role.POLICY, ONE_BY_ONE, 1), (Role.POLICY, ONE_BY_ONE + 1, 4), (Role.TEACHER, 8192, 1)],
)
def test_long_samples_of_the_policy_are_requests_of_their_own(role: Role, tokens: int, requests: int) -> None:
    """Eight answers of 8,192 tokens in one request took ten times the time-out, and one that was late cost all."""
    wire = Wire(lambda body, number: ok(*["hi"] * body.get("n", 1)))
    endpoint = ResolvedEndpoint(role=role, url="http://x/v1", model="m", max_tokens=tokens)

    async def work() -> None:
        client = ChatClient(endpoint, transport=wire)
        assert len((await client.chat(ASK, n=4, seed=1)).texts) == 4
        await client.aclose()

    run(work())
    assert len(wire.bodies) == requests
    assert len({body["seed"] for body in wire.bodies}) == requests
