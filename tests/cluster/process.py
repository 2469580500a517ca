"""Child processes that never outlive their parent, with a log file each."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cluster.errors import ClusterError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def die_with_parent() -> None:
    """Ask the kernel to SIGKILL this process when the thread that made it ends (to be run in the child)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def loopback_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment without proxies: everything here talks on loopback or inside the node."""
    env = {key: value for key, value in os.environ.items() if key not in _PROXY_VARIABLES}
    return env | dict(extra or {})


def spawn(name: str, command: Sequence[str], log_dir: Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a daemon with stdout and stderr in log_dir/name.log; it dies with the calling thread."""
    log_dir.mkdir(parents=True, exist_ok=True)
    with (log_dir / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=cwd,
            env=loopback_env(),
            preexec_fn=die_with_parent,
        )


def log_tail(log_dir: Path, name: str, lines: int = 15) -> str:
    """Last lines of a daemon's log, for error messages."""
    file = log_dir / f"{name}.log"
    if not file.exists():
        return "(no log)"
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])


def wait_for(
    what: str,
    ready: Callable[[], bool],
    timeout_s: float,
    every_s: float = 0.1,
    explain: Callable[[], str] = lambda: "",
) -> None:
    """Poll until ready() is true; ClusterError naming `what`, with what `explain` finds, after timeout_s seconds."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what} was not ready after {timeout_s:.0f} s. {explain()}".rstrip())
        time.sleep(every_s)


def free_ports(count: int) -> list[int]:
    """Distinct free TCP ports on 127.0.0.1 (free when looked at: use them at once)."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]
    finally:
        for item in sockets:
            item.close()
