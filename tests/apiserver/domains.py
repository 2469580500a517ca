"""Domains and suites of a round that are refused and taken: rows of `test_crds`."""

from __future__ import annotations

from typing import Any

AGENTIC, SUITES = ("agentic", "domains"), ("evaluation", "suites")
DOMAINS: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "unknown domain": (AGENTIC, [{"name": "library"}], "give a domain of another name its source"),
    "domain from elsewhere": (AGENTIC, [{"name": "library", "source": "https://x/l.tgz"}], "image://<name>"),
    "no suite": (SUITES, [], "should have at least 1 items"),
    "suite twice": (SUITES, [{"name": "numeracy-heldout"}] * 2, "Duplicate value"),
    "unknown suite": (SUITES, [{"name": "math"}], "or give the suite its source"),
    "suite of a domain that is not there": (SUITES, [{"name": "library-heldout"}], "or give the suite its source"),
    "domain twice": (AGENTIC, [{"name": "airline"}] * 2, "Duplicate value"),
    "domain as a word": (AGENTIC, ["airline"], "must be of type object"),
}
"""Name: path below spec, value, and the words of the refusal."""
SOURCES = ("s3://b/library.tgz", "s3://b/a folder", "sha256:" + "a" * 64, "image://acme.library_2")
