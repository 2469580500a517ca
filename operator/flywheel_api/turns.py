"""What a preset says of a round by its number in its campaign: band, replay, and what changes of the algorithm.

Round 1 is on a model, every later one on what an earlier round promoted. The last entry of a table is for all later
rounds. What a user says by number is `flywheel_api.round_table`. Where the numbers come from:

- band: a policy that is right at hardly anything has few problems between 0.2 and 0.8, so round 1 takes what has any
  variance among 8 samples; from then on 0.2 to 0.8 (R-Zero keeps 0.3 to 0.8 by the solver of now, prime-rl 0.2 to 0.8).
- replay: a fifth are prompts of earlier rounds, answered anew (on SmolLM2-135M others saw an old task's loss rise by
  4 % without and fall by 3 % with 30 %; ours climbed with a fifth on three seeds of three, docs/evidence/climb.md).
- learning rate: half from round 2 on, since moments begin anew each time (NeMo-RL's third stage has a quarter).
- KL to the round's start: 1e-3 from round 2 on (NeMo-RL's DeepScaleR recipe: 0, then 1e-3; AgentGym-RL 1e-3; R-Zero
  1e-2). It is a brake on speed and not what keeps old skills, which replay is for. Not where the reference model has no
  room: it leaves 2 of an 80 GB card's gigabytes beside 30B weights, and the demo's memory is the sampler's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Turn:
    """The numbers of a round; `algorithm` are fields of AlgorithmSpec that differ from the preset."""

    low: str
    high: str
    replay_share: str
    algorithm: Mapping[str, Any]


def _first() -> Turn:
    return Turn("0.05", "0.95", "0", {})


def _later(**algorithm: str) -> Turn:
    return Turn("0.2", "0.8", "0.2", algorithm)


TURNS: dict[str, tuple[Turn, ...]] = {
    "agenticqwen-8b": (_first(), _later(learning_rate="5e-7", kl_coefficient="0.001")),
    "agenticqwen-30b-a3b": (_first(), _later(learning_rate="5e-7")),
    "smollm2-135m-cpu": (_first(), _later(learning_rate="1e-5")),
}


def number_of(base_round: str | None, counted: int | None = None) -> int:
    """A round's number: 1 on a model, else one more than its base round's, as Preflight `counted` it.

    A round on what a held one trained from has that one's number. Where nobody has counted, it is a later one: 2.
    """
    return counted or (1 if base_round is None else 2)


def turn_of(preset: str, number: int) -> Turn:
    """The numbers of a round of a known preset."""
    table = TURNS[preset]
    return table[min(number, len(table)) - 1]
