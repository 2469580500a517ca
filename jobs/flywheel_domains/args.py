"""Arguments at a tool's door: read by their declaration, shown to a model as JSON schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flywheel_domains.domain import Domain
from flywheel_domains.model import Act, Arg, Tool
from flywheel_domains.unknown import Fields, Unknown
from flywheel_domains.values import json_schema, normalise, plain

MOST_MEMBERS = 200


class BadArgs(ValueError):
    """The arguments are not as declared; the message is for whoever called."""


class NotFound(ValueError):
    """An argument names a row that is not there."""

    def __init__(self, name: str, table: str, id: str) -> None:
        self.name, self.table, self.id = name, table, id
        super().__init__(f"{name}: there is no {id}")


class Given(Fields):
    """A nested argument: attributes are its fields."""

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)

    def get(self, name: str) -> Any:
        """A field. Raises AttributeError."""
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(f"the argument has no {name}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and self.values == other.values

    def __hash__(self) -> int:
        return hash(tuple(self.values.items()))

    def __repr__(self) -> str:
        return repr(self.values)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {key: plain(value) for key, value in self.values.items()}


def read_args(
    domain: Domain, part: Tool | Act, raw: object, exists: Callable[[str, str], bool] | None = None
) -> dict[str, Any]:
    """Every declared argument by name, None where an optional one is left out; unknown values stay unknown.

    Raises BadArgs, and NotFound if `exists(table, id)` denies a reference.
    """
    if not isinstance(raw, Mapping):
        raise BadArgs("the arguments are an object")
    return _fields(domain, part.args, raw, "", exists)


def _fields(
    domain: Domain, declared: Mapping[str, Arg], raw: Mapping[Any, Any], path: str, exists: Any
) -> dict[str, Any]:
    odd = [str(name)[:40] for name in raw if name not in declared]
    if odd:
        raise BadArgs(f"there is no argument {path}{odd[0]}")
    found: dict[str, Any] = {}
    for name, arg in declared.items():
        value = raw.get(name)
        if value is None:
            if not arg.optional:
                raise BadArgs(f"{path}{name} is missing")
            found[name] = None
        else:
            found[name] = _read(domain, arg, value, f"{path}{name}", exists)
    return found


def _read(domain: Domain, arg: Arg, raw: Any, path: str, exists: Any) -> Any:
    if isinstance(raw, Unknown):
        return raw
    if arg.list is not None:
        if not isinstance(raw, list | tuple):
            raise BadArgs(f"{path}: a list is expected")
        _within(arg, len(raw), f"{path}: the number of entries")
        if len(raw) > MOST_MEMBERS:
            raise BadArgs(f"{path}: at most {MOST_MEMBERS} entries")
        return [_read(domain, arg.list, member, f"{path}[{index}]", exists) for index, member in enumerate(raw)]
    if arg.object is not None:
        raw = raw.values if isinstance(raw, Given) else raw
        if not isinstance(raw, Mapping):
            raise BadArgs(f"{path}: an object is expected")
        return Given(_fields(domain, arg.object, raw, f"{path}.", exists))
    kind = domain.arg_type(arg)
    try:
        value = normalise(kind, raw)
    except ValueError as error:
        raise BadArgs(f"{path}: {error}") from None
    if kind.kind in ("int", "money"):
        _within(arg, value, path)
    if kind.kind == "ref" and exists is not None and not exists(kind.table, value):
        raise NotFound(path, kind.table, value)
    return value


def _within(arg: Arg, number: int, what: str) -> None:
    if arg.min is not None and number < arg.min:
        raise BadArgs(f"{what} is at least {arg.min}")
    if arg.max is not None and number > arg.max:
        raise BadArgs(f"{what} is at most {arg.max}")


def schema_of(domain: Domain, part: Tool | Act) -> dict[str, Any]:
    """A tool as an OpenAI function: name, description, JSON schema of the arguments."""
    parameters = _object_schema(domain, part.args)
    return {"name": part.name, "description": part.about, "parameters": parameters}


def _object_schema(domain: Domain, args: Mapping[str, Arg]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _schema(domain, arg) for name, arg in args.items()},
        "required": [name for name, arg in args.items() if not arg.optional],
        "additionalProperties": False,
    }


def _schema(domain: Domain, arg: Arg) -> dict[str, Any]:
    if arg.list is not None:
        found: dict[str, Any] = {"type": "array", "items": _schema(domain, arg.list)}
        bounds = ("minItems", "maxItems")
    elif arg.object is not None:
        found, bounds = _object_schema(domain, arg.object), ("", "")
    else:
        found, bounds = json_schema(domain.arg_type(arg)), ("minimum", "maximum")
    for key, bound in zip(bounds, (arg.min, arg.max), strict=True):
        if key and bound is not None:
            found[key] = bound
    if arg.about:
        found["description"] = arg.about
    return found
