"""A model of a hub: the public one, or a mirror (`base.hub.endpoint`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flywheel_api.base import HUB
from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.imports.files import Listing, RemoteFile
from flywheel_jobs.storage.hub import UNAVAILABLE, HubClient
from flywheel_store.traffic import MOVED

FIELD = "base.hub"


class Hub:
    """One model of a hub. `ref` is hf://org/name[@revision]."""

    def __init__(self, ref: str, endpoint: str | None = None, token: str | None = None) -> None:
        self.repo, _, self.revision = ref.removeprefix(HUB).partition("@")
        self._hub = HubClient(ref, FIELD, endpoint, token)

    def look(self) -> Listing:
        """The files of the revision, which is pinned to its commit. Raises ValidationFailure, EndpointUnavailable."""
        hub, revision = self._hub, self.revision or None
        found = hub.ask(lambda: hub.api.model_info(self.repo, revision=revision, files_metadata=True))
        if not found.sha:
            raise EndpointUnavailable(f"the hub names no commit of {hub.ref}: is {hub.where} a hub?", UNAVAILABLE)
        files = tuple(
            RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None) for s in found.siblings or []
        )
        licence = str(found.card_data.get("license") or "") if found.card_data is not None else ""
        return Listing(f"{HUB}{self.repo}@{found.sha}", f"hub/{self.repo}/{found.sha}", files, licence)

    def fetch(self, listing: Listing, file: RemoteFile, folder: Path) -> Path:
        """Downloads a file below `folder`; bytes are told to the process's meter as they come."""
        from huggingface_hub import hf_hub_download

        commit = listing.source.rpartition("@")[2]
        path = self._hub.ask(
            lambda: hf_hub_download(
                self.repo,
                file.path,
                revision=commit,
                local_dir=folder,
                endpoint=self._hub.endpoint,
                token=self._hub.token,
                tqdm_class=_counting(),
            )
        )
        return Path(path)


def _counting() -> type[Any]:
    """A progress bar of the library's kind that draws nothing and tells the meter."""
    from huggingface_hub.utils import tqdm

    class Counting(tqdm):  # type: ignore[misc, unused-ignore]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call, unused-ignore]

        def update(self, n: float | None = 1) -> bool | None:
            MOVED.add(int(n or 0))
            return None

    return Counting
