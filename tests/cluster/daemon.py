"""The one process to kill: it holds the node's namespaces (by PID 1 in them, its grandchild) and forwards ports.

`python3 -m cluster.daemon PLAN.json`. A SIGKILL of this process kills `unshare` (parent-death signal), that kills
PID 1 of the node (--kill-child), and the kernel kills the rest. When the node ends, so does the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cluster import cgroups
from cluster.forward import Forwarder
from cluster.process import die_with_parent

_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc")


def start_time(pid: int) -> str:
    """Start time of a process in clock ticks since boot: with the pid it names a process for good; '' if it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended, whoever is late to collect it


def child_of(pid: int) -> int:
    """The first child of a process, 0 if it has none."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                return int(entry)
    return 0


def _spawn_node(plan: dict[str, Any], plan_file: str) -> subprocess.Popen[bytes]:
    def prepare() -> None:
        die_with_parent()
        cgroups.join(plan["cgroups"])

    command = ["unshare", *_NAMESPACES, "--", sys.executable, "-m", "cluster.init", plan_file]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=prepare)


def _node_pid(parent: subprocess.Popen[bytes]) -> int:
    for _ in range(500):
        pid = child_of(parent.pid)
        if pid or parent.poll() is not None:
            return pid
        time.sleep(0.01)
    return 0


def _keep_out(plan: dict[str, Any], pid: int) -> None:
    """v2: `unshare` itself must not stay in the group's root, where it would block the controllers."""
    if plan["cgroup_options"]:
        return
    own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
    with contextlib.suppress(OSError):
        cgroups.join([f"{cgroups.ROOT}{own.rstrip('/')}"], pid)


async def _answer(forwarder: Forwarder, request: dict[str, Any]) -> dict[str, Any]:
    if request.get("do") == "forward":
        try:
            port = await forwarder.add(
                str(request["name"]), str(request["host"]), int(request["port"]), int(request.get("local_port", 0))
            )
        except OSError as error:
            return {"error": f"cannot listen on the asked port: {error}"}
        return {"port": port}
    return {
        "forwards": {
            name: {"port": t.local_port, "target": f"{t.host}:{t.port}"} for name, t in forwarder.targets.items()
        }
    }


async def _serve(plan: dict[str, Any], node: subprocess.Popen[bytes], init_pid: int) -> None:
    forwarder = Forwarder(init_pid)
    api_port = await forwarder.add("apiserver", plan["address"], 6443, plan["api_port"])

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ValueError, OSError):
            answer = await _answer(forwarder, json.loads(await reader.readline()))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    with contextlib.suppress(FileNotFoundError):
        os.unlink(plan["control"])
    await asyncio.start_unix_server(control, plan["control"])
    os.chmod(plan["control"], 0o600)
    write_record(plan, {"init_pid": init_pid, "init_start": start_time(init_pid), "api_port": api_port})
    await asyncio.to_thread(node.wait)


def write_record(plan: dict[str, Any], more: dict[str, Any]) -> None:
    """node.json: who the node is and what it was started from (atomic)."""
    record = {
        "pid": os.getpid(),
        "start": start_time(os.getpid()),
        **{key: plan[key] for key in ("cgroups", "pins", "api_port")},
        **more,
    }
    path = Path(plan["record"])
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1))
    os.replace(partial, path)


def main(plan_file: str) -> int:
    """Runs until the node ends."""
    plan = json.loads(Path(plan_file).read_text())
    write_record(plan, {})
    cgroups.create([Path(group) for group in plan["cgroups"]])
    node = _spawn_node(plan, plan_file)
    init_pid = _node_pid(node)
    if not init_pid:
        print("the node ended while starting", flush=True)
        return 1
    _keep_out(plan, node.pid)
    asyncio.run(_serve(plan, node, init_pid))
    print(f"the node ended with status {node.returncode}", flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
