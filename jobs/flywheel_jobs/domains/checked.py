"""A round's packages, checked before anything is spent: what is wrong is said with file and line."""

from __future__ import annotations

from collections.abc import Iterable

from flywheel_api.common import DomainRef
from flywheel_domains.check import check
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains.packages import REASON, Package, find
from flywheel_jobs.domains.shelf import SHOWN, Shelf
from flywheel_store.store import BlobStore


def fetch_all(refs: Iterable[DomainRef], store: BlobStore, shelf: Shelf) -> list[Package]:
    """The packages that a spec names, on the shelf. Raises ValidationFailure for one that cannot be used."""
    return [checked(ref, find(ref, store), shelf) for ref in refs]


def checked(ref: DomainRef, package: Package, shelf: Shelf) -> Package:
    """The package, if it is what its reference says and nothing is wrong with it. Raises ValidationFailure.

    What is built in was checked when the image was made.
    """
    shelf.put(package)
    domain = shelf.domain(package.digest)
    declared = domain.domain.replace("_", "-")
    if declared != ref.name:
        raise ValidationFailure(
            f"spec.agentic.domains names {ref.name}, the package says `domain: {domain.domain}`: name it {declared}",
            REASON,
        )
    if ref.source is not None:
        report = check(shelf.folder(package.digest))
        if not report.passed:
            said = "; ".join(f"{f.file}:{f.line}: {f.where}: {f.message}" for f in report.findings[:SHOWN])
            raise ValidationFailure(
                f"domain {ref.name} has {len(report.findings)} findings (python -m flywheel_jobs domain test DIR shows "
                f"all): {said}"[:1000],
                REASON,
            )
    return package
