"""The stages on a real llama.cpp server: another server than vLLM, a real small model, nothing scripted about it."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.process import die_with_parent, free_ports, wait_for
from e2e.served import owners, run_on
from flywheel_api.round import Role


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
    """Some 100 completions of 64 tokens at most: two to five minutes at the 25 to 50 a second of two quiet cores."""
    assert owners(run_on(llama, asked)) == {"llamacpp"}
