"""The node's own cgroup, on hosts with cgroup v1 hierarchies or the unified v2 one.

The node runs in a cgroup namespace rooted at this group, so kubelet and runc see a hierarchy of their own and
everything they make is below one folder that `remove` can take away.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError

ROOT = Path("/sys/fs/cgroup")
_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


@dataclass(frozen=True)
class Hierarchy:
    """A mounted v1 hierarchy: its mount options ('cpu,cpuacct' or 'name=systemd'), mount point, and our path in it."""

    options: str
    mount: str
    path: str


def version() -> int:
    """2 when the unified hierarchy is mounted at /sys/fs/cgroup, else 1 (also for the hybrid layout)."""
    done = subprocess.run(["stat", "-fc", "%T", str(ROOT)], capture_output=True, text=True, check=False)
    return 2 if done.stdout.strip() == "cgroup2fs" else 1


def v1_hierarchies(self_cgroup: str, mountinfo: str) -> list[Hierarchy]:
    """The v1 hierarchies of this process, from the texts of /proc/self/cgroup and /proc/self/mountinfo."""
    mounts: dict[frozenset[str], str] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = after.split()
        if len(fields) >= 3 and fields[0] == "cgroup":
            options = frozenset(o for o in fields[2].split(",") if o not in ("rw", "ro", "xattr", "clone_children"))
            mounts.setdefault(options, before.split()[4])
    found = []
    for line in self_cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        mount = mounts.get(frozenset(controllers.split(","))) if controllers else None
        if mount:
            found.append(Hierarchy(controllers, mount, path))
    return found


def _read(path: str) -> str:
    return Path(path).read_text()


def plan(name: str) -> tuple[list[Path], list[str]]:
    """Folders of the group `name` on this host (one for v2, one per hierarchy for v1), and the v1 mount options."""
    if version() == 2:
        return [ROOT / name], []
    hierarchies = v1_hierarchies(_read("/proc/self/cgroup"), _read("/proc/self/mountinfo"))
    if "memory" not in {c for h in hierarchies for c in h.options.split(",")}:
        raise ClusterError("no memory cgroup is mounted below /sys/fs/cgroup; the node cannot limit its pods here.")
    return [Path(h.mount + h.path.rstrip("/")) / name for h in hierarchies], [h.options for h in hierarchies]


def create(groups: Sequence[Path]) -> None:
    """Make the folders, ready to be joined. Raises ClusterError when the host does not allow it."""
    try:
        if version() == 2:
            enable_controllers(ROOT)
        for group in groups:
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # v1: empty in a new group, which then takes no process
                if version() == 1 and (group / setting).exists():
                    (group / setting).write_text((group.parent / setting).read_text())
    except OSError as error:
        raise ClusterError(
            f"cannot make the node's cgroup ({error}). In a container run it privileged with the host's cgroup "
            "namespace, or use a cluster of your own: KUBECONFIG=... CLUSTER=existing."
        ) from error


def enable_controllers(group: Path) -> None:
    """v2: hand the controllers that a group has on to its children; OSError (EBUSY) while it holds processes itself."""
    available = (group / "cgroup.controllers").read_text().split()
    wanted = [f"+{c}" for c in _V2_CONTROLLERS if c in available]
    (group / "cgroup.subtree_control").write_text(" ".join(wanted))


def join(groups: Sequence[str | Path], pid: int = 0) -> None:
    """Move a process (0: the calling one) into the groups."""
    for group in groups:
        with open(f"{group}/cgroup.procs", "w") as procs:
            procs.write(str(pid))


def join_targets(groups: Sequence[str]) -> list[str]:
    """Where a process that enters the running node goes: v2 allows processes in leaves only, so into `init` there."""
    return [f"{g}/init" if (Path(g) / "init").is_dir() and len(groups) == 1 else g for g in groups]


def remove(groups: Sequence[str], timeout_s: float = 10) -> list[str]:
    """Remove the folders with everything below, waiting for killed processes to go; returns what could not go."""
    deadline = time.monotonic() + timeout_s
    while True:
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass
        left = [group for group in groups if os.path.isdir(group)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
