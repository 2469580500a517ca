"""Selectors in the pages find what they speak of: an API server that has none of it takes any selector."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flywheel_api.names import LABEL_OWNER_KIND, NODE_TYPE
from flywheel_api.resources import KINDS
from golden import pods, rendered

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.yaml")),
    ROOT / "charts/flywheel/templates/NOTES.txt",
]
SELECTOR = re.compile(r"kubectl ([^`|]*?)\s(?:-l|--selector)[ =]'?([^\s'`|]+)")
KUBERAY = ({NODE_TYPE: "head"}, {NODE_TYPE: "worker"})
"""Labels that KubeRay puts on the pods of a cluster, by their group."""


def _selectors() -> list[tuple[str, str, str]]:
    """Page, kind that is selected in lower case, selector."""
    found = [(page.name, *said) for page in PAGES for said in SELECTOR.findall(page.read_text())]
    return [(name, "rayservice" if "rayservice" in command else "pod", said) for name, command, said in found]


def _labels(kind: str) -> list[dict[str, str]]:
    """Of everything of a kind that is made of the examples."""
    objects = [body for made in rendered().values() for body in made]
    if kind != "pod":
        return [dict(body["metadata"]["labels"]) for body in objects if body["kind"].lower() == kind]
    return [dict(pod["metadata"]["labels"]) | more for pod in pods(objects) for more in ({}, *KUBERAY)]


def _finds(selector: str, labels: dict[str, str]) -> bool:
    """Whether a pod is found. `<RLJob>` stands for the name of one: the pod must be such an owner's."""
    for term in selector.split(","):
        name, _, value = term.partition("=")
        kind = value.strip("<>")
        if name not in labels or (not value.startswith("<") and labels[name] != value):
            return False
        if kind in {k.kind for k in KINDS} and labels.get(LABEL_OWNER_KIND) != kind:
            return False
    return True


@pytest.mark.parametrize(("page", "kind", "selector"), _selectors())
def test_a_selector_of_the_pages_finds_something(page: str, kind: str, selector: str) -> None:
    assert any(_finds(selector, labels) for labels in _labels(kind)), f"{page}: {selector} finds no {kind}"


def test_selectors_are_read_and_wrong_ones_find_nothing() -> None:
    assert {kind for _, kind, _ in _selectors()} == {"pod", "rayservice"}
    wrong = ["flywheel.dev/owner=<RLJob>", "flywheel.dev/owner-kind=Pool", "flywheel.dev/owner-name=<RLJob>,app=x"]
    wrong += ["flywheel.dev/pool=<pool>,flywheel.dev/owner-kind=RLJob", "flywheel.dev/pool=<RLJob>"]
    assert not [s for s in wrong if any(_finds(s, labels) for labels in _labels("pod"))]
