"""Cases, branches, twins and ways are the same in every process: no order of a set decides anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, random, sys
from pathlib import Path
from flywheel_domains.branches import branch, grow
from flywheel_domains.case import dump
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.load import load
from flywheel_domains.twins import twin_of
from flywheel_domains.wishes import NotDrawn
domain = load(Path(sys.argv[1]))
world, rng = build_world(domain, 1), random.Random(5)
names = [rule.id for rule in domain.rules if rule.verdict]
for _ in range(12):
    try:
        root = branch(domain, draw_behaviour(domain, world, rng, rng.choice(names)))
    except NotDrawn:
        continue
    child, twin = grow(domain, world, root, rng), twin_of(domain, world, root.found, rng)
    for found in (root.found, child and child.found, twin and twin.found):
        print(json.dumps(dump(found.case)) if found else None)
    print(root.path.steps, child and child.path.steps)
"""


def test_two_processes_agree() -> None:
    folder = Path(__file__).parent / "tern"
    said = set()
    for seed in ("1", "3"):
        command = [sys.executable, "-c", SCRIPT, str(folder)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1
