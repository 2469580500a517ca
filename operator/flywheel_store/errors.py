"""What can be wrong with a store: a closed set, and the one table from what servers and sockets say to it.

Messages name the fix. They hold no key, signature, request id or address of an object, and are the same for every try:
the operator writes them into conditions.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from urllib3 import exceptions as transport

from flywheel_api.causes import Cause, ExitCode, FlywheelError
from flywheel_api.conditions import Reason

NO_S3 = "NoS3Answer"  # our own code: a page of a proxy or an empty body where S3 says something
_SKEW_SECONDS = 600.0  # servers refuse signatures from 15 minutes on


class StoreProblem(FlywheelError):
    """The store cannot be used as it is: its settings, its bucket. A person must act."""

    cause = Cause.VALIDATION
    exit_code = ExitCode.VALIDATION
    reason: Reason

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, reason)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), self.reason, str(self))  # Ray brings it from another node


class StoreUnavailable(StoreProblem):
    """No answer, or one that another try, another key of the Secret or more space may change: never final."""

    cause = Cause.INFRA
    exit_code = ExitCode.STORE

    def __init__(self, message: str, reason: Reason = Reason.STORE_UNREACHABLE) -> None:
        super().__init__(reason, message)


class StoreRefused(StoreProblem):
    """The store answered with an error that nothing here has a plan for."""

    cause = Cause.APP
    exit_code = ExitCode.APP

    def __init__(self, message: str, reason: Reason = Reason.STORE_REFUSED) -> None:
        super().__init__(reason, message)


def _made(kind: type[StoreProblem], reason: Reason, message: str) -> StoreProblem:
    if issubclass(kind, (StoreUnavailable, StoreRefused)):
        return kind(message, reason)
    return kind(reason, message)


class CorruptArtifact(FlywheelError):
    """Bytes in the store do not have the digest that a manifest gives them, or are missing.

    `found` is the digest of the wrong bytes: the same ones twice are the store's, others are the line's.
    """

    cause = Cause.VALIDATION
    exit_code = ExitCode.VALIDATION
    default_reason = "CorruptArtifact"
    found = ""


@dataclass
class Refusal(Exception):
    """An answer of the server that is no success. `did` is GET, HEAD, LIST, PUT, POST or DELETE."""

    did: str
    status: int
    code: str
    region: str = ""
    """The region that the server expects, where it says so."""
    location: str = ""
    """Scheme and host that it redirects to."""
    skew: float = field(default=0.0, compare=False)
    """Seconds by which its clock is ahead of ours."""

    @property
    def missing(self) -> bool:
        """Whether it says that there is no such object, the bucket being there."""
        other = self.code in ("NoSuchBucket", "NoSuchUpload", NO_S3) or "AccessKey" in self.code
        return self.status == 404 and not other


class TornRead(Exception):
    """A body broke off and cannot be gone on with: the whole of it must be read again."""


@dataclass(frozen=True)
class _Kind:
    """A row of the table: answers whose code matches, or whose status it is."""

    code: re.Pattern[str]
    statuses: frozenset[int]
    problem: type[StoreProblem]
    reason: Reason
    says: str


def _kind(code: str, statuses: tuple[int, ...], problem: type[StoreProblem], reason: Reason, says: str) -> _Kind:
    return _Kind(re.compile(code), frozenset(statuses), problem, reason, says)


_CLOCK = _kind(
    r"Skew|RequestExpired|RequestInTheFuture",
    (),
    StoreUnavailable,
    Reason.STORE_DENIED,
    "the clocks of this node and of the store at {where} differ by more than 10 minutes ({code}): set the node's "
    "clock (NTP)",
)
_PLAIN_HTTP = _kind(
    r"^$",
    (),
    StoreUnavailable,
    Reason.STORE_UNREACHABLE,
    "the store at {where} speaks TLS there: write https:// in endpoint of the store Secret",
)
_OTHER_REGION = _kind(
    r"AuthorizationHeaderMalformed|PermanentRedirect|TemporaryRedirect|IllegalLocation|(Invalid|Incorrect)(Region|Location)",
    (),
    StoreProblem,
    Reason.SECRET_KEY_INVALID,
    "bucket {bucket!r} at {where} is in {region} ({code}): write that into region of the store Secret, and its "
    "endpoint into endpoint",
)
# the first row that fits
_ANSWERS = (
    _CLOCK,
    _kind(
        r"StorageFull|InsufficientStorage|NoSpace|DiskFull",
        (507,),
        StoreUnavailable,
        Reason.STORE_FULL,
        "the store at {where} is full ({code}): free space there or add disks; retrying",
    ),
    _kind(
        r"Quota|[Cc]ap_?[Ee]xceeded|StorageLimit|(?:Max|TooMany)Objects",
        (),
        StoreUnavailable,
        Reason.STORE_FULL,
        "the quota of bucket {bucket!r} at {where} is used up ({code}): raise it or delete what is not needed; "
        "retrying",
    ),
    _kind(
        r"Expired|^InvalidToken$|TokenRefresh",
        (),
        StoreUnavailable,
        Reason.STORE_DENIED,
        "the keys for the store at {where} have expired ({code}): put new ones into accessKey and secretKey of the "
        "store Secret",
    ),
    _kind(
        r"SlowDown|Thrott|TooManyRequests|Bandwidth|RequestLimit|Busy|RateLimit",
        (429, 509),
        StoreUnavailable,
        Reason.STORE_BUSY,
        "the store at {where} asks for fewer requests ({code}); retrying",
    ),
    _OTHER_REGION,
    _kind(
        r"^Redirect$",
        (301, 302, 303, 307, 308),
        StoreProblem,
        Reason.SECRET_KEY_INVALID,
        "{where} redirects to {location}, which no client may follow with its signature: write that address into "
        "endpoint of the store Secret",
    ),
    _kind(r"^NoSuchBucket$", (), StoreProblem, Reason.BUCKET_NOT_FOUND,
          "bucket {bucket!r} does not exist at {where}: create it"),
    _kind(
        r"AccountProblem|Suspended|NotSignedUp|Payment|InvalidPayer|OptInRequired|Arrear|Overdue|Billing(?:Not|Dis)"
        r"|(?:User|Account)Disabled?|AccountFrozen",
        (402,),
        StoreUnavailable,
        Reason.STORE_DENIED,
        "the account of these keys is closed or unpaid at {where} ({code}): settle that with whoever runs the store",
    ),
    _kind(
        r"InvalidObjectState|ObjectArchived",
        (),
        StoreRefused,
        Reason.STORE_REFUSED,
        "the object lies in an archive of the store at {where} ({code}): restore it, and take the lifecycle rule that "
        "archives objects below the prefix away from bucket {bucket!r}",
    ),
    _kind(r"^(?i:KMS)|KMSKey|KeyDisabled|XMinioKMS", (), StoreUnavailable, Reason.STORE_DENIED,
          "the store at {where} cannot use the key that encrypts bucket {bucket!r} ({code}): see that it is on, and "
          "that kms:GenerateDataKey and kms:Decrypt with it are allowed"),
    _kind(
        r"^ObjectLock|UnderRetention|ByRetention|Retention(?:Period|Policy)|Immutable|LegalHold|BucketLocked|WORM",
        (),
        StoreUnavailable,
        Reason.STORE_DENIED,
        "a lock on objects of bucket {bucket!r} at {where} forbids {did} ({code}): take the retention rule or legal "
        "hold away below the prefix, or wait until it ends",
    ),
    _kind(
        r"AccessDenied|AccessKey|Credentials|SignatureDoesNotMatch|AllAccessDisabled|InvalidSecurity|Unauthori[sz]ed"
        r"|Forbidden",
        (401, 403),
        StoreUnavailable,
        Reason.STORE_DENIED,
        "the store at {where} refuses {did} ({code}): check accessKey and secretKey of the store Secret (without "
        "them, the role of this pod), and that their policy allows {action} in bucket {bucket!r} below the prefix",
    ),
    _kind(r"^NotImplemented$", (501,), StoreRefused, Reason.STORE_REFUSED,
          "the store at {where} cannot do what {did} asks for ({code}), mostly a write with If-None-Match: use a "
          "server with conditional writes"),
    _kind(r"^HTTP 407$", (407,), StoreUnavailable, Reason.STORE_UNREACHABLE,
          "the proxy before the store at {where} asks who this is ({code}): write user and password into HTTPS_PROXY "
          "or HTTP_PROXY of this pod, or name the store in NO_PROXY"),
    _kind(r"^HTTP 413$|EntityTooLarge|MessageLengthExceeded", (413,), StoreRefused, Reason.STORE_REFUSED,
          "something before the store at {where} takes no request of that size ({code}): let 64 MiB pass there "
          "(client_max_body_size, proxy-body-size)"),
    _kind(
        r"NoSuchUpload|InternalError|ServiceUnavailable|RequestTimeout|Conflict|OperationAborted|NotInitialized"
        r"|BadDigest|(?:Checksum|SHA256|MD5|(?i:crc)\w{0,4})(?:Mismatch|Error)|IncompleteBody|" + NO_S3,
        (408, 409, 412, 425, 499, 500, *range(502, 600)),  # gateways have numbers of their own, all of them weather
        StoreUnavailable,
        Reason.STORE_BUSY,
        "the store at {where} answers {code}; retrying",
    ),
)  # fmt: skip
_OTHER = _kind(r"", (), StoreRefused, Reason.STORE_REFUSED,
               "the store at {where} answers {code} to {did} (bucket {bucket!r})")  # fmt: skip
_ACTIONS = {
    "GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject", "POST": "s3:PutObject",
    "DELETE": "s3:DeleteObject", "LIST": "s3:ListBucket",
}  # fmt: skip

_CERTIFICATES = (
    (r"mismatch|doesn't match", "its certificate is for another name: write a name that it holds into endpoint"),
    (r"has expired|not yet valid", "its certificate is out of date: renew it there, and check this node's clock"),
    (r"self-signed|self signed|issuer|unable to get",
     "its certificate is of an authority that is not trusted here: put that authority's PEM, with all between, into "
     "caBundle of the store Secret"),
)  # fmt: skip
_SOCKETS = (
    (r"ProxyError|Tunnel connection failed",
     "the proxy before it does not answer or refuses: correct HTTPS_PROXY of this pod, or name the store in NO_PROXY"),
    (r"WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER|record layer",
     "it speaks no TLS there: write http:// in endpoint, or another port"),
    (r"NameResolution|getaddrinfo|not known|No address", "its name does not resolve: check endpoint and DNS"),
    (r"refused", "nobody listens there: check endpoint and its port"),
    (r"unreachable|No route", "there is no route to it: check endpoint and the network policies"),
    (r"ConnectTimeout", "no connection came about: check endpoint and the network policies"),
)  # fmt: skip


def problem_of(error: Exception, where: str, bucket: str) -> StoreProblem | None:
    """What went wrong, with `where` as in `https://host:port`; None for what is no matter of the store."""
    if isinstance(error, StoreProblem):
        return error
    if isinstance(error, Refusal):
        return _refused(error, where, bucket)
    if isinstance(error, (transport.HTTPError, ConnectionError, TimeoutError, ssl.SSLError, TornRead)):
        return StoreUnavailable(f"no answer from the store at {where}, bucket {bucket!r}: {_why(error)}; retrying")
    return None


def _refused(answer: Refusal, where: str, bucket: str) -> StoreProblem:
    kind = next((k for k in _ANSWERS if k.code.search(answer.code)), None)
    kind = kind or next((k for k in _ANSWERS if answer.status in k.statuses), _OTHER)
    if kind.reason is Reason.STORE_DENIED and abs(answer.skew) > _SKEW_SECONDS:
        kind = _CLOCK  # HEAD has no body that could say so
    if answer.code == "PlainHttp":
        kind = _PLAIN_HTTP
    if 300 <= answer.status < 400 and not answer.location:
        kind = _OTHER_REGION  # the same of the 301 that AWS answers to a HEAD
    filled = {
        "where": where,
        "bucket": bucket,
        "did": answer.did,
        "code": answer.code,
        "region": f"region {answer.region!r}" if answer.region else "another region",
        "location": answer.location or "nowhere",
        "action": _ACTIONS[answer.did],
    }
    return _made(kind.problem, kind.reason, kind.says.format(**filled))


def _why(error: BaseException) -> str:
    chain = list(_chain(error))
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return next(
                (says for words, says in _CERTIFICATES if re.search(words, str(cause))),
                "its certificate cannot be trusted: check caBundle of the store Secret",
            )
    said = " ".join(f"{type(cause).__name__} {cause}" for cause in chain)
    found = next((says for words, says in _SOCKETS if re.search(words, said)), None)
    return found or f"{type(chain[-1]).__name__}, the connection broke or was silent"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it wraps, as urllib3 does it in several ways."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        held = [getattr(one, "reason", None), getattr(one, "original_error", None), one.__cause__, *one.args]
        todo += [h for h in held if isinstance(h, BaseException)]
