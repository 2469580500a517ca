"""What the machine must have, looked at before anything is started; everything missing is said at once."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from builder.errors import ToolError
from cluster import needs as cluster_needs
from cluster.paths import cache_dir
from demo.errors import DemoError
from demo.memory import memory_kib

CORES = 2
MEMORY_GB = 16  # peak of the demo is below this; seen as 15.2 GiB by a kernel that keeps some back
DISK_GB = 40  # cold: Go's caches, the images' layers and the node's copy of them
DISK_WARM_GB = 8  # with the caches full, a round writes checkpoints of about 2 GB


def tool(name: str, how: str) -> Path:
    """A program of the user's. Raises DemoError that says how to install it."""
    found = shutil.which(name)
    if found is None:
        raise DemoError(f"{name} is not on the PATH: {how}")
    return Path(found)


def check_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    """Raises DemoError unless this is Python 3.11, whose bytecode goes into the images."""
    if version != (3, 11):
        raise DemoError(
            f"Python 3.11 is needed and this is {version[0]}.{version[1]}: install it (Debian 12: apt-get install "
            "python3.11 python3.11-venv) and run make with PYTHON=/path/to/python3.11"
        )


def check_cores(cores: int | None = None) -> None:
    """Raises DemoError below two cores."""
    found = cores if cores is not None else len(os.sched_getaffinity(0))
    if found < CORES:
        raise DemoError(f"{CORES} CPU cores are needed and {found} can be used")


def check_memory(kib: int | None = None) -> None:
    """Raises DemoError on a machine with clearly less than 16 GB."""
    found = (memory_kib() if kib is None else kib) * 1024 / 1e9
    if found < MEMORY_GB * 0.95:
        raise DemoError(f"{MEMORY_GB} GB of memory are needed and the machine has {found:.1f} GB")


def check_disk(folder: Path | None = None) -> None:
    """Raises DemoError when the cache's disk is too full for what is not in the cache yet."""
    where = folder or cache_dir()
    warm = (where / "images" / "images.json").exists() and (where / "bin").exists()
    while not where.exists():
        where = where.parent
    need = DISK_WARM_GB if warm else DISK_GB
    free = shutil.disk_usage(where).free / 1e9
    if free < need:
        raise DemoError(
            f"{need} GB of disk are needed below {where} and {free:.0f} GB are free: make room, or point "
            "FLYWHEEL_CACHE (and GOMODCACHE, GOCACHE) to a larger disk"
        )


# what a cluster of the demo's own takes, whichever it is: Go builds KubeRay and MinIO
BUILDS: tuple[Callable[[], object], ...] = (
    cluster_needs.check_platform,
    check_python,
    check_cores,
    check_memory,
    check_disk,
    cluster_needs.check_go,
)


def check_root() -> None:
    """Raises ClusterError unless this is root."""
    cluster_needs.check_root("The local cluster")


def check(checks: Sequence[Callable[[], object]]) -> None:
    """Raises DemoError that lists everything missing, one a line, each with what to do."""
    problems: list[str] = []
    for one in checks:
        try:
            one()
        except ToolError as error:
            problems.append(str(error))
    if problems:
        listed = "\n".join(f"  - {p}" for p in problems)
        raise DemoError(f"this machine cannot run the demo yet:\n{listed}\nThen run `make demo` again.")
