"""Environments of the agentic track: state machines that training, evaluation and solvability checks share."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.envs.airline import AIRLINE
from flywheel_jobs.envs.engine import Domain, Env

DOMAINS: dict[str, Domain] = {d.name: d for d in (AIRLINE,)}


def domain_of(name: str) -> Domain:
    """A domain by name. Raises ValidationFailure naming those that exist."""
    if name not in DOMAINS:
        raise ValidationFailure(f"no domain {name!r}: spec.agentic.domains takes {', '.join(sorted(DOMAINS))}")
    return DOMAINS[name]


def make_env(task: Mapping[str, Any]) -> Env:
    """A fresh environment of a task (agentic-task/v1): its domain, its own copy of the initial tables.

    Raises ValidationFailure for a task without domain or tables.
    """
    missing = [k for k in ("domain", "db") if k not in task]
    if missing:
        raise ValidationFailure(f"task {task.get('id', '?')} has no {' and no '.join(missing)}: pack it again")
    return Env(domain_of(task["domain"]), copy.deepcopy(dict(task["db"])), settle_after=task.get("settleAfter"))


__all__ = ["DOMAINS", "Env", "domain_of", "make_env"]
