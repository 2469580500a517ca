"""A hub as the place where a model goes: a repository that gets all files in one commit, or none."""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flywheel_api.artifacts import FileEntry
from flywheel_api.base import HUB
from flywheel_api.round_export import HubTarget
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.exports.targets import unusable
from flywheel_jobs.storage.hub import DENIED, HubClient, Overtaken, token_of_pod
from flywheel_jobs.storage.store import Store, need_space
from flywheel_store.traffic import MOVED

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

FIELD = "export.hub"
_OF_THE_HUB = frozenset({".gitattributes"})  # which a hub writes into every new repository


def client_of(spec: HubTarget) -> HubClient:
    """The hub, by the token of this pod. It speaks LFS, as mirrors do, and so that each byte counts as progress."""
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    return HubClient(f"{HUB}{spec.repo}", FIELD, spec.endpoint, token_of_pod(FIELD))


def may_write(spec: HubTarget) -> None:
    """Raises ValidationFailure for a token of which the hub says that it only reads."""
    hub = client_of(spec)
    from huggingface_hub.errors import HfHubHTTPError  # which reads the variables that were set just now

    def who() -> dict[str, Any]:
        try:
            return hub.api.whoami()
        except HfHubHTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                return {}  # a mirror that knows no users
            raise

    token = (hub.ask(who).get("auth") or {}).get("accessToken") or {}
    scopes = (token.get("fineGrained") or {}).get("scoped") or []
    fine = token.get("role") == "fineGrained" and not any("repo.write" in s.get("permissions", ()) for s in scopes)
    if token.get("role") == "read" or fine:
        text = f"the token of {FIELD} may only read at {hub.where}: give one that may write {spec.repo}"
        raise ValidationFailure(text, DENIED)


class Repository:
    """A repository; implements `targets.Target`. What is written is seen by others after `finish`, all at once.

    `scratch` is an empty folder for files on their way.
    """

    def __init__(self, spec: HubTarget, scratch: Path) -> None:
        self.uri = f"{HUB}{spec.repo}"
        self._spec, self._hub, self._scratch = spec, client_of(spec), scratch
        self._pending: dict[str, CommitOperationAdd] = {}

    @cached_property
    def _standing(self) -> tuple[str | None, dict[str, str]]:
        """The repository, made if it was not there: its commit, and its files with their sha256 where a hub has it."""
        hub, spec = self._hub, self._spec
        hub.ask(lambda: hub.api.create_repo(spec.repo, private=spec.private, exist_ok=True))
        found = hub.ask(lambda: hub.api.model_info(spec.repo, files_metadata=True))
        if spec.private and found.private is False:
            raise unusable(f"{self.uri} is public: make it private there, or write `private: false` into {FIELD}")
        files = {s.rfilename: s.lfs.sha256 if s.lfs else "" for s in found.siblings or []}
        return found.sha, {name: sha for name, sha in files.items() if name not in _OF_THE_HUB}

    def names(self) -> set[str]:
        """See Target."""
        return {*self._standing[1], *self._pending}

    def read(self, name: str) -> bytes | None:
        """See Target."""
        from huggingface_hub import hf_hub_download

        commit, there = self._standing
        if name not in there:
            return None
        hub, folder = self._hub, self._scratch / "read"
        path = hub.ask(
            lambda: hf_hub_download(
                self._spec.repo, name, revision=commit, local_dir=folder, endpoint=hub.endpoint, token=hub.token
            )
        )
        return Path(path).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See Target."""
        from huggingface_hub import CommitOperationAdd

        self._pending[name] = CommitOperationAdd(name, data)

    def bring(self, store: Store, name: str, blob: FileEntry) -> None:
        """See Target. What the hub takes as a large file lies there afterwards, and here no more."""
        from huggingface_hub import CommitOperationAdd

        if self._standing[1].get(name) == blob.sha256:
            return
        path = self._scratch / "blobs" / name  # not by its content: two files may have the same
        need_space(self._scratch, blob.size, name)
        store.fetch_blob(blob.sha256, path)
        with _Counted(io.FileIO(path)) as file:
            added = CommitOperationAdd(name, file)
            added.upload_info.sha256 = bytes.fromhex(blob.sha256)
            self._hub.ask(lambda: self._hub.api.preupload_lfs_files(self._spec.repo, [added]))
        if added.path_or_fileobj is file:  # a small one goes with the commit
            added = CommitOperationAdd(name, path.read_bytes())
        path.unlink()
        self._pending[name] = added

    def finish(self, message: str) -> None:
        """See Target. Where all is as it was there is no new commit; after Overtaken nothing is pending any more."""
        hub, changes, before = self._hub, list(self._pending.values()), self._standing[0]
        try:
            done = hub.ask(
                lambda: hub.api.create_commit(self._spec.repo, changes, commit_message=message, parent_commit=before)
            )
        except Overtaken:
            self._pending.clear()
            del self._standing
            raise
        self.uri = f"{HUB}{self._spec.repo}@{done.oid}"


class _Counted(io.BufferedReader):
    """A file whose bytes are told to the process's meter as they are read."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        MOVED.add(len(data))
        return data
