"""What S3 servers and those before them answer, as people met it, and what is made of it."""

from __future__ import annotations

import pytest

from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_store.errors import Refusal, problem_of

R, C = Reason, Cause
ANSWERS: list[tuple[str, int, str, Reason, Cause, str]] = [
    ("PUT", 400, "EntityTooSmall", R.STORE_REFUSED, C.APP, "EntityTooSmall"),
    ("PUT", 400, "EntityTooLarge", R.STORE_REFUSED, C.APP, "client_max_body_size"),
    ("POST", 400, "InvalidPart", R.STORE_REFUSED, C.APP, "InvalidPart"),
    ("POST", 400, "InvalidPartOrder", R.STORE_REFUSED, C.APP, "InvalidPartOrder"),
    ("PUT", 400, "XAmzContentSHA256Mismatch", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 400, "XAmzContentChecksumMismatch", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 502, "HTTP 502", R.STORE_BUSY, C.INFRA, "502"),
    *(
        ("PUT", status, f"HTTP {status}", R.STORE_BUSY, C.INFRA, "retrying")
        for status in (499, 505, 508, 511, 525, 526, 527, 598, 599)
    ),
    ("PUT", 501, "HTTP 501", R.STORE_REFUSED, C.APP, "conditional writes"),
    ("PUT", 507, "HTTP 507", R.STORE_FULL, C.INFRA, "full"),
    ("PUT", 503, "ServiceUnavailable", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 503, "SlowDownWrite", R.STORE_BUSY, C.INFRA, "fewer requests"),
    ("GET", 503, "SlowDownRead", R.STORE_BUSY, C.INFRA, "fewer requests"),
    ("PUT", 503, "XMinioServerNotInitialized", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 500, "XMinioStorageInsufficientWriteQuorum", R.STORE_BUSY, C.INFRA, "retrying"),
    ("GET", 503, "XMinioInsufficientReadQuorum", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 507, "XMinioStorageFull", R.STORE_FULL, C.INFRA, "is full"),
    ("PUT", 403, "QuotaExceeded", R.STORE_FULL, C.INFRA, "quota"),
    ("PUT", 400, "TooManyParts", R.STORE_REFUSED, C.APP, "TooManyParts"),
    ("PUT", 403, "SignatureDoesNotMatch", R.STORE_DENIED, C.INFRA, "accessKey and secretKey"),
    ("PUT", 403, "InvalidAccessKeyId", R.STORE_DENIED, C.INFRA, "accessKey"),
    ("PUT", 403, "AccountProblem", R.STORE_DENIED, C.INFRA, "account"),
    ("GET", 403, "InvalidObjectState", R.STORE_REFUSED, C.APP, "archive"),
    ("GET", 403, "KMS.DisabledException", R.STORE_DENIED, C.INFRA, "kms:GenerateDataKey"),
    ("PUT", 400, "KMS.NotFoundException", R.STORE_DENIED, C.INFRA, "kms:GenerateDataKey"),
    ("PUT", 400, "InvalidEncryptionAlgorithmError", R.STORE_REFUSED, C.APP, "InvalidEncryptionAlgorithmError"),
    ("PUT", 403, "RequestTimeTooSkewed", R.STORE_DENIED, C.INFRA, "clock"),
    ("PUT", 400, "RequestTimeout", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 400, "ExpiredToken", R.STORE_DENIED, C.INFRA, "expired"),
    ("PUT", 403, "ExpiredTokenException", R.STORE_DENIED, C.INFRA, "expired"),
    ("PUT", 400, "AuthorizationHeaderMalformed", R.SECRET_KEY_INVALID, C.VALIDATION, "region"),
    ("HEAD", 301, "PermanentRedirect", R.SECRET_KEY_INVALID, C.VALIDATION, "region"),
    ("PUT", 409, "OperationAborted", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 409, "ConditionalRequestConflict", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 409, "BucketNotEmpty", R.STORE_BUSY, C.INFRA, "BucketNotEmpty"),
    ("LIST", 404, "NoSuchBucket", R.BUCKET_NOT_FOUND, C.VALIDATION, "create it"),
    ("LIST", 400, "InvalidBucketName", R.STORE_REFUSED, C.APP, "bucket"),
    ("PUT", 405, "MethodNotAllowed", R.STORE_REFUSED, C.APP, "MethodNotAllowed"),
    ("PUT", 501, "NotImplemented", R.STORE_REFUSED, C.APP, "conditional writes"),
    ("PUT", 413, "HTTP 413", R.STORE_REFUSED, C.APP, "client_max_body_size"),
    ("PUT", 413, "EntityTooLarge", R.STORE_REFUSED, C.APP, "client_max_body_size"),
    ("PUT", 403, "CSRFTokenError", R.STORE_DENIED, C.INFRA, "CSRF"),
    ("PUT", 418, "HTTP 418", R.STORE_REFUSED, C.APP, "418"),
    ("PUT", 411, "MissingContentLength", R.STORE_REFUSED, C.APP, "MissingContentLength"),
    ("PUT", 400, "MissingContentMD5", R.STORE_REFUSED, C.APP, "MissingContentMD5"),
    ("PUT", 400, "InvalidStorageClass", R.STORE_REFUSED, C.APP, "InvalidStorageClass"),
    ("PUT", 503, "InsufficientCapacity", R.STORE_BUSY, C.INFRA, ""),
    ("GET", 416, "InvalidRange", R.STORE_REFUSED, C.APP, ""),
    ("PUT", 401, "HTTP 401", R.STORE_DENIED, C.INFRA, "accessKey"),
    ("PUT", 429, "HTTP 429", R.STORE_BUSY, C.INFRA, "fewer"),
    ("PUT", 509, "BandwidthLimitExceeded", R.STORE_BUSY, C.INFRA, "fewer"),
    ("PUT", 403, "AllAccessDisabled", R.STORE_DENIED, C.INFRA, "AllAccessDisabled"),
    ("PUT", 403, "cap_exceeded", R.STORE_FULL, C.INFRA, "quota"),
    ("PUT", 403, "storage_cap_exceeded", R.STORE_FULL, C.INFRA, "quota"),
    ("PUT", 400, "BadDigest", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 400, "InvalidDigest", R.STORE_REFUSED, C.APP, "InvalidDigest"),
    ("PUT", 403, "UnauthorizedAccess", R.STORE_DENIED, C.INFRA, ""),
    ("PUT", 403, "NotSignedUp", R.STORE_DENIED, C.INFRA, "account"),
    ("PUT", 403, "InArrearOrInsufficientBalance", R.STORE_DENIED, C.INFRA, "account"),
    ("GET", 403, "UserDisable", R.STORE_DENIED, C.INFRA, "account"),
    ("PUT", 403, "KeyDisabled", R.STORE_DENIED, C.INFRA, "encrypts"),
    ("PUT", 400, "KmsKeyNotFound", R.STORE_DENIED, C.INFRA, "encrypts"),
    ("PUT", 403, "UserProjectAccountProblem", R.STORE_DENIED, C.INFRA, "account"),
    ("PUT", 412, "PreconditionFailed", R.STORE_BUSY, C.INFRA, ""),
    ("DELETE", 403, "AccessDenied", R.STORE_DENIED, C.INFRA, "s3:DeleteObject"),
    ("DELETE", 400, "InvalidRequest", R.STORE_REFUSED, C.APP, "InvalidRequest"),
    ("PUT", 400, "IncompleteBody", R.STORE_BUSY, C.INFRA, "retrying"),
    ("GET", 500, "InternalError", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 520, "HTTP 520", R.STORE_BUSY, C.INFRA, "520"),
    ("PUT", 403, "StorageLimitExceeded", R.STORE_FULL, C.INFRA, "quota"),
    ("PUT", 403, "TooManyObjects", R.STORE_FULL, C.INFRA, "quota"),
    ("PUT", 404, "NoSuchAccessKeyId", R.STORE_DENIED, C.INFRA, "accessKey"),
    ("PUT", 400, "InvalidCredentials", R.STORE_DENIED, C.INFRA, "accessKey"),
    ("PUT", 403, "AccountFrozen", R.STORE_DENIED, C.INFRA, "account"),
    ("PUT", 403, "BillingNotEnabled", R.STORE_DENIED, C.INFRA, "account"),
    ("PUT", 400, "InvalidLocationConstraint", R.SECRET_KEY_INVALID, C.VALIDATION, "region"),
    ("PUT", 400, "MaxMessageLengthExceeded", R.STORE_REFUSED, C.APP, "client_max_body_size"),
    ("GET", 407, "HTTP 407", R.STORE_UNREACHABLE, C.INFRA, "NO_PROXY"),
    ("PUT", 400, "Crc64Mismatch", R.STORE_BUSY, C.INFRA, "retrying"),
    ("PUT", 422, "ChecksumError", R.STORE_BUSY, C.INFRA, "retrying"),
    ("DELETE", 403, "ObjectUnderRetention", R.STORE_DENIED, C.INFRA, "retention rule or legal hold"),
    ("PUT", 403, "FileImmutable", R.STORE_DENIED, C.INFRA, "retention rule or legal hold"),
    ("PUT", 409, "BucketLocked", R.STORE_DENIED, C.INFRA, "retention rule or legal hold"),
    ("GET", 403, "AccessDenied", R.STORE_DENIED, C.INFRA, "s3:GetObject"),
    ("PUT", 400, "RegionMismatch", R.STORE_REFUSED, C.APP, ""),
]


@pytest.mark.parametrize(("did", "status", "code", "reason", "cause", "says"), ANSWERS)
def test_an_answer_has_its_class_and_sentence(
    did: str, status: int, code: str, reason: Reason, cause: Cause, says: str
) -> None:
    problem = problem_of(Refusal(did, status, code), "https://s3:9000", "b")
    assert problem is not None
    assert (problem.reason, problem.cause) == (reason, cause) and says in str(problem)


@pytest.mark.parametrize(
    ("code", "missing"),
    [("NoSuchKey", True), ("HTTP 404", True), ("NoSuchBucket", False), ("NoSuchAccessKeyId", False)],
)
def test_a_404_is_a_missing_object_only_where_it_speaks_of_one(code: str, missing: bool) -> None:
    assert Refusal("GET", 404, code).missing is missing
