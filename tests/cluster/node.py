"""Starting, finding and ending the one-node cluster.

A node is its daemon process: alive or not, nothing in between. `up` on a running node of the same pins waits for it;
anything else that it finds (a dead node's files and cgroups, a node of other pins, one that does not get ready) it
clears away first. Only the images in containerd's folder are kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster import cgroups, kubeconfig, needs
from cluster.build import build_group
from cluster.components import API_URL, commands, issue_certificates, write_configs
from cluster.daemon import start_time
from cluster.errors import ClusterError
from cluster.kube import KubeApi, Kubectl, is_true
from cluster.layout import (
    CONTAINERD_SOCKET,
    NODE_ADDRESS,
    NODE_NAME,
    PAUSE_IMAGE,
    SERVICE_ROUTE,
    Layout,
    layout,
)
from cluster.paths import MANIFESTS, PACKAGE, PYTHON_PATH
from cluster.pins import GROUPS, binary_path
from cluster.pki import Pki
from cluster.process import free_ports, log_tail, loopback_env, wait_for

_READY_TIMEOUT_S = 180  # 9 s on a quiet 2-core machine; loaded ones were seen to take 10 times as long
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# a soft limit for Go's heap: KubeRay's CRDs make the API server's OpenAPI large, and garbage would double it
_ENVIRONMENT = {"kube-apiserver": {"GOGC": "40"}}


def binaries() -> dict[str, Path]:
    """Paths of everything the node runs."""
    return {name: binary_path(name) for name in GROUPS["node"]}


def pins() -> str:
    """Names a node's software and settings: a running node with another value is replaced by `up`."""
    digest = hashlib.sha256()
    for name, path in sorted(binaries().items()):
        digest.update(f"{name}={path}\n".encode())
    for source in ("components.py", "init.py", "layout.py"):  # what decides how the inside of the node is
        digest.update((PACKAGE / source).read_bytes())
    return digest.hexdigest()[:16]


def record(at: Layout) -> dict[str, Any] | None:
    """What the daemon wrote, if that daemon is alive."""
    try:
        found: dict[str, Any] = json.loads(at.record.read_text())
    except (OSError, ValueError):
        return None
    return found if found.get("start") and start_time(found["pid"]) == found["start"] else None


def running(at: Layout | None = None) -> dict[str, Any]:
    """The record of the running node. Raises ClusterError when there is none."""
    found = record(at or layout())
    if not found or not found.get("init_pid"):
        raise ClusterError("the cluster is not running; start it with: python3 -m cluster up")
    return found


