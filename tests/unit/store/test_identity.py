"""A store without keys in its Secret: requests are signed by the identity of the pod, whatever gives it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from contract.thread_server import served
from flywheel_api.conditions import Reason
from flywheel_store import identity
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits
from flywheel_store.errors import StoreUnavailable
from flywheel_store.settings import StoreSettings, from_env

ONCE = Limits(connect=2, silence=5, patience=0.0)
ROLE, CANARY = "arn:aws:iam::1:role/flywheel", "token-canary"
XML = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>session-{key}</SessionToken><Expiration>{until}</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@dataclass
class Cloud:
    """STS, the agent for pod identities, and a store that notes who signed."""

    port: int = 0
    refuses: int = 0
    lasts: timedelta = timedelta(hours=1)
    tokens: list[str] = field(default_factory=list)
    """What was shown for keys."""
    signed: list[tuple[str, str]] = field(default_factory=list)
    """Access key and session token of each request to the store."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> StoreSettings:
        return from_env({"FLYWHEEL_S3_ENDPOINT": self.url, "FLYWHEEL_S3_BUCKET": "flywheel"})

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/v1/credentials":
            return self._keys(request.headers["Authorization"], agent=True)
        if request.query.get("Action") == "AssumeRoleWithWebIdentity":
            assert request.query["RoleArn"] == ROLE
            return self._keys(request.query["WebIdentityToken"], agent=False)
        signature = request.headers["Authorization"]
        assert "x-amz-security-token" in signature.partition("SignedHeaders=")[2]
        key = signature.partition("Credential=")[2].partition("/")[0]
        self.signed.append((key, request.headers["x-amz-security-token"]))
        return web.Response(body=b"well")

    def _keys(self, token: str, agent: bool) -> web.Response:
        self.tokens.append(token)
        if self.refuses:
            return web.Response(status=self.refuses, text=f"{CANARY} is refused")
        key, until = f"key{len(self.tokens)}", f"{datetime.now(UTC) + self.lasts:%Y-%m-%dT%H:%M:%SZ}"
        if agent:
            made = {"AccessKeyId": key, "SecretAccessKey": "s", "Token": f"session-{key}", "Expiration": until}
            return web.json_response(made)
        return web.Response(text=XML.format(key=key, until=until), content_type="text/xml")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    for name in (identity.STS.variable, identity.CONTAINER.variable, identity.STS_URL, "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    made, app = Cloud(), web.Application()
    app.router.add_route("*", "/{any:.*}", made.handle)
    with served(app) as made.port:
        yield made


@pytest.fixture(params=["web identity", "pod identity"])
def token(request: pytest.FixtureRequest, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that the kubelet keeps a token in, of a pod that has the variables of its webhook."""
    path = tmp_path / "token"
    path.write_text(f"{CANARY}-1")
    if request.param == "web identity":
        monkeypatch.setenv(identity.STS.variable, str(path))
        monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
        monkeypatch.setenv(identity.STS_URL, cloud.url)
    else:
        monkeypatch.setenv(identity.CONTAINER.variable, f"{cloud.url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(path))
    return path


def test_keys_are_kept_while_they_hold(cloud: Cloud, token: Path) -> None:
    bucket = S3Bucket(cloud.settings, ONCE)
    assert [bucket.get(f"x{n}") for n in range(3)] == [b"well"] * 3
    assert cloud.signed == [("key1", "session-key1")] * 3 and cloud.tokens == [f"{CANARY}-1"]


def test_keys_that_expire_are_made_anew_with_the_token_of_that_time(cloud: Cloud, token: Path) -> None:
    cloud.lasts = timedelta(seconds=5)  # fewer than the ten that a request may take
    bucket = S3Bucket(cloud.settings, ONCE)
    bucket.get("x")
    token.write_text(f"{CANARY}-2")  # the kubelet rotates it
    bucket.get("x")
    assert cloud.tokens == [f"{CANARY}-1", f"{CANARY}-2"]
    assert [key for key, _ in cloud.signed] == ["key1", "key2"]


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        (403, Reason.STORE_DENIED, "see that the role trusts"),
        (503, Reason.STORE_UNREACHABLE, r"\(HTTP 503\); retrying"),
    ],
)
def test_an_identity_that_is_refused_is_said_without_its_token(
    cloud: Cloud, token: Path, status: int, reason: Reason, says: str
) -> None:
    cloud.refuses = status
    with pytest.raises(StoreUnavailable, match=says) as caught:
        S3Bucket(cloud.settings, ONCE).get("x")
    assert caught.value.reason is reason and CANARY not in str(caught.value)
    told = "".join(str(e) for e in (caught.value.__cause__, caught.value.__context__) if e is not None)
    assert CANARY not in told, "the log prints these too"


def test_a_token_that_is_not_projected_is_said(cloud: Cloud, token: Path) -> None:
    token.unlink()
    with pytest.raises(StoreUnavailable, match="is the token projected into this pod"):
        S3Bucket(cloud.settings, ONCE).get("x")


def test_neither_keys_nor_identity(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside EC2 nobody answers at the metadata's address."""
    monkeypatch.setattr(identity, "METADATA", "http://127.0.0.1:9")
    with pytest.raises(
        StoreUnavailable, match="has no accessKey and secretKey, and this pod has no identity"
    ) as caught:
        S3Bucket(cloud.settings, ONCE).get("x")
    assert caught.value.reason is Reason.SECRET_KEY_MISSING and not cloud.signed
