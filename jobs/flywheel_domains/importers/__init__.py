"""Importers: what other formats say of a domain is taken over, and what they do not say is left as TODO."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flywheel_domains.importers.draft import Draft, ImportFault
from flywheel_domains.importers.mcp import from_mcp
from flywheel_domains.importers.python_domains import from_general_agent, from_tau2

IMPORTERS: dict[str, Callable[[Path], Draft]] = {
    "tau2": from_tau2,
    "mcp": from_mcp,
    "general-agent": from_general_agent,
}

__all__ = ["IMPORTERS", "Draft", "ImportFault"]
