"""The domains that a stand-in can play: those that are built in, and packages of the store that it is given."""

from __future__ import annotations

import os
import tempfile
from functools import lru_cache
from pathlib import Path

from flywheel_api.common import BUILTIN_DOMAINS, DomainRef
from flywheel_api.stages import STORE_ENV
from flywheel_domains.domain import Domain
from flywheel_jobs.core.errors import FlywheelError
from flywheel_jobs.domains import packages
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.storage.store import Store
from flywheel_store.store import BlobStore


@lru_cache(maxsize=1)
def _shelf() -> Shelf:
    shelf = Shelf(Path(tempfile.mkdtemp(prefix="standin-domains-")))
    for name in BUILTIN_DOMAINS:
        shelf.put(packages.builtin(name))
    return shelf


def domain_of(digest: str, store: BlobStore | None = None) -> Domain:
    """The domain of a package. Raises ValueError for one that is neither built in nor in the store."""
    shelf = _shelf()
    if not shelf.folder(digest).is_dir():
        source = store or _store()
        if source is None:
            raise ValueError(f"the stand-in has no package {digest}, and no store to look in (FLYWHEEL_S3_…)")
        try:
            shelf.put(packages.find(DomainRef(name="given", source=digest), source))
        except FlywheelError as error:
            raise ValueError(str(error)) from error
    return shelf.domain(digest)


@lru_cache(maxsize=1)
def _store() -> BlobStore | None:
    return Store.from_env() if STORE_ENV["endpoint"] in os.environ else None
