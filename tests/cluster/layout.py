"""Files and addresses of the one-node cluster. A cache holds one node, with its state in `$FLYWHEEL_CACHE/cluster`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.paths import state_dir

NODE_NAME = "fw-node"
NODE_ADDRESS = "10.88.0.1"  # the bridge's own address: API server, kubelet and DNS listen here, inside the node only
POD_RANGE = "10.88.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
SERVICE_ROUTE = "10.96.0.0/12"
API_SERVICE_ADDRESS = "10.96.0.1"
CLUSTER_DOMAIN = "cluster.local"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
PAUSE_IMAGE = "localhost/pause:1"
# kubelet puts sockets up to 40 characters below its folder, and a Unix socket's path has at most 107
_MAX_STATE_PATH = 60


@dataclass(frozen=True)
class Layout:
    """Paths below the state folder. Only `containerd` (images) outlives a node; `run` is replaced at each start."""

    state: Path

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def containerd(self) -> Path:
        return self.state / "containerd"

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def logs(self) -> Path:
        return self.run / "log"

    @property
    def kubeconfig(self) -> Path:
        """For the host: loopback address, certificates embedded."""
        return self.state / "kubeconfig"

    @property
    def record(self) -> Path:
        """JSON written by the daemon: pids, ports, pins."""
        return self.state / "node.json"

    @property
    def control(self) -> Path:
        """Unix socket of the daemon."""
        return self.state / "control.sock"

    @property
    def cgroup_name(self) -> str:
        """Name of the node's cgroup in each hierarchy; differs between caches."""
        return "flywheel-" + hashlib.sha256(str(self.state).encode()).hexdigest()[:8]


def layout() -> Layout:
    """Layout of this cache. Raises ClusterError where the folder cannot work."""
    state = state_dir()
    if len(str(state)) > _MAX_STATE_PATH:
        raise ClusterError(
            f"{state} is longer than {_MAX_STATE_PATH} characters, too long for the Unix sockets below it; "
            "set FLYWHEEL_CACHE to a shorter path."
        )
    if state.parts[:2] in (("/", "run"), ("/", "sys"), ("/", "proc"), ("/", "dev")):
        raise ClusterError(f"{state} is hidden inside the node; set FLYWHEEL_CACHE to a folder on disk.")
    return Layout(state)
