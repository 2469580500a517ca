"""Which code made an artefact: the release and a digest of the source, since images are built between releases."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import flywheel_api
import flywheel_store

_PACKAGES = (Path(flywheel_api.__file__).parent, Path(flywheel_store.__file__).parent, Path(__file__).parents[1])


@functools.cache
def code_version() -> str:
    """`0.1.0+3f2a9c01d4e8`: the release and a sha256 over every file of flywheel_api, flywheel_store, flywheel_jobs.

    Read from the files that run, so that a checkout and an image of it say the same without a build step for it.
    """
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for file in sorted(f for f in package.rglob("*") if f.is_file() and "__pycache__" not in f.parts):
            digest.update(f"{package.name}/{file.relative_to(package).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return f"{flywheel_api.__version__}+{digest.hexdigest()[:12]}"
