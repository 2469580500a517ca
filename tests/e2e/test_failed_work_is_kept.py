"""A round that fails in training by a wrong memory limit, applied again under another name with the limit mended.

Needs the cluster that `make demo` leaves running; takes about ten minutes, most of them in the second round.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from cluster.kube import Kubectl
from demo.settings import NAMESPACE, Settings
from e2e import story

FAILED, MENDED = "e2e-too-small", "e2e-mended"
SEED = 7  # not the demo's: nothing of the first round is in the store yet


def spec(memory: str) -> dict[str, Any]:
    """A short training whose pods get so much memory."""
    sizes = {"requests": {"memory": "1Gi"}, "limits": {"memory": memory}}
    return {
        "seed": SEED,
        "training": {
            "preset": "smollm2-135m-cpu",
            "podTemplate": {"resources": sizes},
            "reasoning": {"algorithm": {"maxSteps": 4}, "retries": {"limit": 0}},
            "agentic": {"algorithm": {"maxSteps": 2}},
        },
    }


def run(kube: Kubectl, name: str, memory: str) -> dict[str, Any]:
    """The round's status at its end."""
    kube.delete("flywheelround", name, NAMESPACE)
    kube.apply([story.load_round(kube, str(Settings().round_file), name, **spec(memory))])
    (last,) = deque(story.follow(kube, name), maxlen=1)
    status: dict[str, Any] = last["status"]
    return status


@pytest.mark.timeout(story.PATIENCE_S)
def test_a_wrong_memory_limit_costs_the_training_and_nothing_else(kube: Kubectl) -> None:
    failed = run(kube, FAILED, "2Gi")
    assert failed["verdict"] == "Failed", failed.get("progress")
    assert "TrainReasoning" in failed["progress"], failed["progress"]
    print(f"{FAILED}: {failed['progress'][:300]}", flush=True)
    mended = run(kube, MENDED, "14Gi")  # of 12 Ray keeps back 0.8, and its monitor counts what files are cached
    assert mended["verdict"] in ("Promoted", "Held"), mended.get("progress")
    done = {s["name"] for s in failed["stages"] if s["state"] == "Succeeded" and s.get("manifest")}
    done.remove("Report")  # each end has its own
    taken = {s["name"]: s["reusedFrom"]["name"] for s in mended["stages"] if "reusedFrom" in s}
    assert done and {name for name, maker in taken.items() if maker == FAILED} == done
    print(f"{MENDED}: took over {', '.join(sorted(taken))} of {FAILED}", flush=True)
    print(f"cost of {FAILED}: {failed['usage']}; of {MENDED}: {mended['usage']}", flush=True)
    trained = next(s for s in mended["stages"] if s["name"] == "TrainReasoning")
    assert trained["attempt"] == 1 and "reusedFrom" not in trained
