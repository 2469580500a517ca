"""The login: every kind of credential that a kubeconfig or a pod has, kept fresh for our port and for kopf's watch."""

from __future__ import annotations

import base64
import json
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.config import incluster_config

from cluster.pki import Pki
from flywheel_operator.ports import login as module
from flywheel_operator.ports.errors import Forbidden, Retryable, Terminal
from flywheel_operator.ports.kinds import ROUNDS
from flywheel_operator.ports.kube import Kube
from flywheel_operator.ports.login import Login, find_kubeconfig

Object = dict[str, Any]


class Api:
    """An API server that only knows who asks: a header, or the name in a client certificate."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[str] = []
        self.accepted: Callable[[str], bool] = bool

    async def answer(self, request: web.Request) -> web.Response:
        peer = (request.get_extra_info("peercert") or {}).get("subject", ())
        name = next((value for part in peer for key, value in part if key == "commonName"), "")
        who = request.headers.get("Authorization") or name
        self.seen.append(who)
        status = 200 if self.accepted(who) else 401
        # a connection each, as after a while: so that a certificate is shown again
        return web.json_response({"metadata": {"uid": "u"}}, status=status, headers={"Connection": "close"})


@asynccontextmanager
async def serving(context: ssl.SSLContext | None = None) -> AsyncIterator[Api]:
    api = Api()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    api.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
    try:
        yield api
    finally:
        await runner.cleanup()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving() as found:
        yield found


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are loaded anew for every request."""
    monkeypatch.setattr(module, "RENEW_AFTER", -1.0)


def kubeconfig(folder: Path, server: str, user: Object, **cluster: Object) -> Path:
    path = folder / "config"
    parts = {
        "clusters": [{"name": "c", "cluster": {"server": server} | cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "x"} | parts))
    return path


def plugin(folder: Path, status: str) -> Object:
    """An exec plugin: a script that prints an ExecCredential whose status is that Python expression."""
    script = folder / "plugin.py"
    version = "client.authentication.k8s.io/v1"
    script.write_text(
        f"import json, pathlib, sys\nstatus = {status}\n"
        f"print(json.dumps({{'apiVersion': '{version}', 'kind': 'ExecCredential', 'status': status}}))\n"
    )
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": [str(script)]}}


async def ask(kube: Kube) -> None:
    await kube.get(ROUNDS, "ns", "name")


async def test_a_token_is_sent_by_the_port_and_by_sessions_for_kopf(api: Api, tmp_path: Path) -> None:
    login = Login(kubeconfig(tmp_path, api.url, {"token": "secret"}))
    async with Kube(login) as kube:
        await ask(kube)
        async with login.session() as session, session.get(f"{login.server}/api") as answer:
            assert answer.status == 200
    assert api.seen == ["Bearer secret"] * 2


async def test_a_token_file_is_read_again(api: Api, tmp_path: Path, always: None) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")  # most editors and `echo` end a file so
    async with Kube(Login(kubeconfig(tmp_path, api.url, {"tokenFile": str(token)}))) as kube:
        await ask(kube)
        token.write_text("second\n")
        await ask(kube)
    assert api.seen == ["Bearer first", "Bearer second"]


async def test_the_token_of_a_pod_is_read_again(tmp_path: Path, always: None, monkeypatch: pytest.MonkeyPatch) -> None:
    pki = Pki.create(tmp_path / "pki")
    pki.issue("server", "server", sans=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.cert("server"), pki.key("server"))
    token = tmp_path / "token"
    token.write_text("first")
    async with serving(context) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", api.url.rpartition(":")[2])
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(pki.cert("ca")))
        async with Kube(Login()) as kube:
            await ask(kube)
            token.write_text("second")
            await ask(kube)
            token.unlink()
            await ask(kube)
    assert [who.split()[1] for who in api.seen] == ["first", "second", "second"], "an old token beats none"


@pytest.mark.parametrize(("expires", "runs"), [("2020-01-01T00:00:00Z", 3), ("2999-01-01T00:00:00Z", 1)])
async def test_an_exec_plugin_runs_again_when_its_token_expires(
    api: Api, tmp_path: Path, always: None, expires: str, runs: int
) -> None:
    log = tmp_path / "log"
    status = f"{{'token': 'from-plugin', 'expirationTimestamp': '{expires}'}}"
    user = plugin(tmp_path, f"(pathlib.Path({str(log)!r}).open('a').write('x'), {status})[1]")
    async with Kube(Login(kubeconfig(tmp_path, api.url, user))) as kube:
        await ask(kube)
        await ask(kube)
    assert api.seen == ["Bearer from-plugin"] * 2
    assert len(log.read_text()) == runs


