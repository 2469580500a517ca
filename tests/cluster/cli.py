"""Command line of the local cluster: `PYTHONPATH=tests:images python3 -m cluster --help`."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from builder.errors import ToolError
from cluster import addons, build, images, node, services, smoke
from cluster.apiserver import start_apiserver
from cluster.errors import ClusterError
from cluster.pins import GROUPS
from cluster.process import loopback_env
from cluster.steps import Steps


def _build(args: argparse.Namespace) -> int:
    for group in [args.only] if args.only else list(GROUPS):
        build.build_group(group)
    return 0


def _apiserver(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    start = time.monotonic()
    with start_apiserver(args.workdir, controller_manager=args.controller_manager) as server:
        print(f"ready after {time.monotonic() - start:.1f} s at {server.url}; export KUBECONFIG={server.kubeconfig}")
        print("Ctrl-C ends it", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


def _up(args: argparse.Namespace) -> int:
    steps = Steps()
    at = node.up(steps.passed)
    steps.write(args.json)
    print(f"up; export KUBECONFIG={at.kubeconfig}")
    return 0


def _down(args: argparse.Namespace) -> int:
    node.down(args.purge)
    return 0


def _kubectl(args: argparse.Namespace) -> int:
    node.running()
    return subprocess.run(node.kubectl().command(*args.args), check=False, env=loopback_env()).returncode


def _exec(args: argparse.Namespace) -> int:
    command = args.args[1:] if args.args[:1] == ["--"] else args.args
    if not command:
        raise ClusterError("say what to run: python3 -m cluster exec -- COMMAND [ARGS]")
    return node.execute(command)


def _addons(args: argparse.Namespace) -> int:
    steps = Steps()
    node.running()
    addons.install(node.kubectl(), images.load_binary, steps.passed)
    steps.write(args.json)
    return 0


def _forward(args: argparse.Namespace) -> int:
    print(services.forward(args.name, args.target, args.port))
    return 0


def _status(args: argparse.Namespace) -> int:
    found = services.status()
    print(json.dumps(found, indent=1))
    return 0 if found["state"] == "ready" else 1


def _load_built(args: argparse.Namespace) -> int:
    start = time.monotonic()
    for loaded in images.load_built(args.names):
        print(f"{loaded.name} {loaded.digest}: {loaded.copied / 1e6:.1f} MB copied", flush=True)
    print(f"{time.monotonic() - start:.1f} s")
    return 0


def _smoke(args: argparse.Namespace) -> int:
    node.running()
    smoke.run(node.kubectl(), args.image, Steps().passed)
    return 0


def _load(args: argparse.Namespace) -> int:
    start = time.monotonic()
    loaded = images.load(args.image, args.name or "")
    print(f"{loaded.name} {loaded.digest}: {loaded.copied / 1e6:.1f} MB copied in {time.monotonic() - start:.1f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster", description="A real Kubernetes for tests and the demo.")
    commands = parser.add_subparsers(dest="command", required=True)
    item = commands.add_parser("build", help="build the pinned binaries into the cache")
    item.add_argument("--only", metavar="NAME", help="a group (apiserver, node, helm) or one binary, e.g. minio")
    item.set_defaults(run=_build)
    item = commands.add_parser("apiserver", help="etcd + kube-apiserver on loopback, in the foreground, no root")
    item.add_argument("--workdir", type=Path, help="folder for its data (default: in the cache)")
    item.add_argument("--controller-manager", action="store_true", help="also garbage collection, Jobs, Deployments")
    item.set_defaults(run=_apiserver)
    item = commands.add_parser("up", help="the one-node cluster (root); does nothing when it is up")
    item.add_argument("--json", type=Path, metavar="FILE", help="write the seconds of each step")
    item.set_defaults(run=_up)
    item = commands.add_parser("down", help="end it and remove everything but the stored images")
    item.add_argument("--purge", action="store_true", help="the stored images too")
    item.set_defaults(run=_down)
    item = commands.add_parser("kubectl", help="kubectl as admin, from the host")
    item.add_argument("args", nargs=argparse.REMAINDER)
    item.set_defaults(run=_kubectl)
    item = commands.add_parser("exec", help="run a command inside the node: exec -- ip route")
    item.add_argument("args", nargs=argparse.REMAINDER)
    item.set_defaults(run=_exec)
    item = commands.add_parser("load", help="put an image into the node; only what it lacks is copied")
    item.add_argument("image", metavar="PATH[:TAG]", help="OCI layout folder, OCI archive or docker archive")
    item.add_argument("name", nargs="?", help="image name, e.g. localhost/app:1 (default: the one in the archive)")
    item.set_defaults(run=_load)
    item = commands.add_parser("addons", help="install KubeRay and MinIO and wait until they are ready")
    item.add_argument("--json", type=Path, metavar="FILE", help="write the seconds of each step")
    item.set_defaults(run=_addons)
    item = commands.add_parser("forward", help="open a loopback port of the host for a service; prints the port")
    item.add_argument("name", help="a name of yours: the same name again changes the target and keeps the port")
    item.add_argument("target", help="SERVICE.NAMESPACE:PORT or ADDRESS:PORT")
    item.add_argument("--port", type=int, default=0, help="local port (default: a free one)")
    item.set_defaults(run=_forward)
    item = commands.add_parser("status", help="JSON: state, kubeconfig, memory, forwards; status 1 unless ready")
    item.set_defaults(run=_status)
    item = commands.add_parser("smoke", help="check a running node: restricted pods, Service, DNS, exec, Indexed Job")
    item.add_argument("image", help="an image of the node that has python3")
    item.set_defaults(run=_smoke)
    item = commands.add_parser("load-built", help="put the images of `make images` into the node")
    item.add_argument("names", nargs="*", help="some of them (default: all)")
    item.set_defaults(run=_load_built)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with a sentence on stderr that says what to do."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except ToolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
