"""Small parts of starting a node: targets of forwards, Go's version, waiting, steps, finding a live node."""

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from builder import apt
from builder.errors import ToolError
from cluster import needs, node, process
from cluster.cli import main
from cluster.daemon import start_time
from cluster.errors import ClusterError
from cluster.forward import Forwarder
from cluster.kube import condition, is_true
from cluster.layout import Layout
from cluster.services import parse_target
from cluster.steps import Steps


def test_targets() -> None:
    assert parse_target("minio.minio:9000") == ("minio", "minio", 9000)
    assert parse_target("minio.minio.svc.cluster.local:9000") == ("minio", "minio", 9000)
    assert parse_target("10.96.0.1:443") == ("10.96.0.1", "", 443)
    with pytest.raises(ClusterError, match=r"names no namespace; write minio\.NAMESPACE:9000"):
        parse_target("minio:9000")
    with pytest.raises(ClusterError, match="is no target"):
        parse_target("minio.minio")


def test_go_versions() -> None:
    assert needs.parse_go_version("go version go1.26.8 linux/amd64") == (1, 26)
    assert needs.parse_go_version("go: not found") is None
    assert needs.required_go() >= (1, 26)


def test_missing_packages_without_root_say_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ToolError, match="apt-get install -y --no-install-recommends nftables"):
        apt.install(["nftables"], "the node")
    with pytest.raises(ClusterError, match="needs root"):
        needs.check_root("The node")


def test_an_absent_go_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"Go is not installed\. Install Go 1"):
        needs.check_go()


def test_an_old_go_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "go"
    fake.write_text("#!/bin/sh\necho go version go1.20.1 linux/amd64\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=r"Go 1\.20 is too old"):
        needs.check_go()


def test_waiting_ends_with_a_name() -> None:
    with pytest.raises(ClusterError, match=r"the moon was not ready after 0 s\. It sets\."):
        process.wait_for("the moon", lambda: False, 0.2, 0.05, lambda: "It sets.")
    assert len(set(process.free_ports(5))) == 5


def test_steps_are_written_as_json(tmp_path: Path) -> None:
    steps = Steps()
    steps.passed("one")
    steps.write(tmp_path / "steps.json")
    found = json.loads((tmp_path / "steps.json").read_text())
    assert list(found["steps"]) == ["one"] and found["total_s"] >= found["steps"]["one"]


def test_conditions() -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Full", "status": "False"}]}}
    assert is_true(ready, "Ready") and not is_true(ready, "Full") and not is_true(None, "Ready")
    assert condition(ready, "Full")["status"] == "False" and condition(ready, "Other") == {}


def test_a_record_counts_only_while_its_daemon_lives(tmp_path: Path) -> None:
    at = Layout(tmp_path)
    assert node.record(at) is None
    daemon = subprocess.Popen(["sleep", "60"])
    at.record.write_text(json.dumps({"pid": daemon.pid, "start": start_time(daemon.pid), "init_pid": 1}))
    found = node.record(at)
    assert found and node.running(at)["pid"] == daemon.pid
    at.record.write_text(json.dumps({"pid": daemon.pid, "start": "1", "init_pid": 1}))
    assert node.record(at) is None  # another process has that pid now
    daemon.kill()
    deadline = time.monotonic() + 10
    while start_time(daemon.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert start_time(daemon.pid) == ""  # ended, although nobody has waited for it
    daemon.wait()
    with pytest.raises(ClusterError, match="not running; start it with"):
        node.running(at)


def test_the_command_line_explains_instead_of_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLYWHEEL_CACHE", f"/tmp/flywheel-absent-{os.getpid()}")  # short enough for sockets
    assert main(["kubectl", "get", "pods"]) == 1
    assert "start it with: python3 -m cluster up" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")
async def test_a_forward_copies_both_ways_and_can_be_aimed_anew() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    async def whisper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).lower())
        writer.close()

    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"Hello")
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    first, second = [await asyncio.start_server(f, "127.0.0.1", 0) for f in (shout, whisper)]
    forwarder = Forwarder(os.getpid())
    port = await forwarder.add("x", "127.0.0.1", first.sockets[0].getsockname()[1])
    assert await ask(port) == b"HELLO"
    assert await forwarder.add("x", "127.0.0.1", second.sockets[0].getsockname()[1]) == port
    assert await ask(port) == b"hello"
    second.close()
    await second.wait_closed()
    assert await ask(port) == b""  # nobody there: closed, not hung
    for server in (first, *(target.server for target in forwarder.targets.values())):
        server.close()
        await server.wait_closed()
