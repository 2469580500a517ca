"""Certificates carry the names that clients connect to."""

import base64
import json
import ssl
import subprocess
from pathlib import Path

import pytest

from cluster import kubeconfig
from cluster.components import API_SANS
from cluster.errors import ClusterError
from cluster.pki import Pki, san_line


def test_addresses_and_names_are_told_apart() -> None:
    assert san_line(["10.0.0.1", "::1", "kubernetes.default.svc"]) == "IP:10.0.0.1,IP:::1,DNS:kubernetes.default.svc"


def test_api_server_certificate_is_valid_on_loopback_in_the_node_and_as_service() -> None:
    assert {"127.0.0.1", "10.88.0.1", "10.96.0.1", "kubernetes.default.svc"} <= set(API_SANS)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki.create(tmp_path_factory.mktemp("pki") / "pki")
    made.issue("apiserver", "kube-apiserver", sans=("127.0.0.1", "localhost"))
    made.issue("admin", "admin", "system:masters")
    return made


def show(certificate: Path, what: str) -> str:
    command = ["openssl", "x509", "-in", str(certificate), "-noout", what]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_issued_pair_verifies_and_has_subject_and_san(pki: Pki) -> None:
    verified = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", str(pki.cert("ca")), str(pki.cert("apiserver"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert "IP Address:127.0.0.1, DNS:localhost" in show(pki.cert("apiserver"), "-text")
    assert "O = system:masters, CN = admin" in show(pki.cert("admin"), "-subject")
    assert pki.folder.stat().st_mode & 0o077 == 0


def test_kubeconfig_works_alone(pki: Pki, tmp_path: Path) -> None:
    file = kubeconfig.write(tmp_path / "kubeconfig", "https://127.0.0.1:1", pki, "admin")
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert str(pki.folder) not in text
    config = json.loads(text)
    authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    assert ssl.create_default_context(cadata=authority).cert_store_stats()["x509_ca"] > 0
    assert config["users"][0]["name"] == config["contexts"][0]["context"]["user"] == "admin"


def test_openssl_failure_is_said(pki: Pki) -> None:
    with pytest.raises(ClusterError, match="openssl"):
        pki.issue("bad", "bad", sans=("not a name, at all",))
