"""The stages on a real llama.cpp server: another server than vLLM, a real small model, nothing scripted about it."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.process import die_with_parent, free_ports, wait_for
from contract import stages
from contract.models import Endpoint, serving
from contract.rounds import DEFS, Round, dropped
from flywheel_api.artifacts import Manifest
from flywheel_api.results import EvaluationResult
from flywheel_api.round import Role
from flywheel_api.stages import PIPELINE, Runs, Stage, StageConfig
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

MODEL = "smollm2"
TOKENS = 64  # of a completion of a role: the small model seldom stops by itself, and a window is 2,048
# Every stage with the fewest items that still show it. A wave of MeasureReasoning asks for twice the prompts of a
# training step that are missing, each written, voted on and sampled: with the default preset's 64 prompts it is 128
# variants of up to a window, which is what once took hours. So the preset of the small model, and a step of two.
SPEC: dict[str, Any] = {
    "reasoning": {
        "seeds": "builtin://numeracy",
        "mining": {"samples": 2, "maxProblems": 3, "maxResponseTokens": 16},
        "synthesis": {"structural": 1, "persona": 1},
        "difficulty": {"samples": 2, "prompts": 2, "waves": 1},
    },
    "agentic": {
        "personas": "builtin://personas",
        "domains": [{"name": "booking"}],
        "branchesPerTree": 2,
        "maxTasks": 3,
        "solver": {"attempts": 1, "maxTurns": 3},
        "difficulty": {"low": "0.0", "high": "1.0", "samples": 1},
    },
    "training": {
        "preset": "smollm2-135m-cpu",
        "reasoning": {"algorithm": {"promptsPerStep": 2, "miniBatchPrompts": 2}},
    },
    "evaluation": {
        "suites": [
            {"name": "numeracy-heldout", "items": 3, "repeats": 2},
            {"name": "booking-heldout", "items": 2, "repeats": 2},
        ]
    },
}
LAST = Stage.SOLVE_AGENTIC


class LlamaRound(Round):
    """A round whose `asked` roles are played by the llama.cpp server, the others by the stand-in."""

    def __init__(self, url: str, asked: set[Role], standin: Endpoint) -> None:
        super().__init__(Store(MemoryBucket()), standin, stages.round_spec(**SPEC))
        self.url, self.asked = url, asked

    def config(self, stage: Stage, **more: Any) -> StageConfig:
        """The stage's configuration with those roles at the server; what is not named falls back to the teacher."""
        hands = {"handshake": True} if stage is Stage.PREPARE else {}
        whole = super().config(stage, **hands, **more)
        there = {"url": self.url, "model": MODEL, "concurrency": 4, "timeout_seconds": 120.0, "max_tokens": TOKENS}
        endpoints = {e.role: e for e in whole.endpoints}
        for role in self.asked:
            like = endpoints.get(role, endpoints[Role.TEACHER])
            endpoints[role] = like.model_copy(update={**there, "role": role})
        return whole.model_copy(update={"endpoints": list(endpoints.values())})

    def run_all(self) -> dict[Stage, Manifest]:
        """Every stage from Prepare to SolveAgentic, the evaluation of the base included."""
        for one in PIPELINE:
            if one.runs is Runs.JOB and one.stage is not Stage.IMPORT_MODEL:
                made = self.run(one.stage)
                print(f"{one.stage}: in {made.counts.in_}, out {made.counts.out}, dropped {dropped(made)}")
            if one.stage is LAST:
                break
        return self.done


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = os.environ.get("LLAMA_CPP_PYTHON")
    if not python:
        pytest.skip("LLAMA_CPP_PYTHON names no environment with llama.cpp: `make e2e` makes one")
    port = free_ports(1)[0]
    log = tmp_path_factory.mktemp("llama") / "server.log"
    with log.open("wb") as out:
        command = [python, str(Path(__file__).with_name("llama_server.py")), str(port)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, preexec_fn=die_with_parent)
    try:
        wait_for("llama.cpp", lambda: _answers(port, server, log), 300)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait()


def _answers(port: int, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, log.read_text()[-2000:]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "asked",
    [{Role.POLICY}, {Role.POLICY, Role.SOLVER, Role.USER_SIMULATOR}, {Role.POLICY, Role.TEACHER}],
    ids=["policy", "all but the teacher", "every role"],
)
def test_stages_on_a_real_server(llama: str, asked: set[Role]) -> None:
    """A 135M model is no teacher: with it in every role the data may run dry, which is counted and no failure.

    So the solver's votes and episodes are seen where a script writes the problems. A case is at most some 100
    completions of 64 tokens: two to five minutes at the 25 to 50 tokens a second of two quiet cores.
    """
    with serving() as standin:
        done = LlamaRound(llama, asked, standin).run_all()
    for stage, manifest in done.items():
        counts = manifest.counts
        assert counts.in_ == counts.out + sum(d.count for d in counts.dropped), stage
        for use in manifest.usage.roles:
            assert use.calls > 0 and use.prompt_tokens > 0 and use.completion_tokens > 0, (stage, use)
        assert DEFS[stage].stage.value == manifest.stage
    base, mined = done[Stage.EVALUATE_BASE], done[Stage.MINE_REASONING]
    assert isinstance(base.result, EvaluationResult)
    assert {s.owned_by for m in (base, mined) for s in m.served_by} == {"llamacpp"}
    assert mined.counts.in_ == 3
    used = {use.role for manifest in done.values() for use in manifest.usage.roles}
    assert used >= asked - {Role.USER_SIMULATOR}, "whom a solver need not speak to"
    if Role.TEACHER in asked:
        assert not any(m.standin for m in done.values()), "nothing is scripted here"
    elif asked == {Role.POLICY}:
        assert done[LAST].counts.out > 0
    sys.stdout.flush()
