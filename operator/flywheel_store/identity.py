"""Who signs requests: the keys of the Secret, or where it has none the identity of this pod.

minio-py's provider knows IRSA (a web identity at STS), EKS Pod Identity and the role of an EC2 instance, reads a
token's file anew each time, and asks again shortly before keys expire. Its errors quote requests, and those hold
tokens: here they become sentences.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from minio.credentials import Credentials, IamAwsProvider, Provider, StaticProvider
from urllib3 import exceptions as transport

from flywheel_api.conditions import Reason
from flywheel_store.connection import Limits, manager, proxy_for
from flywheel_store.errors import StoreUnavailable
from flywheel_store.settings import StoreSettings, authorities, tls_context

_STATUS = re.compile(r"HTTP status code (\d{3})")
STS_URL = "AWS_ENDPOINT_URL_STS"  # of a server with an STS of its own (MinIO): it has the store's authorities
AWS_STS = "https://sts.amazonaws.com"
METADATA = "http://169.254.169.254"
_ANSWER_SECONDS = 10.0
_METADATA_SECONDS = 2.0  # an address that nobody has outside EC2: silence there is an answer


@dataclass(frozen=True)
class Source:
    """Where an identity becomes keys: its name for people, and the variable that says so."""

    name: str
    variable: str = ""


STS = Source("STS (AssumeRoleWithWebIdentity)", "AWS_WEB_IDENTITY_TOKEN_FILE")
CONTAINER = Source("the agent for pod identities", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
INSTANCE = Source("the metadata of this node's instance")


def source_of(environ: Mapping[str, str]) -> Source:
    """Whom minio-py's provider will ask in this pod."""
    return next((source for source in (STS, CONTAINER) if environ.get(source.variable)), INSTANCE)


def provider_of(settings: StoreSettings, limits: Limits) -> Provider:
    """What gives the keys for a request."""
    if not settings.by_identity:
        return StaticProvider(settings.access_key, settings.secret_key)
    return Identity(settings, limits)


class Identity(Provider):
    """Keys of this pod's identity, made anew shortly before they expire; for many threads."""

    def __init__(self, settings: StoreSettings, limits: Limits) -> None:
        self._where, self._lock = settings.where, threading.Lock()
        self._source = source_of(os.environ)
        by_sts, by_node = self._source is STS, self._source is INSTANCE
        own_sts = os.environ.get(STS_URL) if by_sts else None
        context = tls_context(settings) if own_sts else ssl.create_default_context(cafile=authorities())
        proxy = proxy_for(own_sts or AWS_STS) if by_sts else None  # the others are on the node
        waits = min(limits.connect, _METADATA_SECONDS) if by_node else limits.connect
        client = manager(proxy, Limits(connect=waits, silence=min(limits.silence, _ANSWER_SECONDS)), context)
        at = METADATA if by_node else own_sts
        self._inner = IamAwsProvider(http_client=client, custom_endpoint=at, region=settings.region or None)

    def retrieve(self) -> Credentials:
        """Keys that hold for ten seconds or longer. Raises StoreUnavailable."""
        with self._lock:
            try:
                return self._inner.retrieve()
            except Exception as error:
                problem = self._meaning(error)
        raise problem  # out here: the library's error, which may quote a token, hangs on nothing that is printed

    def _meaning(self, error: Exception) -> StoreUnavailable:
        status = _STATUS.search(str(error))
        answers = status is not None and int(status[1]) < 500
        if self._source is INSTANCE and (answers or isinstance(error, (transport.HTTPError, OSError))):
            return StoreUnavailable(
                f"the Secret of the store at {self._where} has no accessKey and secretKey, and this pod has no "
                "identity: add both keys, or give the ServiceAccount of the pod a role that may use the bucket",
                Reason.SECRET_KEY_MISSING,
            )
        if isinstance(error, FileNotFoundError) or "reading file" in str(error):
            return self._denied("its token file is not there: is the token projected into this pod?")
        if status is not None and answers:
            return self._denied(f"HTTP {status[1]}: see that the role trusts this pod's ServiceAccount")
        why = f"HTTP {status[1]}" if status is not None else type(error).__name__
        return StoreUnavailable(f"no keys for the store at {self._where}: {self._source.name} fails ({why}); retrying")

    def _denied(self, why: str) -> StoreUnavailable:
        text = f"the identity of this pod gets no keys for the store at {self._where} from {self._source.name}: {why}"
        return StoreUnavailable(text, Reason.STORE_DENIED)
