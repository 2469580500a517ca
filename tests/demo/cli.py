"""Commands of the demo."""

from __future__ import annotations

import argparse
import base64
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import ToolError
from cluster import node
from cluster.kube import Kubectl
from cluster.paths import cache_dir
from cluster.steps import Steps
from demo import diagnose, domain, jobs, kind, manifests, needs, rounds, setup, summary
from demo.errors import DemoError
from demo.memory import MemoryWatch
from demo.progress import verdict
from demo.settings import (
    BASE_MODEL,
    NAMESPACE,
    RELEASE,
    STORE_SECRET,
    SYSTEM_NAMESPACE,
    Cluster,
    Settings,
    from_environment,
)
from demo.watch import follow


def _model_uri(kube: Kubectl, settings: Settings) -> str | None:
    """Where the base model was imported to in a store that is not the demo's own."""
    if not settings.existing:
        return None
    found = kube.get("secret", STORE_SECRET, settings.namespace) or {"data": {}}
    data = {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
    return f"s3://{data['bucket']}/{data.get('prefix') or 'flywheel'}/models/{BASE_MODEL}"


def _fetch_report(kube: Kubectl, settings: Settings, images: Mapping[str, str], found: dict[str, Any]) -> Path | None:
    uri = found.get("status", {}).get("report")
    if not uri:
        return None
    path = settings.report(found["metadata"]["name"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jobs.read_file(kube, settings, images["jobs"], uri))
        return path
    except ToolError as error:
        print(f"the report could not be copied: {error}", file=sys.stderr)
        return None


@dataclass(frozen=True)
class _Ready:
    """What the set-up left for the rounds; `first` is the one that a chain begins with."""

    kube: Kubectl
    images: Mapping[str, str]
    domains: list[dict[str, str]]
    prompt_tokens: int
    first: dict[str, Any]
    setup_seconds: Mapping[str, float]


def up(settings: Settings) -> int:
    """Sets everything up, runs the round or rounds, shows what came of each. 0 for Promoted and Held, 1 for Failed."""
    settings.result_file.unlink(missing_ok=True)  # an old result must not be taken for this one's
    with MemoryWatch() as memory:
        ready = _set_up(settings)
        before: str | None = None
        for number in range(1, settings.rounds + 1):
            found = _turn(settings, ready, memory, number, before)
            if verdict(found) == "Failed":
                return 1
            before = found["metadata"]["name"]
    return 0


def _set_up(settings: Settings) -> _Ready:
    prompt_tokens = domain.longest_prompt(settings.domains)
    steps = Steps(settings.cluster.steps)
    set_up = {Cluster.LOCAL: setup.local, Cluster.KIND: kind.up, Cluster.EXISTING: setup.existing}[settings.cluster]
    kube, images = set_up(settings, steps)
    print(
        f"set up in {sum(steps.seconds.values()):.0f} s; in another terminal: "
        f"{kube.line} -n {settings.namespace} get fwr -w"
    )
    domains = setup.put_domains(kube, settings, images)
    first = rounds.seeded(rounds.read(kube, settings.round_file), settings.seed)
    return _Ready(kube, images, domains, prompt_tokens, first, steps.seconds)


def _turn(settings: Settings, ready: _Ready, memory: MemoryWatch, number: int, before: str | None) -> dict[str, Any]:
    """One round to its end, told and written down; its memory is the machine's peak since the set-up began."""
    kube, wanted = ready.kube, rounds.turn(ready.first, number, before)
    name = wanted["metadata"]["name"]
    said = rounds.start(kube, settings, wanted, _model_uri(kube, settings), ready.domains, ready.prompt_tokens)
    print(f"round {settings.namespace}/{name} {said}", flush=True)
    found = follow(kube, settings.namespace, name)
    _tell(kube, settings, ready.images, found, {"setup_seconds": dict(ready.setup_seconds), "memory": memory.facts()})
    if verdict(found) == "Failed":
        diagnose.save(kube, settings.namespace, settings.folder / "diagnostics")
        print("\n" + "\n".join(diagnose.lines(kube, settings.namespace, found)), file=sys.stderr)
        print(f"Saved:                 {settings.folder / 'diagnostics'}", file=sys.stderr)
    return found


def _tell(
    kube: Kubectl, settings: Settings, images: Mapping[str, str], found: dict[str, Any], facts: dict[str, Any]
) -> None:
    """Shows what came of a round, and writes it down."""
    report = _fetch_report(kube, settings, images, found)
    facts |= {
        "report": str(report) if report else None,
        "kubeconfig": str(kube.kubeconfig),
        "kubectl": kube.line,
        "setup_total_seconds": round(sum(facts["setup_seconds"].values()), 1),
        "images": dict(images),
    }
    file = settings.result(found["metadata"]["name"])
    file.parent.mkdir(parents=True, exist_ok=True)
    summary.write(file, summary.result(found, facts))
    summary.show(found, kube, settings.namespace, report)
    print(f"Result    {file}")
    print("Remove    make demo-down", flush=True)


def _kube(settings: Settings) -> Kubectl:
    if settings.kubeconfig is not None:
        return setup.kubectl_of(settings)
    node.running()
    return node.kubectl()


def watch(settings: Settings, name: str | None) -> int:
    """Follows a round of a running demo to its end."""
    kube = _kube(settings)
    chosen = name or str(rounds.read(kube, settings.round_file)["metadata"]["name"])
    found = follow(kube, settings.namespace, chosen)
    summary.show(found, kube, settings.namespace, None)
    return 1 if verdict(found) == "Failed" else 0


def down(settings: Settings, purge: bool) -> int:
    """Removes what `up` started. Caches of builds and images stay; with `purge` the node's images and results go."""
    if settings.existing:
        _remove_from_existing(settings)
    elif settings.cluster is Cluster.KIND:
        subprocess.run(["kind", "delete", "cluster", "--name", kind.NAME], check=True)
    else:
        node.down(purge)
        print(f"the node is gone, and with it the store. Builds and images are kept in {cache_dir()}")
    if purge:
        shutil.rmtree(settings.folder, ignore_errors=True)
        settings.result_file.unlink(missing_ok=True)
    elif kept := [str(p) for p in (*settings.folder.glob("re*-*"), settings.folder / "report.html") if p.is_file()]:
        print(f"kept: {', '.join(sorted(kept))}")
    return 0


def _remove_from_existing(settings: Settings) -> None:
    kube, helm = _kube(settings), needs.tool("helm", setup.TOOLS["helm"])
    for resource in ("flywheelrounds", "rljobs", "rolloutpools"):
        delete = ("-n", settings.namespace, "delete", resource, "--all", "--timeout=180s")
        code, _, err = kube.try_run(*delete, timeout_s=200)
        if code and "the server doesn't have a resource type" not in err:
            raise DemoError(f"deleting {resource} failed: {err.strip()}")
    options = ["--namespace", SYSTEM_NAMESPACE, "--kubeconfig", str(kube.kubeconfig), "--ignore-not-found"]
    subprocess.run([helm, "uninstall", RELEASE, *options], check=False)
    ours = (("deployment", "standin"), ("service", "standin"))
    for resource, name in (*ours, ("job", manifests.IMPORT_JOB), ("job", manifests.CHECK_STORE_JOB)):
        kube.delete(resource, name, settings.namespace)
    print(
        f"rounds, release and stand-in are gone. Kept: the CRDs, the namespaces {settings.namespace} and "
        f"{SYSTEM_NAMESPACE} with Secret {STORE_SECRET}, and everything in the store"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo", description="One round of Flywheel, from an empty machine to the verdict."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "up",
        help="set everything up and run a round or a chain (environment: README and docs/demo.md)",
    )
    item = commands.add_parser("watch", help="follow a round")
    item.add_argument("name", nargs="?", help="default: the round of examples/round.yaml, or of ROUND")
    item = commands.add_parser(
        "down", help=f"remove everything that `up` started (namespace {NAMESPACE} and the cluster)"
    )
    item.add_argument("--purge", action="store_true", help="the node's images, report and result too")
    return parser


def main(argv: list[str] | None = None) -> int:
    """0, 1 with a sentence on stderr that says what to do, or 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
    try:
        settings = from_environment()
        if args.command == "up":
            return up(settings)
        if args.command == "watch":
            return watch(settings, args.name)
        return down(settings, args.purge)
    except ToolError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted. A round that was applied goes on in the cluster; `make demo` comes back to it, "
            "`make demo-down` removes everything",
            file=sys.stderr,
        )
        return 130
