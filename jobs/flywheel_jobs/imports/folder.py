"""A directory of Hugging Face files in a bucket, as `save_pretrained` or a mirror of a hub leaves it."""

from __future__ import annotations

from pathlib import Path

from flywheel_api.canonical import canonical_json, digest_of, hex_of
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.imports.files import Listing, RemoteFile
from flywheel_jobs.storage.store import Store
from flywheel_store.bucket import version_at


class Folder:
    """The objects below `s3://bucket/prefix`."""

    def __init__(self, ref: str, store: Store) -> None:
        self.ref, self._store = ref.rstrip("/"), store

    def look(self) -> Listing:
        """The files, pinned by their entity tags. Raises ValidationFailure."""
        folder, bucket = f"{self.ref}/", self._store.bucket
        version = version_at(bucket, folder)
        files = tuple(RemoteFile(a.removeprefix(folder), bucket.size(a) or 0) for a in self._store.objects_at(folder))
        return Listing(self.ref, f"folders/{hex_of(digest_of(canonical_json([self.ref, version])))[:32]}", files)

    def fetch(self, listing: Listing, file: RemoteFile, folder: Path) -> Path:
        """Downloads a file below `folder`. Raises ValidationFailure if it is gone."""
        path = folder / Path(file.path).name
        if self._store.fetch(f"{listing.source}/{file.path}", path) is None:
            raise ValidationFailure(f"{listing.source}/{file.path} is gone: nobody may change a model that is imported")
        return path
