"""Environments of the agentic track: state machines that training, evaluation and solvability checks share."""

from __future__ import annotations

import copy

from flywheel_api.records.agentic import Task
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.envs.airline import AIRLINE
from flywheel_jobs.envs.engine import Domain, Env

DOMAINS: dict[str, Domain] = {d.name: d for d in (AIRLINE,)}


def domain_of(name: str) -> Domain:
    """A domain by name. Raises ValidationFailure naming those that exist."""
    if name not in DOMAINS:
        raise ValidationFailure(f"no domain {name!r}: spec.agentic.domains takes {', '.join(sorted(DOMAINS))}")
    return DOMAINS[name]


def make_env(task: Task) -> Env:
    """A fresh environment of a task: its domain, its own copy of the initial tables. Raises ValidationFailure."""
    return Env(domain_of(task.domain), copy.deepcopy(task.db), settle_after=task.settle_after)


__all__ = ["DOMAINS", "Env", "domain_of", "make_env"]
