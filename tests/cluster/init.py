"""PID 1 of the node: makes the mounts and the bridge, starts the components, restarts what ends, reaps orphans.

Run by the daemon as `python3 -m cluster.init PLAN.json` in fresh namespaces. When this process goes, the kernel
kills everything in its pid namespace and drops the mounts and the network with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cluster import cgroups
from cluster.kube import KubeApi
from cluster.process import loopback_env

_BACKOFF_S = 1.0
_MAX_BACKOFF_S = 10.0
# kubelet insists on these machine-wide settings; it gets files with the values that it wants in place of the real ones
_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def say(text: str) -> None:
    """A line in the node's log."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def _mount_cgroups(options: list[str]) -> None:
    """Our own view of the host's hierarchies: the cgroup namespace makes the node's group their root."""
    if not options:
        _run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
        _leave_v2_root()
        return
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", "/sys/fs/cgroup")
    for option in options:
        folder = Path("/sys/fs/cgroup") / option.removeprefix("name=")
        folder.mkdir()
        _run(
            "mount",
            "-t",
            "cgroup",
            "-o",
            f"none,{option}" if option.startswith("name=") else option,
            "cgroup",
            str(folder),
        )
        for single in option.split(","):
            if "," in option:
                (folder.parent / single).symlink_to(folder.name)


def _leave_v2_root() -> None:
    """Only leaves may hold processes: move into `init`, then hand the controllers on to the pods' groups."""
    root = Path("/sys/fs/cgroup")
    (root / "init").mkdir(exist_ok=True)
    cgroups.join([root / "init"])
    deadline = time.monotonic() + 5
    while True:
        try:
            return cgroups.enable_controllers(root)
        except OSError:
            if time.monotonic() > deadline:  # the daemon moves our parent process out meanwhile
                raise
            time.sleep(0.05)


def _mounts(plan: dict[str, Any]) -> None:
    _run("mount", "--make-rprivate", "/")
    _run("umount", "-R", "/sys/fs/cgroup", check=False)
    _run("umount", "-l", "/sys")
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    _mount_cgroups(plan["cgroup_options"])
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in ("/run/netns", "/run/lock", "/run/containerd"):
        os.makedirs(folder, exist_ok=True)
    for source, target in plan["binds"]:
        if os.path.exists(target):
            _run("mount", "--bind", source, target)
    sysctls = Path(plan["run"]) / "sysctl"
    for name, value in _SYSCTLS.items():
        target = Path("/proc/sys") / name
        if target.exists():
            file = sysctls / name.replace("/", "_")
            file.parent.mkdir(exist_ok=True)
            file.write_text(value + "\n")
            _run("mount", "--bind", str(file), str(target))
    _run("mount", "--make-rshared", "/")  # containerd and kubelet need mounts to propagate into pods


def _network(plan: dict[str, Any]) -> None:
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "cni0", "type", "bridge")
    _run("ip", "address", "add", plan["bridge_address"], "dev", "cni0")
    _run("ip", "link", "set", "cni0", "up")
    _run("ip", "route", "add", plan["service_route"], "dev", "cni0")  # for connections of the node itself
    for setting in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        file = Path("/proc/sys") / setting
        if file.exists():
            file.write_text("1\n")


def _ids(ctr: list[str], kind: str) -> list[str]:
    if kind != "sandboxes":
        return _run(*ctr, kind, "ls", "-q", check=False).split()
    rows = _run(*ctr, kind, "ls", check=False).splitlines()[1:]  # this one knows no -q
    return [row.split()[0] for row in rows if row.strip()]


def _remove_old_containers(plan: dict[str, Any]) -> None:
    """Forget containers of an earlier node that was killed: containerd keeps their records with the images."""
    ctr = [plan["ctr"], "-n", "k8s.io"]
    for kind, remove in (("tasks", ["rm", "-f"]), ("containers", ["rm"]), ("sandboxes", ["rm", "-f"])):
        ids = _ids(ctr, kind)
        if ids:
            _run(*ctr, kind, *remove, *ids, check=False)
            say(f"removed {len(ids) - len(_ids(ctr, kind))} of {len(ids)} {kind} of an earlier node")


class Supervisor:
    """Starts components, restarts those that end (1 s, doubling up to 10 s), and reaps everything else."""

    def __init__(self, plan: dict[str, Any]) -> None:
        """`plan` is what cluster.node writes: components by name with stage and argv, and where their logs go."""
        self.plan = plan
        self.names: dict[int, str] = {}
        self.due: dict[str, float] = {}
        self.backoff: dict[str, float] = {}
        self.started: dict[str, float] = {}

    def start(self, name: str) -> None:
        """Start one component with its output in its log file."""
        log = f"{self.plan['logs']}/{name}.log"
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        argv = self.plan["components"][name][1]
        env = loopback_env({"PATH": self.plan["path"]} | self.plan["env"].get(name, {}))
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsigmask=[], setsid=True)
        self.names[pid] = name
        self.started[name] = time.monotonic()
        say(f"{name} started, pid {pid}")

    def start_stage(self, stage: int) -> None:
        """Start every component of a stage."""
        for name, (its_stage, _) in self.plan["components"].items():
            if its_stage == stage:
                self.start(name)

    def reap(self) -> None:
        """Collect ended processes; a component's end schedules its restart."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self.names.pop(pid, None)
            if name is None:
                continue
            now = time.monotonic()
            steady = now - self.started[name] > 60
            wait = _BACKOFF_S if steady else self.backoff.get(name, _BACKOFF_S)
            self.backoff[name] = min(wait * 2, _MAX_BACKOFF_S)
            self.due[name] = now + wait
            say(f"{name} ended ({os.waitstatus_to_exitcode(status)}); again in {wait:.0f} s")

    def restart_due(self) -> None:
        """Start what was scheduled."""
        for name in [n for n, when in self.due.items() if when <= time.monotonic()]:
            del self.due[name]
            self.start(name)

    def wait(self, seconds: float) -> None:
        """Sleep until a child ends, a restart is due or the time is over."""
        if self.due:
            seconds = max(0.05, min(seconds, min(self.due.values()) - time.monotonic()))
        signal.sigtimedwait([signal.SIGCHLD], seconds)
        self.reap()
        self.restart_due()


def main(plan_file: str) -> None:
    """Never returns; an exception ends PID 1 and with it the node."""
    plan = json.loads(Path(plan_file).read_text())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)
    _mounts(plan)
    _run("hostname", plan["hostname"])
    _network(plan)
    supervisor = Supervisor(plan)
    supervisor.start_stage(0)
    while not os.path.exists(plan["containerd_socket"]):
        supervisor.wait(0.05)
    _remove_old_containers(plan)
    api = KubeApi(Path(plan["kubeconfig"]))
    while not api.ready():
        supervisor.wait(0.1)
    say("API server ready")
    supervisor.start_stage(1)
    while True:
        supervisor.wait(5)


if __name__ == "__main__":
    main(sys.argv[1])
