"""Command line of the local cluster: `PYTHONPATH=tests python3 -m cluster --help`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from cluster import build
from cluster.apiserver import start_apiserver
from cluster.errors import ClusterError
from cluster.pins import GROUPS


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
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with a sentence on stderr that says what to do."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
