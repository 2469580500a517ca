"""A throw-away certificate authority for one cluster, made with the openssl command (P-256 keys, 30 days).

`basicConstraints`, key usage and a SAN for each serving certificate are what Go's and Python's TLS stacks insist on.
"""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError

_DAYS = "30"


def san_line(names: Sequence[str]) -> str:
    """OpenSSL's subjectAltName value: IP addresses as IP:, the rest as DNS:, in the given order."""
    parts = []
    for name in names:
        try:
            parts.append(f"IP:{ipaddress.ip_address(name)}")
        except ValueError:
            parts.append(f"DNS:{name}")
    return ",".join(parts)


def extensions(names: Sequence[str]) -> str:
    """Text of the extension file of a leaf certificate."""
    lines = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=serverAuth,clientAuth",
        "authorityKeyIdentifier=keyid",
    ]
    if names:
        lines.append(f"subjectAltName={san_line(names)}")
    return "\n".join(lines) + "\n"


def _openssl(*args: str) -> None:
    done = subprocess.run(["openssl", *args], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"`openssl {' '.join(args)}` failed: {done.stderr.strip()}")


@dataclass(frozen=True)
class Pki:
    """Keys and certificates below one folder: ca, the service account key `sa.key`, and a pair per issued name."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Pki:
        """Make the CA and the service-account key pair in a new folder (mode 0700)."""
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        pki = cls(folder)
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pki.key("ca")))
        _openssl(
            *("req", "-x509", "-new", "-key", str(pki.key("ca")), "-days", _DAYS, "-subj", "/CN=flywheel-ca"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", str(pki.cert("ca"))),
        )
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(pki.key("sa")))
        return pki

    def key(self, name: str) -> Path:
        """Private key file of a name."""
        return self.folder / f"{name}.key"

    def cert(self, name: str) -> Path:
        """Certificate file of a name."""
        return self.folder / f"{name}.crt"

    def issue(self, name: str, common_name: str, organization: str = "", sans: Sequence[str] = ()) -> None:
        """Sign a pair; Kubernetes reads the user from the common name and the group from the organization."""
        subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
        request, ext = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        ext.write_text(extensions(sans))
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(self.key(name)))
        _openssl("req", "-new", "-key", str(self.key(name)), "-subj", subject, "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.cert("ca")), "-CAkey", str(self.key("ca"))),
            *("-CAcreateserial", "-days", _DAYS, "-extfile", str(ext), "-out", str(self.cert(name))),
        )
        request.unlink()
        ext.unlink()
