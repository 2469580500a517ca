"""A call of a tool: arguments read at the door, all or nothing done, what is shown revealed, invariants asserted.

A wrong argument, an unmet condition or a row that is not there is a `Refusal`, which is an answer. A tool that raises,
or leaves the tables against an invariant, is a `ToolFault`: the domain is wrong, and whatever was running is void.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flywheel_domains.args import BadArgs, NotFound, read_args
from flywheel_domains.domain import Domain
from flywheel_domains.errors import ExprError, Refusal, ToolFault
from flywheel_domains.expr import Cell, Scope
from flywheel_domains.model import Step, Tool
from flywheel_domains.reads import find, listing_cell, searched
from flywheel_domains.runner import decoded, runner_of
from flywheel_domains.session import Done, Session
from flywheel_domains.show import show_row
from flywheel_domains.values import plain
from flywheel_domains.world import Draft, Row, View, World, broken

DONE_ALREADY = "done_already"
"""What a write answers that was carried out with the same arguments, and says `repeat: refuse`."""
MOST_REPEATED = 1_000
"""Members that one `each` goes through."""


@dataclass(frozen=True)
class Outcome:
    """What a call came to: the answer, and world and session after it. A refusal leaves both as they were."""

    result: Any
    world: World
    session: Session
    revealed: frozenset[Cell] = frozenset()
    refusal: Refusal | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    """The arguments as they were read."""

    @property
    def answer(self) -> Any:
        """The tool's output as JSON has it."""
        return self.refusal.answer() if self.refusal is not None else self.result


