"""Every field of specs, statuses, settings, records and manifests says what it holds."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

import flywheel_api
import flywheel_operator.settings

MODULES = [found.name for found in pkgutil.walk_packages(flywheel_api.__path__, "flywheel_api.")]


def models(module: str) -> Iterator[type[BaseModel]]:
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module:
            yield value


def described(field: FieldInfo) -> bool:
    """A description of its own, or that of the one model that it holds, as `kubectl explain` shows it.

    A constant such as a schema's name describes itself.
    """
    parts = get_args(field.annotation)
    if get_origin(field.annotation) is Literal and len(parts) == 1:
        return True
    kinds = parts if type(None) in parts else (field.annotation,)
    return bool(field.description) or any(
        isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__doc__ for kind in kinds
    )


def silent(model: type[BaseModel]) -> list[str]:
    return [f"{model.__module__}.{model.__name__}.{n}" for n, f in model.model_fields.items() if not described(f)]


def test_every_field_is_described() -> None:
    watched = [*MODULES, flywheel_operator.settings.__name__]
    found = [model for module in watched for model in models(module)]
    assert len(found) > 100
    assert not [name for model in found for name in silent(model)]


def test_a_field_without_words_is_found() -> None:
    class Part(BaseModel):
        """Something with words of its own."""

        told: int = Field(description="How many.")

    class Whole(BaseModel):
        part: Part | None = None
        parts: list[Part] = Field(default_factory=list)
        untold: int = 0

    assert [name.rpartition(".")[2] for name in silent(Whole)] == ["parts", "untold"]
