"""A hub that speaks the Hugging Face protocol: the public one, or a mirror.

What it answers is one of three things: what was asked for; weather, which passes (no answer, 429, 5xx, a commit of
somebody else just before one's own); or a refusal, which a person has to mend (no such model or revision, a licence
that is not accepted, a token that is wrong).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from flywheel_api.base import HUB, secret_value
from flywheel_api.stages import HUB_TOKEN_ENV
from flywheel_jobs.core.errors import EndpointUnavailable, ValidationFailure

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
DENIED, UNAVAILABLE, NOT_FOUND = "HubDenied", "HubUnavailable", "ModelNotFound"
PIECE = 256 << 10  # bytes of a file at a time: for each of the library's own 10 MiB the system clears fresh memory
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_OVERTAKEN = frozenset({409, 412})


class Overtaken(EndpointUnavailable):
    """Somebody else has committed since the repository was looked at; nothing of one's own was."""


class HubClient:
    """A hub about one model. `ref` is hf://org/name[@revision]; `field` of the spec is where its token stands."""

    def __init__(self, ref: str, field: str, endpoint: str | None = None, token: str | None = None) -> None:
        os.environ["HF_HUB_OFFLINE"] = "0"  # images of ours set it for what is served and trained; read at the import
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        from huggingface_hub import HfApi, constants

        constants.DOWNLOAD_CHUNK_SIZE = PIECE
        self.ref, self.endpoint, self.token = ref, endpoint, token or False
        self._field = field
        self.api: HfApi = HfApi(endpoint=endpoint, token=self.token)

    @property
    def where(self) -> str:
        """The hub for people."""
        return self.endpoint or "the public hub"

    def ask(self, work: Callable[[], T]) -> T:
        """What the library's call gives. Raises ValidationFailure, EndpointUnavailable, of which Overtaken is one."""
        try:
            return work()
        except Exception as error:
            raise self._meaning(error) from error

    def _meaning(self, error: Exception) -> Exception:
        """A failure of the library in our own words; what is no answer of a hub stays as it is."""
        from huggingface_hub import errors

        cause: Exception = error
        wraps = isinstance(error, errors.LocalEntryNotFoundError | RuntimeError)
        if wraps and isinstance(error.__cause__, Exception):
            cause = error.__cause__
        status = getattr(getattr(cause, "response", None), "status_code", None)
        repo, _, revision = self.ref.removeprefix(HUB).partition("@")
        field = f"{self._field}.token"
        who = f"its token ({field})" if self.token else f"a token ({field}: a Secret of this namespace)"
        match cause:
            case errors.GatedRepoError():
                text = f"{self.ref} is gated: accept its licence on its page, and give {who} of an account that has"
                return ValidationFailure(text, DENIED)
            case errors.RevisionNotFoundError():
                return ValidationFailure(f"{repo} has no revision {revision!r}: look at its page", NOT_FOUND)
            case errors.RepositoryNotFoundError() | errors.HFValidationError():
                text = f"{self.where} has no model {repo!r}, or it is private: correct the name, or give {who}"
                return ValidationFailure(text, NOT_FOUND)
            case errors.RemoteEntryNotFoundError():
                return ValidationFailure(f"a file of {self.ref} is gone: {cause}"[:400], NOT_FOUND)
            case _ if status in (401, 403):
                return ValidationFailure(f"{self.where} refuses {self.ref} ({status}): give {who} the right", DENIED)
            case _ if status in _OVERTAKEN:
                text = f"others commit to {self.ref} at the same time: {cause}"
                return Overtaken(text[:400], UNAVAILABLE)
            case _ if status is not None and status not in _BUSY and 400 <= status < 500:
                return ValidationFailure(f"{self.where} refuses {self.ref}: {cause}"[:400], DENIED)
            case OSError():  # timeouts, resets, name resolution and 5xx: all of the library's and its transport's
                return EndpointUnavailable(f"{self.where} does not answer for {self.ref}: {cause}"[:400], UNAVAILABLE)
        return self._of_transport(cause)

    def _of_transport(self, error: Exception) -> Exception:
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
            text = f"{self.where} does not answer for {self.ref}: {type(error).__name__}: {error}"
            return EndpointUnavailable(text[:400], UNAVAILABLE)
        return error


def token_of_pod(field: str) -> str | None:
    """The token that the pod was given. Raises ValidationFailure, which never quotes it."""
    value = os.environ.get(HUB_TOKEN_ENV)
    if value is None:
        return None
    try:
        return secret_value(value)
    except ValueError as error:
        raise ValidationFailure(f"the token of {field} {error}", "SecretKeyInvalid") from error
