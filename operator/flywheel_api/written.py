"""What a user wrote, as facts to be hashed (law 15): an upgrade or another order must change no hash.

A field at its default is left out, so that a release with one more field hashes as before; lists that Kubernetes keeps
by key stand in the order of their keys. `HASHES` is part of every hash, and hashes of two versions are never compared:
it is raised when a default changes, which makes the same words mean something else.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic.alias_generators import to_camel

from flywheel_api.base import ApiModel
from flywheel_api.canonical import canonical_json
from flywheel_api.names import short_hash

HASHES: Final = "h2"
_wire_name = cache(to_camel)


def written(model: ApiModel) -> dict[str, Any]:
    """The wire form of what differs from the defaults."""
    return _ordered(model, model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True))


def _ordered(model: ApiModel, wire: dict[str, Any]) -> dict[str, Any]:
    for name, info in type(model).model_fields.items():
        value, place = getattr(model, name), _wire_name(name)
        if place not in wire:
            continue
        if isinstance(value, ApiModel):
            wire[place] = _ordered(value, wire[place])
        elif isinstance(value, list):
            pairs = zip(value, wire[place], strict=True)
            wire[place] = [_ordered(v, w) if isinstance(v, ApiModel) else w for v, w in pairs]
            extra = info.json_schema_extra
            keys = extra.get("x-kubernetes-list-map-keys") if isinstance(extra, dict) else None
            if isinstance(keys, list):
                wire[place].sort(key=lambda entry: [str(entry.get(key)) for key in keys])
    return wire


def hash_of(facts: object, length: int = 8) -> str:
    """`<version>-<hash>` of facts: a label's value, and a part of names."""
    return f"{HASHES}-{short_hash(canonical_json(facts).decode(), length)}"


def moved(before: str | None, now: str) -> bool:
    """Whether a hash tells that something changed; one of another version, or none, tells nothing."""
    return is_current(before) and before != now


def is_current(known: str | None) -> bool:
    """Whether a hash was made by this version."""
    return known is not None and known.startswith(f"{HASHES}-")
