"""The packages that a process works with: unpacked once, loaded once, known by digest."""

from __future__ import annotations

import threading
from pathlib import Path

from flywheel_domains.domain import Domain
from flywheel_domains.errors import DomainError
from flywheel_domains.load import load
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains.packages import REASON, Package

SHOWN = 8  # faults of a broken domain that a message names


class Shelf:
    """Domains below a folder, each under the hex digits of its package's digest. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._loaded: dict[str, Domain] = {}
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def put(self, package: Package) -> None:
        """Makes a package available."""
        folder = self.folder(package.digest)
        self._names[package.digest] = package.name
        if not folder.is_dir():
            package.unpack(folder)

    def domain(self, digest: str) -> Domain:
        """The domain of a package. Raises ValidationFailure for one that is not here, or does not load."""
        with self._lock:
            found = self._loaded.get(digest)
            if found is None:
                found = self._loaded[digest] = self._load(digest)
            return found

    def _load(self, digest: str) -> Domain:
        folder = self.folder(digest)
        if not folder.is_dir():
            raise ValidationFailure(
                f"the domain package {digest} is not among those of this run: name it in agentLoop.domains", REASON
            )
        return loaded(self._names.get(digest, digest[:19]), folder)

    def folder(self, digest: str) -> Path:
        """Where a package's files are."""
        return self.root / digest.removeprefix("sha256:")


def loaded(name: str, folder: Path) -> Domain:
    """The domain in a folder. Raises ValidationFailure with the first of its faults, each with file and line."""
    try:
        return load(folder)
    except DomainError as error:
        more = f"; and {len(error.faults) - SHOWN} more" if len(error.faults) > SHOWN else ""
        said = "; ".join(map(str, error.faults[:SHOWN]))
        raise ValidationFailure(f"domain {name}: {said}{more}"[:1000], REASON) from error
