"""The process in which a domain's code runs: reads requests from a pipe, calls a function, writes its answer.

Started as `python -m flywheel_domains.child FOLDER` by `runner`, with an empty environment. It loads the domain, closes
the cage, and then answers until its input ends. Each function is called twice, with arguments of its own each time:
what differs, or what changed its arguments, is a fault and no answer.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import pickle
import struct
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flywheel_domains.cage import Reached, Watch, close_cage
from flywheel_domains.code_check import MODULES, NAMES
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Trace
from flywheel_domains.generate import build_world
from flywheel_domains.load import CODE, load
from flywheel_domains.values import plain
from flywheel_domains.world import Draft, Row, World

HEAD = struct.Struct(">Q")
MOST_OUTPUT = 64 * 1024
BUILT = b"{}"
"""Says that the world is there: building one is our time and not the function's."""


class Db:
    """What a function gets as `db`: rows to read and, for a write, three ways to change them."""

    __slots__ = ("__draft", "__writes")

    def __init__(self, draft: Draft, writes: list[list[Any]] | None) -> None:
        self.__draft, self.__writes = draft, writes

    def row(self, table: str, id: Any) -> Any:
        """A row by id, or None."""
        return self.__draft.row(table, id)

    def rows(self, table: str) -> Any:
        """All rows of a table."""
        return self.__draft.rows(table)

    def listing(self, tool: str, **args: Any) -> Any:
        """What a searching tool would list: one look-up shows an agent all of it."""
        return self.__draft.domain.layout.calls["listing"](self.__draft.scope(), tool, **args)

    def help(self, name: str, *args: Any) -> Any:
        """One of the domain's `lookups`."""
        return self.__draft.domain.layout.calls[name](self.__draft.scope(), *args)

    def set(self, row: Any, **values: Any) -> None:
        """Changes columns of a row."""
        self.__note("set", row.table, row.id, values)
        self.__draft.set(row.table, row.id, values)

    def add(self, table: str, **values: Any) -> Any:
        """Creates a row and hands it back."""
        self.__note("add", table, "", values)
        return self.__draft.add(table, values)

    def drop(self, row: Any) -> None:
        """Takes a row away."""
        self.__note("drop", row.table, row.id, {})
        self.__draft.drop(row.table, row.id)

    def __note(self, what: str, table: str, id: str, values: Mapping[str, Any]) -> None:
        if self.__writes is None:
            raise TypeError("a read changes nothing")
        self.__writes.append([what, table, id, {key: plain(value) for key, value in values.items()}])


def shown(value: Any) -> Any:
    """An answer as it crosses the pipe: rows by table and id, everything else as JSON has it."""
    if isinstance(value, Row):
        return {"$row": [value.table, value.id]}
    if isinstance(value, Mapping):
        return {str(key): shown(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [shown(member) for member in value]
    if isinstance(value, float | set | frozenset):
        raise TypeError(f"a {type(value).__name__} is no answer: it has no order or no exact value")
    return plain(value)


class Child:
    """Holds the domain, its functions and the worlds that were asked for."""

    def __init__(self, folder: Path) -> None:
        self.domain: Domain = load(folder)
        self.watch = Watch()
        self.functions = self._functions((folder / CODE).read_text())

    def _functions(self, text: str) -> dict[str, Callable[..., Any]]:
        for module in (*MODULES, "_strptime", "encodings.idna"):
            importlib.import_module(module)
        safe = {name: value for name, value in vars(builtins).items() if name not in NAMES}
        safe["__import__"] = _import
        space: dict[str, Any] = {"__builtins__": safe, "__name__": "tools"}
        builtins.exec(builtins.compile(text, CODE, "exec"), space)
        return {name: value for name, value in space.items() if callable(value)}

    def answer(self, request: dict[str, Any], base: World) -> bytes:
        """The answer to a request about a base world, or the fault, as JSON."""
        world = World(self.domain, base.base, request["patch"], request["made"], request["now"])
        try:
            first = self._once(world, request)
            if first != self._once(world, request):
                return _fault("unequal", "it answered differently when it was called twice")
        except MemoryError:
            return _fault("memory", "it took more memory than a tool has")
        except _Changed as error:
            return _fault("inputs", str(error))
        except Exception as error:
            if self.watch.reached:
                return _fault(*self.watch.reached[0])
            return _fault("raised", f"{type(error).__name__}: {error}"[:300] + _line(error))
        finally:
            reached, self.watch.reached = self.watch.reached, []
        if reached:
            return _fault(*reached[0])
        if len(first) > MOST_OUTPUT:
            return _fault("output", f"it answered with {len(first)} bytes; a tool has {MOST_OUTPUT}")
        return first

    def _once(self, world: World, request: dict[str, Any]) -> bytes:
        args = pickle.loads(request["args"])
        draft = world.draft()
        draft.trace = Trace()
        writes: list[list[Any]] | None = [] if request["writes"] else None
        self.watch.armed = True
        try:
            result = self.functions[request["function"]](
                Db(draft, writes), draft.now or draft.domain.clock.moment, **args
            )
        finally:
            self.watch.armed = False
        if pickle.loads(request["args"]) != args:
            raise _Changed("it changed its arguments")
        answer = {"result": shown(result), "cells": sorted(draft.trace), "writes": writes or []}
        return json.dumps(answer, ensure_ascii=False, sort_keys=True).encode()


class _Changed(Exception):
    """The function changed what it was given."""


def _line(error: BaseException) -> str:
    """Where in tools.py it was."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == CODE:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" ({CODE}:{line})" if line else ""


def _fault(kind: str, message: str) -> bytes:
    return json.dumps({"fault": kind, "message": message}, ensure_ascii=False).encode()


def _import(name: str, *rest: Any) -> Any:
    if name not in MODULES:
        raise Reached(f"import {name}")
    return builtins.__import__(name, *rest)


def main(folder: str) -> None:
    """Answers requests until there are none."""
    requests, answers = os.dup(0), os.dup(1)
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 0)
    os.dup2(quiet, 1)
    child = Child(Path(folder))
    filtered = close_cage(child.watch)
    _send(answers, json.dumps({"ready": True, "filtered": filtered}).encode())
    while head := _take(requests, HEAD.size):
        request = pickle.loads(_take(requests, HEAD.unpack(head)[0]))
        base = build_world(child.domain, request["seed"])
        _send(answers, BUILT)
        _send(answers, child.answer(request, base))


def _take(stream: int, size: int) -> bytes:
    """So many bytes, or none if the other side is gone."""
    found = b""
    while len(found) < size:
        more = os.read(stream, size - len(found))
        if not more:
            return b""
        found += more
    return found


def _send(stream: int, text: bytes) -> None:
    data = HEAD.pack(len(text)) + text
    while data:
        data = data[os.write(stream, data) :]


if __name__ == "__main__":
    main(sys.argv[1])