@contextlib.contextmanager
def _lock(at: Layout) -> Iterator[None]:
    """One `up` or `down` at a time."""
    at.state.mkdir(parents=True, exist_ok=True)
    with (at.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_dead(at: Layout) -> None:
    """Take away what a dead node left: its cgroups, socket, kubeconfig and run folder."""
    groups: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        groups = json.loads(at.record.read_text())["cgroups"]
    with contextlib.suppress(ClusterError):
        groups += [str(g) for g in cgroups.plan(at.cgroup_name)[0] if str(g) not in groups]
    left = cgroups.remove(groups)
    if left:
        raise ClusterError(
            f"processes are still in {', '.join(left)}; end them (see cgroup.procs there) and try again."
        )
    for file in (at.kubeconfig, at.control, at.record):
        file.unlink(missing_ok=True)
    shutil.rmtree(at.run, ignore_errors=True)


def _kill(at: Layout) -> None:
    """Kill the daemon and wait until PID 1 of the node is gone: the kernel has then taken everything with it."""
    found = record(at)
    if not found:
        return
    os.kill(found["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    for pid, start in ((found["pid"], found["start"]), (found.get("init_pid", 0), found.get("init_start", "-"))):
        while start_time(pid) == start and time.monotonic() < deadline:
            time.sleep(0.02)


def _prepare(at: Layout) -> Path:
    """Certificates, configuration and the plan of a new node; returns the plan's file."""
    at.run.mkdir(parents=True)
    for folder in (at.logs, at.run / "var-log", at.run / "var-lib-kubelet", at.run / "var-lib-cni", at.containerd):
        folder.mkdir(exist_ok=True)
    pki = Pki.create(at.pki)
    issue_certificates(pki)
    for user in ("admin", "kcm", "scheduler", "proxy", "node", "coredns"):
        kubeconfig.write(at.run / f"{user}.kubeconfig", API_URL, pki, user)
    paths = binaries()
    write_configs(at, pki, paths, cgroups.version())
    groups, options = cgroups.plan(at.cgroup_name)
    port = free_ports(1)[0]
    kubeconfig.write(at.kubeconfig, f"https://127.0.0.1:{port}", pki, "admin")
    plan = {
        "run": str(at.run),
        "logs": str(at.logs),
        "record": str(at.record),
        "control": str(at.control),
        "pins": pins(),
        "api_port": port,
        "address": NODE_ADDRESS,
        "bridge_address": f"{NODE_ADDRESS}/16",
        "service_route": SERVICE_ROUTE,
        "hostname": NODE_NAME,
        "cgroups": [str(g) for g in groups],
        "cgroup_options": options,
        "binds": [
            [str(at.run / "hosts"), "/etc/hosts"],
            [str(at.run / "resolv.conf"), "/etc/resolv.conf"],
            [str(at.run / "var-log"), "/var/log"],
            [str(at.run / "var-lib-kubelet"), "/var/lib/kubelet"],
            [str(at.run / "var-lib-cni"), "/var/lib/cni"],
        ],
        "ctr": str(paths["ctr"]),
        "containerd_socket": CONTAINERD_SOCKET,
        "kubeconfig": str(at.run / "admin.kubeconfig"),
        "path": f"{paths['containerd'].parent}:{paths['runc'].parent}:{_SEARCH}",
        "env": _ENVIRONMENT,
        "components": commands(at, pki, paths),
    }
    file = at.run / "plan.json"
    file.write_text(json.dumps(plan, indent=1))
    return file


def _launch(at: Layout) -> None:
    plan = _prepare(at)
    with (at.logs / "node.log").open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "cluster.daemon", str(plan)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=loopback_env({"PYTHONPATH": PYTHON_PATH, "PYTHONDONTWRITEBYTECODE": "1"}),
            start_new_session=True,
        )
    while daemon.poll() is None:
        found = record(at)
        if found and found.get("init_pid"):
            return
        time.sleep(0.02)
    raise ClusterError(f"the node did not start:\n{log_tail(at.logs, 'node')}")


def _wait(at: Layout, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
    def ready_or_dead() -> bool:
        if not record(at):
            raise ClusterError(f"the node ended while waiting for {what}:\n{log_tail(at.logs, 'node')}")
        return ready()

    def explain() -> str:
        return f"Last lines of the node:\n{log_tail(at.logs, 'node')}\nLogs of every part are in {at.logs}."

    wait_for(what, ready_or_dead, timeout_s, explain=explain)


def _settle(at: Layout, step: Callable[[str], None], timeout_s: float) -> None:
    """Wait for the API server, apply the bootstrap manifest, wait for the node."""
    api = KubeApi(at.kubeconfig)
    _wait(at, "the API server", api.ready, timeout_s)
    step("API server ready")
    kubectl().apply_text((MANIFESTS / "bootstrap.yaml").read_text())
    _wait(at, "the node", lambda: is_true(api.get(f"/api/v1/nodes/{NODE_NAME}"), "Ready"), timeout_s)
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    _wait(at, "the controller manager", lambda: api.get(account) is not None, timeout_s)
    step("node Ready")


def _prepare_images() -> None:
    from cluster.images import load_binary, prune_built  # images needs a running node, which is found here

    at = layout()
    socket_path = Path(f"/proc/{running(at)['init_pid']}/root{CONTAINERD_SOCKET}")
    _wait(at, "containerd", socket_path.exists, _READY_TIMEOUT_S)
    load_binary(PAUSE_IMAGE)
    prune_built()


def up(step: Callable[[str], None] = lambda _: None) -> Layout:
    """Bring the node up (or find it up); `step` is called with each thing done. Raises ClusterError."""
    needs.for_node()
    build_group("node")
    at = layout()
    with _lock(at):
        found = record(at)
        if found and found.get("pins") == pins():
            try:
                _settle(at, step, 60)
                return at
            except (ClusterError, OSError, ValueError, KeyError) as error:
                print(f"the running node does not get ready, starting a new one ({str(error).splitlines()[0]})")
        elif found:
            print("the running node is of other pins or settings; replacing it")
        _kill(at)
        _remove_dead(at)
        _launch(at)
        step("namespaces made, etcd and containerd started")
        _prepare_images()
        _settle(at, step, _READY_TIMEOUT_S)
    return at


def down(purge: bool = False) -> None:
    """End the node and remove what it made; with `purge` the stored images too."""
    needs.check_root("Taking the cluster down")
    at = layout()
    with _lock(at):
        _kill(at)
        _remove_dead(at)
        if purge:
            shutil.rmtree(at.state, ignore_errors=True)


def kubectl() -> Kubectl:
    """The pinned kubectl on the host, against the node as admin. The node need not run."""
    at = layout()
    return Kubectl(binary_path("kubectl"), at.kubeconfig, at.run / "kubectl")


def execute(command: list[str]) -> int:
    """Run a command inside the node, attached to this terminal; its status."""
    needs.check_root("Entering the node")
    found = running()
    groups = cgroups.join_targets(found["cgroups"])
    path = ":".join(sorted({str(p.parent) for p in binaries().values()})) + ":" + os.environ.get("PATH", _SEARCH)
    env = loopback_env({"PATH": path, "KUBECONFIG": str(layout().run / "admin.kubeconfig")})
    enter = ["nsenter", "-t", str(found["init_pid"]), "-m", "-u", "-i", "-n", "-p", "-C", *command]
    return subprocess.run(enter, preexec_fn=lambda: cgroups.join(groups), env=env, check=False).returncode


def ask_daemon(request: dict[str, Any]) -> dict[str, Any]:
    """One request to the daemon. Raises ClusterError when it refuses or is not there."""
    running()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        try:
            connection.connect(str(layout().control))
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile().readline())
        except (OSError, ValueError) as error:
            raise ClusterError(f"the node's daemon does not answer ({error}); run: python3 -m cluster up") from error
    if "error" in answer:
        raise ClusterError(str(answer["error"]))
    return answer
