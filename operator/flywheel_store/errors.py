"""What can be wrong with a store: a closed set, and the one table from S3's error codes to it.

Messages name the fix. They hold no key, signature, request id or address of an object, and are the same for every try:
the operator writes them into conditions.
"""

from __future__ import annotations

import urllib3
from minio.error import InvalidResponseError, S3Error, ServerError

from flywheel_api.causes import Cause, ExitCode, FlywheelError
from flywheel_api.conditions import Reason

MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NotFound", "ResourceNotFound", "404"})
HELD = frozenset({"PreconditionFailed"})
DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"})
# 409 ConditionalRequestConflict: another write was under way; whether the key is held is not known yet
TRANSIENT = frozenset({
    "SlowDown", "SlowDownRead", "SlowDownWrite", "Busy", "InternalError", "ServiceUnavailable", "RequestTimeout",
    "OperationAborted", "ConditionalRequestConflict", "XMinioServerNotInitialized",
    "BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch", "IncompleteBody",
})  # fmt: skip
_TRANSIENT_STATUS = frozenset({429, 500, 502, 503, 504})
_TRANSPORT = (InvalidResponseError, ServerError, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)


class StoreProblem(FlywheelError):
    """The store cannot be used as it is: its settings, its keys' rights, its bucket. A person must act."""

    cause = Cause.VALIDATION
    exit_code = ExitCode.VALIDATION
    reason: Reason

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, reason)


class StoreUnavailable(StoreProblem):
    """No answer, or one that asks for patience: another try may help."""

    cause = Cause.INFRA
    exit_code = ExitCode.STORE

    def __init__(self, message: str) -> None:
        super().__init__(Reason.STORE_UNREACHABLE, message)


class StoreRefused(StoreProblem):
    """The store answered with an error that nothing here has a plan for."""

    cause = Cause.APP
    exit_code = ExitCode.APP

    def __init__(self, message: str) -> None:
        super().__init__(Reason.STORE_UNREACHABLE, message)


class CorruptArtifact(FlywheelError):
    """Bytes in the store do not have the digest that a manifest gives them, or are missing."""

    cause = Cause.VALIDATION
    exit_code = ExitCode.VALIDATION
    default_reason = "CorruptArtifact"


def problem_of(error: Exception, where: str, bucket: str) -> StoreProblem | None:
    """What went wrong, with `where` as in `https://host:port`; None for what is no matter of the store."""
    if isinstance(error, S3Error):
        if error.code in DENIED:
            return StoreProblem(
                Reason.STORE_DENIED,
                f"the store at {where} refuses our keys ({error.code}): check accessKey and secretKey of the store "
                f"Secret, and that their policy allows read, write and list in bucket {bucket!r}",
            )
        if error.code == "NoSuchBucket":
            return StoreProblem(Reason.BUCKET_NOT_FOUND, f"bucket {bucket!r} does not exist at {where}: create it")
        if error.code in TRANSIENT or error.response.status in _TRANSIENT_STATUS:
            return StoreUnavailable(f"the store at {where} answers {error.code}; retrying")
        return StoreRefused(f"the store at {where} answers {error.code} (bucket {bucket!r})")
    if isinstance(error, _TRANSPORT):
        return StoreUnavailable(
            f"no answer from the store at {where}, bucket {bucket!r} ({type(error).__name__}): check endpoint and "
            "secure of the store Secret, and the network policies; retrying"
        )
    return None
