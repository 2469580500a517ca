"""Watches by a kubectl that is played."""

from __future__ import annotations

import gc
import stat
from pathlib import Path

import pytest

from cluster.kube import Kubectl
from demo.arrivals import watching

SCRIPT = """#!/bin/sh
echo '{"type": "ADDED", "object": {"metadata": {"name": "r1"}}}'
exec sleep 60
"""


@pytest.mark.timeout(30)
def test_a_watch_that_ends_leaves_nothing_open(tmp_path: Path) -> None:
    """A pipe left open is a ResourceWarning, and that is an error here."""
    played = tmp_path / "kubectl"
    played.write_text(SCRIPT)
    played.chmod(played.stat().st_mode | stat.S_IXUSR)
    with watching(Kubectl(played, tmp_path / "kubeconfig"), "FlywheelRound") as arrivals:
        _, kind, change, found = arrivals.get(timeout=10)
        assert (kind, change, found["metadata"]["name"]) == ("FlywheelRound", "ADDED", "r1")
    gc.collect()