def call(domain: Domain, world: World, session: Session, name: str, args: object) -> Outcome:
    """Calls a tool. Raises ToolFault if it is the tool that is wrong."""
    tool = domain.tools.get(name)
    if tool is None:
        return _refused(world, session, Refusal("no_such_tool"))
    view = world.view()
    try:
        values = read_args(domain, tool, args, lambda table, id: view.values(table, id) is not None)
    except BadArgs as error:
        return _refused(world, session, Refusal("bad_arguments", {"why": str(error)}))
    except NotFound as error:
        missing = frozenset({Cell(error.table, error.id, "id")})
        named = tool.read.none if tool.read is not None else None
        return _refused(world, session, Refusal(named or "not_found", {error.name: error.id}), missing)
    try:
        if not tool.writes:
            return _read(domain, world, session, tool, values)
        return _write(domain, world, session, tool, values)
    except (ExprError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ToolFault(name, "raised", str(error)) from error


def _refused(world: World, session: Session, refusal: Refusal, revealed: frozenset[Cell] = frozenset()) -> Outcome:
    return Outcome(None, world, session, revealed, refusal)


# ---- reads


def _read(domain: Domain, world: World, session: Session, tool: Tool, values: dict[str, Any]) -> Outcome:
    read = tool.read
    if read is None:
        return _read_code(domain, world, session, tool, values)
    view = world.view()
    revealed: set[Cell] = set()
    if read.get is not None:
        rows = [Row(view, read.table, values[read.key or ""])]
    else:
        rows = find(view, tool, values, session)
        revealed.add(listing_cell(tool, values))
    shown = domain.views[read.show]
    if read.all is not None:
        answer: dict[str, Any] = {"found": [show_row(view, shown, row, revealed) for row in rows[: read.limit]]}
        if len(rows) > read.limit:
            answer["more"] = len(rows) - read.limit
        return Outcome(answer, world, session, frozenset(revealed), args=values)
    if len(rows) != 1:
        refusal = Refusal((read.none or "not_found") if not rows else "not_unique")
        return Outcome(None, world, session, frozenset(revealed) if not rows else frozenset(), refusal, values)
    result = show_row(view, shown, rows[0], revealed)
    session = _proved(view, session, tool, values, rows[0])
    return Outcome(result, world, session, frozenset(revealed), args=values)


def _proved(view: View, session: Session, tool: Tool, values: Mapping[str, Any], row: Row) -> Session:
    """A read that shows a caller to themselves, by what they said of themselves, identifies them."""
    if tool.proves is None or tool.proves.true(view.scope({**values, "it": row}, tool.let, session)) is not True:
        return session
    return session.with_identified(row.id)


def _read_code(domain: Domain, world: World, session: Session, tool: Tool, values: dict[str, Any]) -> Outcome:
    view = world.view()
    answer = runner_of(domain).run(tool.name, _function(tool), view, values)
    outcome = _answered(domain, view, world, session, tool, values, decoded(view, answer.result))
    table = searched(domain, tool)
    if not table or outcome.refusal is not None:
        return outcome
    return replace(outcome, revealed=outcome.revealed | {listing_cell(tool, values, table)})


def _function(tool: Tool) -> str:
    return (tool.code or "").removeprefix("tools.")


def _answered(
    domain: Domain, view: View, world: World, session: Session, tool: Tool, values: dict[str, Any], result: Any
) -> Outcome:
    """What code answered: rows by the tool's view if it has one, and as a refusal what says `error`."""
    revealed: set[Cell] = set()
    shown = domain.views.get(tool.view or "")
    if isinstance(result, dict) and isinstance(result.get("error"), str):
        refusal = Refusal(result["error"], {key: plain(value) for key, value in result.items() if key != "error"})
        return Outcome(None, world, session, frozenset(), refusal, values)

    def seen(value: Any) -> Any:
        if isinstance(value, Row):
            revealed.add(Cell(value.table, value.id, "id"))
            return show_row(view, shown, value, revealed) if shown and shown.of == value.table else value.id
        if isinstance(value, dict):
            return {key: seen(member) for key, member in value.items()}
        return [seen(member) for member in value] if isinstance(value, list) else plain(value)

    return Outcome(seen(result), world, session, frozenset(revealed), args=values)


# ---- writes


def _write(domain: Domain, world: World, session: Session, tool: Tool, values: dict[str, Any]) -> Outcome:
    earlier = session.earlier(tool.name, values)
    if earlier is not None and tool.repeat == "same":
        return Outcome(earlier.result, world, session, args=values)
    if earlier is not None and tool.repeat == "refuse":
        return Outcome(None, world, session, frozenset(), Refusal(DONE_ALREADY), values)
    draft = world.draft()
    if tool.code is not None:
        return _write_code(domain, world, draft, session, tool, values)
    scope = draft.scope(values, tool.let, session)
    for refuse in tool.refuse:
        if refuse.condition.true(scope):
            tell = {key: plain(expr.eval(scope)) for key, expr in refuse.tell.items()}
            return Outcome(None, world, session, frozenset(), Refusal(refuse.error, tell), values)
    for name in tool.let:
        scope[name] = scope[name]  # before anything changes
    for step in tool.steps:
        _step(draft, scope, step)
    after, session = _kept(draft, session, tool, values)
    revealed: set[Cell] = set()
    result = _shown(domain, after.view(), scope, tool, revealed)
    return Outcome(result, after, _with_result(session, result), frozenset(revealed), args=values)


def _write_code(
    domain: Domain, world: World, draft: Draft, session: Session, tool: Tool, values: dict[str, Any]
) -> Outcome:
    answer = runner_of(domain).run(tool.name, _function(tool), draft, values, writes=True)
    if isinstance(answer.result, dict) and "error" in answer.result:
        return _answered(domain, draft, world, session, tool, values, answer.result)
    for what, table, id, cells in answer.writes:
        if what == "add":
            draft.add(table, cells)
        elif what == "drop":
            draft.drop(table, id)
        else:
            draft.set(table, id, cells)
    after, done = _kept(draft, session, tool, values)
    view = after.view()
    outcome = _answered(domain, view, after, done, tool, values, decoded(view, answer.result))
    return replace(outcome, session=_with_result(done, outcome.result))


def _kept(draft: Draft, session: Session, tool: Tool, values: dict[str, Any]) -> tuple[World, Session]:
    """World and session after the writes of a draft. Raises ToolFault if an invariant does not hold."""
    touched = with_owners(draft, draft.touched)
    wrong = broken(draft, [(table, id) for table, id in touched if draft.values(table, id) is not None])
    if wrong:
        raise ToolFault(tool.name, "invariant", "; ".join(wrong[:3]))
    return draft.world(), session.with_done(Done(tool.name, values, frozenset(touched)), tool.ends)


def _with_result(session: Session, result: Any) -> Session:
    """The session with what the last call answered, in case it is repeated."""
    *earlier, last = session.done
    return replace(session, done=(*earlier, replace(last, result=result)))


def _shown(domain: Domain, view: View, scope: Scope, tool: Tool, revealed: set[Cell]) -> dict[str, Any]:
    """Rows by the view that the name says (`booking: b`), anything else as it is; `ok` if there is nothing to show."""
    answer: dict[str, Any] = {}
    for name, expr in tool.show.items():
        value = expr.eval(scope)
        shown = domain.views.get(name)
        if isinstance(value, Row) and shown is not None and shown.of == value.table:
            answer[name] = show_row(view, shown, Row(view, value.table, value.id), revealed)
        else:
            answer[name] = plain(value)
    return answer or {"ok": "done"}


def with_owners(view: View, rows: Iterable[tuple[str, str]]) -> dict[tuple[str, str], None]:
    """The rows, and those that they belong to (the parents of child tables), each once."""
    found: dict[tuple[str, str], None] = {}
    for table, id in rows:
        while (table, id) not in found:
            found[table, id] = None
            declared = view.domain.tables[table]
            row = view.values(table, id) or view.base.tables[table].get(id)
            if declared.per is None or row is None:
                break
            table, id = declared.per.parent, row[declared.per.column]
    return found


def _step(draft: Draft, scope: Scope, step: Step) -> None:
    if step.each is None:
        _effect(draft, scope, step)
        return
    name, members = step.each
    values = list(members.eval(scope))
    if len(values) > MOST_REPEATED:
        raise ValueError(f"`each` goes through more than {MOST_REPEATED} members")
    outer = scope.get(name)
    for value in values:
        scope[name] = value
        _effect(draft, scope, step)
    scope[name] = outer


def _effect(draft: Draft, scope: Scope, step: Step) -> None:
    if step.condition is not None and not step.condition.true(scope):
        return
    if step.add is not None:
        made = draft.add(step.add, {name: expr.eval(scope) for name, expr in (step.row or {}).items()})
        if step.bind:
            scope[step.bind] = made
        return
    expr = step.set or step.drop
    assert expr is not None
    row = expr.eval(scope)
    if not isinstance(row, Row):
        raise ValueError(f"`{expr.text}` is no row")
    if step.drop is not None:
        draft.drop(row.table, row.id)
        return
    scope["it"] = row
    draft.set(row.table, row.id, {name: value.eval(scope) for name, value in (step.to or {}).items()})
    del scope["it"]
