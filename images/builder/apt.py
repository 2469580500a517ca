"""Debian packages that a tool needs, installed where that is possible. It knows no tool."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from .errors import ToolError


def install(packages: Sequence[str], why: str) -> None:
    """apt-get install as root on Debian and its relatives; elsewhere ToolError with the command to run."""
    if not packages:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ToolError(
            f"{why}: packages are missing. Run as root: {' '.join(command)} (or your system's way), then this again."
        )
    print(f"installing {' '.join(packages)}: {why}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # an update that fails is no reason to stop: the lists that are there may be new enough
    subprocess.run(["apt-get", "update", "-qq"], env=environment, check=False, stdout=subprocess.DEVNULL)
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"`{' '.join(command)}` failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
