"""Where things live: everything generated is under the cache folder, nothing in the tree."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
GO_MODULES = PACKAGE / "go"
MANIFESTS = PACKAGE / "manifests"
PYTHON_PATH = os.pathsep.join((str(PACKAGE.parent), str(PACKAGE.parents[1] / "images")))  # this package and `builder`


def cache_dir() -> Path:
    """`$FLYWHEEL_CACHE`, else `$XDG_CACHE_HOME/flywheel`, else `~/.cache/flywheel` (not created)."""
    explicit = os.environ.get("FLYWHEEL_CACHE")
    if explicit:
        return Path(explicit).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base).expanduser() / "flywheel").absolute()


def bin_root() -> Path:
    """Built binaries, one folder per module and cache key."""
    return cache_dir() / "bin"


def state_dir() -> Path:
    """State of the one-node cluster (a cache can hold one)."""
    return cache_dir() / "cluster"
