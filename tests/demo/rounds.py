"""The demo's round: applied, found again, or replaced when an earlier one is over."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.kube import Kubectl
from demo import domain
from demo.errors import DemoError
from demo.progress import verdict
from demo.settings import Settings


def read(kube: Kubectl, file: Path) -> dict[str, Any]:
    """The file as JSON, by kubectl, so that no YAML parser is needed. Raises DemoError if it is no FlywheelRound."""
    if not file.is_file():
        raise DemoError(f"{file} does not exist: give the path of a FlywheelRound with ROUND=...")
    found: dict[str, Any] = json.loads(
        kube.run("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", str(file))
    )
    if found.get("kind") != "FlywheelRound":
        raise DemoError(f"{file} holds a {found.get('kind')}, not one FlywheelRound")
    return found


def turn(first: dict[str, Any], number: int, before: str | None) -> dict[str, Any]:
    """The `number`-th round of a chain that begins with `first`: from what the one `before` promoted or, held, had.

    Rounds of a chain differ in seed, so that each draws seeds, personas and samples of its own.
    """
    made: dict[str, Any] = copy.deepcopy(first)
    if number == 1:
        return made
    name = made["metadata"]["name"]
    made["metadata"]["name"] = f"{re.sub(r'-?r?[0-9]+$', '', name) or name}-r{number}"
    made["spec"]["seed"] = made["spec"].get("seed", 0) + number - 1
    if before:
        made["spec"]["base"] = {"round": before, "onHeld": "UseItsBase"}
    return made


def seeded(first: dict[str, Any], seed: int | None) -> dict[str, Any]:
    """The same round with another seed, in a campaign of its own: nothing of it is known to the other seeds' rounds."""
    if seed is None:
        return first
    made: dict[str, Any] = copy.deepcopy(first)
    made["metadata"]["name"] = f"s{seed}-{made['metadata']['name']}"
    made["spec"] |= {"campaign": f"s{seed}-{made['spec'].get('campaign', 'demo')}", "seed": seed}
    return made


def start(
    kube: Kubectl,
    settings: Settings,
    wanted: dict[str, Any],
    model_uri: str | None,
    domains: Sequence[dict[str, str]] = (),
    prompt_tokens: int = 0,
) -> str:
    """Applies a round; what was done. One that is over is deleted first, unless it has a verdict and is of a chain.

    One that failed takes over what it had finished; one that has a verdict is run anew, since that is asked for.
    `model_uri` replaces an s3:// base model of the file, for a store that is not the demo's own; `domains` stand in
    place of those of the file, `prompt_tokens` is how long their prompts are.
    """
    name = wanted["metadata"]["name"]
    found = kube.get("flywheelround", name, settings.namespace)
    said = "applied"
    if found is not None:
        over = verdict(found)
        if not over:
            return "is there and at work: going on with it"
        if over != "Failed" and settings.rounds > 1:
            return f"is over ({over}): the chain goes on from it; `make demo-down` first to have it anew"
        kube.delete("flywheelround", name, settings.namespace)
        said = f"was over ({over}): deleted and applied again, it takes over what it had finished"
        if over != "Failed":
            said = f"was over ({over}): deleted, what it made stays in the store, and applied anew"
            wanted["spec"].setdefault("reuse", "Never")
    if model_uri and str(wanted["spec"]["base"].get("model", "")).startswith("s3://"):
        wanted["spec"]["base"]["model"] = model_uri
    if domains:
        domain.named_in(wanted, domains, prompt_tokens)
    wanted["metadata"]["namespace"] = settings.namespace
    kube.apply([wanted])
    return said
