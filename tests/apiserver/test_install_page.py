"""docs/install.md, followed on a real API server: every command of the page is run, or why not is said here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.install_page import FENCED, FIRST_CHECK, ROOT, commands, documents, values
from apiserver.test_helm import attempt
from cluster.apiserver import ApiServer, start_apiserver
from cluster.pins import binary_path

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

# what needs what an API server alone has not got: nodes, a registry, another project's chart
NOT_HERE = ("helm repo add kuberay ", "helm install kuberay-operator ", "kubectl -n flywheel-system rollout status ")
Object = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    if not binary_path("helm").exists():
        pytest.skip("helm is not built; `python -m cluster build --only helm` builds it")
    with start_apiserver(tmp_path_factory.mktemp("install")) as api:
        yield api


def run(server: ApiServer, command: str, folder: Path) -> None:
    """As a person would, in a checkout; what a person ends by hand (-w), or looks at (-it), ends by itself."""
    program, *args = shlex.split(command)
    if program == "make":
        done = subprocess.run(["make", "-n", *args], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    args = [str(ROOT / a) if (ROOT / a).exists() else str(folder / a) if (folder / a).exists() else a for a in args]
    if program == "helm":
        namespace = args[args.index("--namespace") + 1]
        kept = [a for i, a in enumerate(args) if "--namespace" not in (a, args[i - 1] if i else "")]
        done = attempt(server, *kept, namespace=namespace)
        assert done.returncode == 0, done.stderr
        return
    assert program == "kubectl", command
    args = [a for a in args if a not in ("-w", "--rm", "-it")]
    server.kubectl(*args[:3], *(["--dry-run=server"] if "run" in args[:4] else []), *args[3:])


def test_a_fresh_install_by_the_page_takes_the_first_check(server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "values-mine.yaml").write_text(values())
    shutil.copy(ROOT / "examples" / "round-8b.yaml", tmp_path / "round.yaml")
    ran = [c for c in commands() if not c.startswith(NOT_HERE)]
    assert len(ran) + len(NOT_HERE) == len(commands()) and len(ran) >= 7
    for command in ran:
        run(server, command, tmp_path)
        if command.startswith("helm upgrade"):
            server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    for body in documents(FIRST_CHECK):
        meta = body["metadata"]
        assert json.loads(server.kubectl("-n", meta["namespace"], "get", body["kind"], meta["name"], "-o", "json"))


def test_the_first_check_needs_nothing_that_the_page_does_not_make() -> None:
    """Namespace, images, the way to the endpoint: each was missing once."""
    given = yaml.safe_load(values())
    found = documents(FIRST_CHECK)
    assert {d["metadata"]["namespace"] for d in found} == set(given["namespaces"])
    built = set(next(c for c in commands() if c.startswith("make images")).partition('"')[2].partition('"')[0].split())
    deployment = next(d for d in found if d["kind"] == "Deployment")
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    registry, _, name = image.partition(":")[0].rpartition("/")
    assert registry == given["images"]["registry"] and {name, "ray-cpu", "operator"} <= built
    assert all((ROOT / "images" / n / "Containerfile").is_file() for n in built)
    service, flywheel = (next(d for d in found if d["kind"] == k) for k in ("Service", "FlywheelRound"))
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    port = service["spec"]["ports"][0]["port"]
    spec = flywheel["spec"]
    assert {e["url"] for e in spec["endpoints"] if "url" in e} == {f"http://{host}:{port}/v1"}
    assert {port, 443} <= set(given["networkPolicy"]["endpoints"]["ports"]), "the stand-in, and the hub"
    assert spec["base"]["model"].startswith("hf://") and spec["training"]["preset"].endswith("-cpu")
    assert all(e["pool"]["gpusPerReplica"] == 0 for e in spec["endpoints"] if "pool" in e)


INLINE = re.compile(r"`kubectl ([^`]+)`", re.DOTALL)
LINE = re.compile(r"^kubectl ([^\n#]+)", re.MULTILINE)
DRY = ("apply", "patch", "cordon", "delete", "label")
NO_KUBERAY = "delete rayservice "  # an API server alone does not know that kind


def named() -> list[str]:
    """Every kubectl command in the pages' text, and the lines of troubleshooting's blocks."""
    pages = {page.name: page.read_text() for page in sorted((ROOT / "docs").glob("*.md"))}
    found = [c for text in pages.values() for c in INLINE.findall(text) if " " in c.strip()]
    lines = [c for kind, text in FENCED.findall(pages["troubleshooting.md"]) if not kind for c in LINE.findall(text)]
    return sorted({" ".join(command.split()) for command in (*found, *lines)})


def as_run(args: list[str]) -> list[str]:
    """A command with nobody to watch it. Only a kubelet has logs: here whose they are must be there."""
    verb, *rest = (a for a in args if a not in ("-w", "-f") or args[0] == "apply")
    if verb == "logs":
        kept = [a for i, a in enumerate(rest) if a not in ("--previous", "-c") and rest[i - 1] != "-c"]
        names = [a if "/" in a or a.startswith("-") else f"pod/{a}" for a in kept if not a.startswith("--")]
        return ["get", *(["pods"] if "-l" in names else []), *names]
    return [verb, *(["--dry-run=server"] if verb in DRY else []), *rest]


def test_the_commands_of_the_pages_are_taken(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the namespace of the install, whose Pod Security is `restricted`; the round is one of the examples."""
    monkeypatch.setenv("KUBE_EDITOR", "true")  # who opens an object and leaves it as it is
    body = yaml.safe_load((ROOT / "examples" / "round.yaml").read_text())
    body["metadata"] = {"name": "named", "namespace": "flywheel"}
    check = next(yaml.safe_load_all((ROOT / "examples" / "checks" / "store.yaml").read_text()))
    pod = check | {"metadata": {"name": "named", "namespace": "flywheel"}}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "named"}}
    for made in (body, pod, check | {"metadata": check["metadata"] | {"namespace": "flywheel"}}, node):
        server.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    server.kubectl("-n", "flywheel", "create", "secret", "generic", "named", "--from-literal=a=b")
    ran = []
    for command in named():
        args = shlex.split(re.sub(r"<(\w+)>", lambda m: "flywheel" if m[1] == "namespace" else "named", command))
        at = ["-n", "flywheel"] if args[0] != "-n" else [args.pop(0), args.pop(0)]
        if command.startswith(NO_KUBERAY):
            continue
        server.kubectl(*at, *(str(ROOT / a) if (ROOT / a).is_file() else a for a in as_run(args)))
        ran.append(args[0])
    assert len(ran) >= 14 and {"logs", "describe", "edit", "delete", "cordon", "patch", "apply", "get"} <= set(ran)
