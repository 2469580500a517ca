"""What the blocks of a domain's file are made of: names, shares, expressions compiled when they are read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from flywheel_domains.expr import Expr, compile_each, compile_expr, compile_lookup

NAME = r"^[a-z][a-z0-9_]{0,39}$"
ID = r"^[a-z][a-z0-9_-]{0,39}$"


def _expression(raw: object) -> Expr:
    if isinstance(raw, Expr):
        return raw
    if raw is None or isinstance(raw, bool | int):
        raw = repr(raw)
    if not isinstance(raw, str):
        raise ValueError("an expression is expected, as text")
    return compile_expr(raw)


class Lookup(BaseModel):
    """A named helper: parameters and an expression, or a function of tools.py."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    args: tuple[str, ...]
    body: Any = None
    code: str | None = None


def _lookup(raw: object) -> Lookup:
    if isinstance(raw, str):
        names, body = compile_lookup(raw)
        return Lookup(args=names, body=body)
    if isinstance(raw, dict) and set(raw) == {"code", "args"}:
        return Lookup(**raw)
    raise ValueError('write "(name, name): expression", or {code: tools.function, args: [name, name]}')


def _each(raw: object) -> tuple[str, Expr]:
    if not isinstance(raw, str):
        raise ValueError("write it as: name in list")
    return compile_each(raw)


Expression = Annotated[Expr, PlainValidator(_expression)]
Each = Annotated[tuple[str, Expr], PlainValidator(_each)]
LookupText = Annotated[Lookup, PlainValidator(_lookup)]
Name = Annotated[str, Field(pattern=NAME)]
Share = Annotated[float, Field(ge=0, le=1)]
Words = Annotated[str, Field(min_length=1, max_length=600)]


class Part(BaseModel):
    """A block of the file: no unknown keys, nothing changed after it was read."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)


class Named(Part):
    """A block that stands under its name."""

    name: str = ""
