"""A hub that speaks the Hugging Face protocol: the public one, or a mirror (`base.hub.endpoint`).

What it answers is one of three things: a file; weather, which passes (no answer, 429, 5xx); or a refusal, which a
person has to mend (no such model or revision, a licence that is not accepted, a token that is wrong).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from flywheel_api.base import HUB, secret_value
from flywheel_api.stages import HUB_TOKEN_ENV
from flywheel_jobs.core.errors import EndpointUnavailable, ValidationFailure
from flywheel_jobs.imports.files import Listing, RemoteFile
from flywheel_store.traffic import MOVED

T = TypeVar("T")
DENIED, UNAVAILABLE, NOT_FOUND = "HubDenied", "HubUnavailable", "ModelNotFound"
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class Hub:
    """One model of a hub. `ref` is hf://org/name[@revision]."""

    def __init__(self, ref: str, endpoint: str | None = None, token: str | None = None) -> None:
        os.environ["HF_HUB_OFFLINE"] = "0"  # images of ours set it for what is served and trained; read at the import
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        from huggingface_hub import HfApi

        self.ref = ref
        self.repo, _, self.revision = ref.removeprefix(HUB).partition("@")
        self._endpoint, self._token = endpoint, token or False
        self._api = HfApi(endpoint=endpoint, token=self._token)

    def look(self) -> Listing:
        """The files of the revision, which is pinned to its commit. Raises ValidationFailure, EndpointUnavailable."""
        found = self._ask(lambda: self._api.model_info(self.repo, revision=self.revision or None, files_metadata=True))
        if not found.sha:
            raise EndpointUnavailable(f"the hub names no commit of {self.ref}: is {self._where} a hub?", UNAVAILABLE)
        files = tuple(
            RemoteFile(s.rfilename, s.size or 0, s.lfs.sha256 if s.lfs else None) for s in found.siblings or []
        )
        licence = str(found.card_data.get("license") or "") if found.card_data is not None else ""
        return Listing(f"{HUB}{self.repo}@{found.sha}", f"hub/{self.repo}/{found.sha}", files, licence)

    def fetch(self, listing: Listing, file: RemoteFile, folder: Path) -> Path:
        """Downloads a file below `folder`; bytes are told to the process's meter as they come."""
        from huggingface_hub import hf_hub_download

        commit = listing.source.rpartition("@")[2]
        path = self._ask(
            lambda: hf_hub_download(
                self.repo,
                file.path,
                revision=commit,
                local_dir=folder,
                endpoint=self._endpoint,
                token=self._token,
                tqdm_class=_counting(),
            )
        )
        return Path(path)

    @property
    def _where(self) -> str:
        return self._endpoint or "the public hub"

    def _ask(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except Exception as error:
            raise self._meaning(error) from error

    def _meaning(self, error: Exception) -> Exception:
        """A failure of the library in our own words; what is no answer of a hub stays as it is."""
        from huggingface_hub import errors

        cause: Exception = error
        if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
            cause = error.__cause__
        status = getattr(getattr(cause, "response", None), "status_code", None)
        who = "its token (base.hub.token)" if self._token else "a token (base.hub.token: a Secret of this namespace)"
        match cause:
            case errors.GatedRepoError():
                text = f"{self.ref} is gated: accept its licence on its page, and give {who} of an account that has"
                return ValidationFailure(text, DENIED)
            case errors.RevisionNotFoundError():
                return ValidationFailure(f"{self.repo} has no revision {self.revision!r}: look at its page", NOT_FOUND)
            case errors.RepositoryNotFoundError() | errors.HFValidationError():
                text = f"{self._where} has no model {self.repo!r}, or it is private: correct the name, or give {who}"
                return ValidationFailure(text, NOT_FOUND)
            case errors.RemoteEntryNotFoundError():
                return ValidationFailure(f"a file of {self.ref} is gone: {cause}"[:400], NOT_FOUND)
            case _ if status in (401, 403):
                return ValidationFailure(f"{self._where} refuses {self.ref} ({status}): give {who}", DENIED)
            case _ if status is not None and status not in _BUSY and 400 <= status < 500:
                return ValidationFailure(f"{self._where} refuses {self.ref}: {cause}"[:400], DENIED)
            case OSError():  # timeouts, resets, name resolution and 5xx: all of the library's and its transport's
                return EndpointUnavailable(f"{self._where} does not answer for {self.ref}: {cause}"[:400], UNAVAILABLE)
        return self._of_transport(cause)

    def _of_transport(self, error: Exception) -> Exception:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            text = f"{self._where} does not answer for {self.ref}: {type(error).__name__}: {error}"
            return EndpointUnavailable(text[:400], UNAVAILABLE)
        return error


def token_of_pod() -> str | None:
    """The token that the pod was given. Raises ValidationFailure, which never quotes it."""
    value = os.environ.get(HUB_TOKEN_ENV)
    if value is None:
        return None
    try:
        return secret_value(value)
    except ValueError as error:
        raise ValidationFailure(f"the token of base.hub {error}", "SecretKeyInvalid") from error


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
