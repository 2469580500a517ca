"""Personas: the built-in list, files of your own, and the split that keeps evaluation personas out of training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from flywheel_api.records.base import Lineage, record_id
from flywheel_api.records.reasoning import Persona
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.sources.load import Source, load
from flywheel_jobs.sources.shapes import NAMES
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
BUILTIN = "builtin://personas"
LIMIT = 200_000  # personas of one round, drawn from all of a source: memory stays flat


def builtin() -> list[Persona]:
    """120 personas: every name in every trade."""
    made = []
    for trade, thing in _TRADES:
        for name in NAMES:
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


def bring(ref: str, fields: Mapping[str, str], store: Store) -> Source[Persona]:
    """Personas of `builtin://personas` or of files. Raises ValidationFailure."""
    if ref == BUILTIN:
        return Source(ref, builtin())
    if ref.startswith("builtin://"):
        raise ValidationFailure(f"{ref} does not exist: the built-in personas are {BUILTIN}")
    return load(store, ref, Persona, "spec.agentic.personaFields", fields, LIMIT, sample="personas")


def is_holdout(text: str, share: float) -> bool:
    """Whether a persona is for evaluation only: a function of what it says, so that no round ever trains on it."""
    key = record_id("persona", " ".join(text.split()))
    point = int.from_bytes(hashlib.sha256(f"holdout/{key}".encode()).digest()[:8], "big")
    return point < share * 2.0**64


def split(personas: list[Persona], share: float) -> tuple[list[Persona], list[Persona]]:
    """(training, held out). Raises ValidationFailure when one side would be empty though `share` is in (0, 1)."""
    held = [p for p in personas if is_holdout(p.text, share)]
    training = [p for p in personas if not is_holdout(p.text, share)]
    if not training or (share > 0 and not held):
        raise ValidationFailure(
            f"{len(personas)} personas cannot be split with holdoutPersonas {share}: give more personas or "
            "another share"
        )
    return training, held
