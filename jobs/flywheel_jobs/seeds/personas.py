"""Personas: the built-in list, files of your own, and the split that keeps evaluation personas out of training."""

from __future__ import annotations

import hashlib

from flywheel_api.records.base import Lineage, record_id
from flywheel_api.records.reasoning import Persona
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.storage.datasets import load_records
from flywheel_jobs.storage.store import Store

# (trade, what that trade counts): template material for the built-in list, not the public Persona Hub
_TRADES = (
    ("baker", "buns"),
    ("farmer", "hens"),
    ("gardener", "pots"),
    ("teacher", "pens"),
    ("coach", "balls"),
    ("tailor", "hats"),
    ("fisher", "nets"),
    ("painter", "tins"),
    ("nurse", "beds"),
    ("driver", "bags"),
    ("cook", "eggs"),
    ("clerk", "keys"),
)
_NAMES = ("Ann", "Bob", "Cal", "Dee", "Eve", "Flo", "Gus", "Ida", "Jon", "Kim")
BUILTIN = "builtin://personas"


def builtin() -> list[Persona]:
    """120 personas: every name in every trade."""
    made = []
    for trade, thing in _TRADES:
        for name in _NAMES:
            text = f"{name} is a {trade} who counts {thing} every day."
            made.append(
                Persona(
                    id=record_id("persona", text),
                    name=name,
                    trade=trade,
                    thing=thing,
                    text=text,
                    lineage=Lineage(operator="builtin"),
                )
            )
    return made


def load(ref: str, store: Store) -> list[Persona]:
    """Personas of `builtin://personas`, `sha256:...` or `s3://....jsonl`. Raises ValidationFailure with the bad one."""
    if ref == BUILTIN:
        return builtin()
    if ref.startswith("builtin://"):
        raise ValidationFailure(f"{ref} does not exist: the built-in personas are {BUILTIN}")
    return load_records(store, ref, Persona)


def is_holdout(persona_id: str, share: float) -> bool:
    """Whether a persona is for evaluation only: a function of its id, so that no round ever trains on it."""
    point = int.from_bytes(hashlib.sha256(f"holdout/{persona_id}".encode()).digest()[:8], "big")
    return point < share * 2.0**64


def split(personas: list[Persona], share: float) -> tuple[list[Persona], list[Persona]]:
    """(training, held out). Raises ValidationFailure when one side would be empty though `share` is in (0, 1)."""
    held = [p for p in personas if is_holdout(p.id, share)]
    training = [p for p in personas if not is_holdout(p.id, share)]
    if not training or (share > 0 and not held):
        raise ValidationFailure(
            f"{len(personas)} personas cannot be split with holdoutPersonas {share}: give more personas or "
            "another share"
        )
    return training, held
