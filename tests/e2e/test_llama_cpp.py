"""The stages on a real llama.cpp server: another server than vLLM, a real small model, nothing scripted about it."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.process import free_ports
from e2e.own_server import python_of, running
from e2e.served import owners, run_on
from flywheel_api.round import Role


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_ports(1)[0]
    command = [python_of("LLAMA_CPP_PYTHON"), str(Path(__file__).with_name("llama_server.py")), str(port)]
    with running("llama.cpp", command, tmp_path_factory.mktemp("llama"), lambda: _healthy(port)):
        yield f"http://127.0.0.1:{port}/v1"


def _healthy(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
        return bool(answer.status == 200)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "asked",
    [{Role.POLICY}, {Role.POLICY, Role.SOLVER, Role.USER_SIMULATOR}, {Role.POLICY, Role.TEACHER}],
    ids=["policy", "all but the teacher", "every role"],
)
def test_stages_on_a_real_server(llama: str, asked: set[Role]) -> None:
    """Some 100 completions of 64 tokens at most: two to five minutes at the 25 to 50 a second of two quiet cores."""
    assert owners(run_on(llama, asked)) == {"llamacpp"}