async def test_a_401_asks_the_plugin_for_another_token_at_once(api: Api, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    status = f"{{'token': pathlib.Path({str(token)!r}).read_text(), 'expirationTimestamp': '2999-01-01T00:00:00Z'}}"
    login = Login(kubeconfig(tmp_path, api.url, plugin(tmp_path, status)))
    async with Kube(login) as kube:
        token.write_text("second")
        api.accepted = lambda who: who == "Bearer second"
        await ask(kube)
        token.write_text("third")
        api.accepted = lambda who: who == "Bearer third"
        async with login.session() as session, session.get(f"{login.server}/api") as answer:
            assert answer.status == 200
        api.accepted = lambda who: False
        with pytest.raises(Forbidden):
            await ask(kube)
    assert api.seen == [f"Bearer {t}" for t in ("first", "second", "second", "third", "third")]


@pytest.mark.parametrize("source", ["files", "plugin"])
async def test_a_client_certificate_is_shown_and_its_rotation_followed(
    tmp_path: Path, always: None, source: str
) -> None:
    pki = Pki.create(tmp_path / "pki")
    pki.issue("server", "server", sans=["127.0.0.1"])
    pki.issue("us", "first")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki.cert("ca")))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pki.cert("server"), pki.key("server"))
    ca = base64.b64encode(pki.cert("ca").read_bytes()).decode()
    if source == "files":
        user: Object = {"client-certificate": str(pki.cert("us")), "client-key": str(pki.key("us"))}
    else:
        read = "pathlib.Path({!r}).read_text()".format
        status = (
            f"{{'clientCertificateData': {read(str(pki.cert('us')))}, 'clientKeyData': {read(str(pki.key('us')))}}}"
        )
        user = plugin(tmp_path, status)
    async with serving(context) as api:
        login = Login(kubeconfig(tmp_path, api.url, user, **{"certificate-authority-data": ca}))
        async with Kube(login) as kube:
            await ask(kube)
            pki.issue("us", "second")
            await ask(kube)
            async with login.session() as session, session.get(f"{login.server}/api") as answer:
                assert answer.status == 200
    assert api.seen == ["first", "second", "second"]


async def test_a_server_that_is_not_the_one_named_is_not_talked_to(tmp_path: Path) -> None:
    pki, other = Pki.create(tmp_path / "pki"), Pki.create(tmp_path / "other")
    pki.issue("server", "server", sans=["127.0.0.1"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pki.cert("server"), pki.key("server"))
    async with serving(context) as api:
        config = kubeconfig(tmp_path, api.url, {"token": "t"}, **{"certificate-authority": str(other.cert("ca"))})
        async with Kube(Login(config)) as kube:
            with pytest.raises(Retryable, match="certificate"):
                await ask(kube)
    assert api.seen == []


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere"}}, "exec plugin"),
        ({}, "no token or certificate"),
        ({"client-certificate": "/nowhere", "client-key": "/nowhere"}, "/nowhere"),
    ],
)
async def test_a_kubeconfig_without_credentials_ends_the_start_with_words(
    tmp_path: Path, user: Object, words: str
) -> None:
    with pytest.raises(Terminal, match=words):
        await Login(kubeconfig(tmp_path, "https://127.0.0.1:1", user)).open()


@pytest.mark.parametrize("text", ["", "{}", "current-context: none", ": : :"])
async def test_a_broken_kubeconfig_ends_the_start_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(Terminal, match="broken"):
        await Login(path).open()
    with pytest.raises(Terminal, match="nowhere"):
        await Login(tmp_path / "nowhere").open()


def test_where_a_kubeconfig_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "token"
    monkeypatch.setattr(module, "_SERVICE_ACCOUNT", account)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(Terminal, match="set KUBECONFIG"):
        find_kubeconfig()
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").touch()
    assert find_kubeconfig() == str(tmp_path / ".kube" / "config")
    account.touch()
    assert find_kubeconfig() is None
    monkeypatch.setenv("KUBECONFIG", "/a:/b")
    assert find_kubeconfig() == "/a:/b"
