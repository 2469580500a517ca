"""Where the demo runs and what it calls things; everything that a user can change comes from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from demo.domain import Given, given
from demo.errors import DemoError

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_NAMESPACE = "flywheel-system"
NAMESPACE = "flywheel-demo"
RELEASE = "flywheel"
STORE_SECRET = "flywheel-s3"
IMAGES = ("operator", "jobs", "ray-cpu")
WEATHER = ROOT / "jobs" / "flywheel_standin" / "weather"
BASE_MODEL = "smollm2-135m-instruct"


class Cluster(StrEnum):
    """Where the demo runs, and in how many steps it is set up."""

    LOCAL = "local"  # a node made here, without Docker
    KIND = "kind"  # a kind cluster made here, with Docker
    EXISTING = "existing"  # the user's own: no node, no image build, no add-ons

    @property
    def steps(self) -> int:
        return {Cluster.LOCAL: 8, Cluster.KIND: 6, Cluster.EXISTING: 4}[self]


@dataclass(frozen=True)
class Settings:
    """One demo."""

    cluster: Cluster = Cluster.LOCAL
    kubeconfig: Path | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    round_file: Path = ROOT / "examples" / "round.yaml"
    namespace: str = NAMESPACE
    folder: Path = ROOT / ".flywheel"
    result_file: Path = ROOT / "result.json"
    chart: Path = ROOT / "charts" / "flywheel"
    values: Path | None = None
    weather: str = ""  # text of a table of faults for the stand-in; empty is calm
    domains: tuple[Given, ...] = ()  # instead of the round's own
    rounds: int = 1  # of a chain: each from the model that an earlier one promoted
    seed: int | None = None  # of the chain, in a campaign of its own; None is the file's

    @property
    def existing(self) -> bool:
        return self.cluster is Cluster.EXISTING

    @property
    def logs(self) -> Path:
        """Output of each set-up step."""
        return self.folder / "log"

    def report(self, name: str) -> Path:
        """Where a round's report is copied to."""
        return self.folder / f"report-{name}.html" if self.rounds > 1 else self.folder / "report.html"

    def result(self, name: str) -> Path:
        """Where what came of a round is written to."""
        return self.folder / f"result-{name}.json" if self.rounds > 1 else self.result_file


def image_variable(name: str) -> str:
    """`ray-cpu` as `FLYWHEEL_IMAGE_RAY_CPU`."""
    return "FLYWHEEL_IMAGE_" + name.upper().replace("-", "_")


def from_environment(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings of this call. Raises DemoError naming the variable that is missing or wrong."""
    wanted = environ.get("CLUSTER") or "local"
    if wanted not in list(Cluster):
        raise DemoError(f"CLUSTER={wanted} is not known: leave it out for a local cluster, or use kind or existing")
    round_file = Path(environ.get("ROUND") or ROOT / "examples" / "round.yaml").absolute()
    values = Path(environ["VALUES"]).absolute() if environ.get("VALUES") else None
    weather, own = _weather(environ.get("WEATHER") or ""), given(environ.get("DOMAIN") or "")
    rounds, seed = _number(environ, "ROUNDS", least=1) or 1, _number(environ, "SEED", least=0)
    if wanted != Cluster.EXISTING:
        folder = ROOT / ".flywheel"
        kubeconfig = folder / "kind.kubeconfig" if wanted == Cluster.KIND else None
        return Settings(
            Cluster(wanted),
            kubeconfig,
            round_file=round_file,
            values=values,
            folder=folder,
            weather=weather,
            domains=own,
            rounds=rounds,
            seed=seed,
        )
    kubeconfig = Path(environ.get("KUBECONFIG") or Path.home() / ".kube" / "config").expanduser()
    if not kubeconfig.is_file():
        raise DemoError(f"CLUSTER=existing needs a kubeconfig and {kubeconfig} is no file: set KUBECONFIG to one file")
    images = {name: environ.get(image_variable(name), "") for name in IMAGES}
    absent = [image_variable(name) for name, ref in images.items() if not ref]
    if absent:
        raise DemoError(
            f"CLUSTER=existing needs images that the cluster can pull: set {', '.join(absent)}. "
            "Build them with `make images` and push the OCI layouts to your registry, for example with skopeo copy."
        )
    return Settings(
        Cluster.EXISTING,
        kubeconfig,
        images=images,
        round_file=round_file,
        values=values,
        weather=weather,
        domains=own,
        rounds=rounds,
        seed=seed,
    )


def _number(environ: Mapping[str, str], name: str, least: int) -> int | None:
    text = environ.get(name) or ""
    if text and not (text.isdecimal() and int(text) >= least):
        raise DemoError(f"{name}={text} is no whole number from {least} on")
    return int(text) if text else None


def _weather(wanted: str) -> str:
    """The table of that name, or of that file, as text: the stand-in's pod has no file of the user's."""
    if not wanted:
        return ""
    path = next((p for p in (WEATHER / f"{wanted}.yaml", Path(wanted)) if p.is_file()), None)
    if path is None:
        known = ", ".join(sorted(p.stem for p in WEATHER.glob("*.yaml")))
        raise DemoError(f"WEATHER={wanted} is no table of faults: use a file (docs/endpoints.md), or one of {known}")
    return path.read_text()
