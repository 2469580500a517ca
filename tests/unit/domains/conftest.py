"""A made-up island airline, in the format as it is: what the tests of the floor run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_domains.domain import Domain
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.world import World

TERN = Path(__file__).parent / "tern"


@pytest.fixture(scope="session")
def tern() -> Domain:
    return load(TERN)


@pytest.fixture(scope="session")
def world(tern: Domain) -> World:
    return build_world(tern, 1)
