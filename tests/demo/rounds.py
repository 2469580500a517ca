"""The demo's round: applied, found again, or replaced when an earlier one is over."""

from __future__ import annotations

import json
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


def start(
    kube: Kubectl, settings: Settings, model_uri: str | None, domain_uri: str | None = None, prompt_tokens: int = 0
) -> tuple[str, str]:
    """Applies the round and returns (its name, what was done). A round that is over is deleted first.

    One that failed takes over what it had finished; one that has a verdict is run anew, since that is asked for.
    `model_uri` replaces an s3:// base model of the file, for a store that is not the demo's own; `domain_uri` says
    where the domain of the settings lies, `prompt_tokens` how long its prompts are.
    """
    wanted = read(kube, settings.round_file)
    name = wanted["metadata"]["name"]
    found = kube.get("flywheelround", name, settings.namespace)
    said, changed = "applied", False
    if found is not None:
        over = verdict(found)
        if not over:
            return name, "is there and at work: going on with it"
        kube.delete("flywheelround", name, settings.namespace)
        said = f"was over ({over}): deleted and applied again, it takes over what it had finished"
        if over != "Failed":
            said = f"was over ({over}): deleted, what it made stays in the store, and applied anew"
            changed = wanted["spec"].setdefault("reuse", "Never") == "Never"
    if model_uri and str(wanted["spec"]["base"].get("model", "")).startswith("s3://"):
        wanted["spec"]["base"]["model"] = model_uri
        changed = True
    if settings.domain is not None and domain_uri:
        domain.named_in(wanted, settings.domain.name, domain_uri, prompt_tokens)
        changed = True
    if changed:
        wanted["metadata"]["namespace"] = settings.namespace
        kube.apply([wanted])
    else:
        kube.run("-n", settings.namespace, "apply", "-f", str(settings.round_file))
    return name, said
