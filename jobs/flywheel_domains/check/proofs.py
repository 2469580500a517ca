"""What an agent can find out: all that a verdict rests on is shown to whoever looks, and wrong agents go unpaid."""

from __future__ import annotations

from collections.abc import Iterator

from flywheel_domains.agents import AGENTS, Play
from flywheel_domains.behaviour import Behaviour
from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject
from flywheel_domains.domain import Domain
from flywheel_domains.errors import ToolFault
from flywheel_domains.expr import Cell
from flywheel_domains.lookups import Unprovable
from flywheel_domains.model import View
from flywheel_domains.reward import grade

MOST_PLAYED = 40  # cases on which all agents are played: some of every rule's, and some as they come


def unseen(subject: Subject) -> Iterator[Finding]:
    """A column that decides something and that no read shows: nobody can know, so nobody can be right but by luck."""
    shown = {pair for view in _used(subject.domain) for pair in columns_of(subject.domain, view)}
    for found, error in subject.unprovable:
        for cell in sorted(error.cells):
            if cell.row != "*" and cell.column != "id" and (cell.table, cell.column) not in shown:
                advice = f"show it in a view of {cell.table} that a read uses"
                message = f"{_rules(found)} rests on it, and no read shows it"
                yield subject.finding("shown", message, advice, "tables", cell.table, "columns", cell.column)


def unproven(subject: Subject) -> Iterator[Finding]:
    """A verdict on columns that are shown, of rows that cannot be got at from what the caller says."""
    shown = {pair for view in _used(subject.domain) for pair in columns_of(subject.domain, view)}
    told: dict[tuple[str, str], tuple[Behaviour, Unprovable]] = {}
    for found, error in subject.unprovable:
        if not any(_hidden(cell, shown) for cell in error.cells):
            rules = error.result.rules
            place = ("rules", rules[0]) if rules else ("wishes", error.result.option.wish)
            told[place] = min(told.get(place, (found, error)), (found, error), key=lambda each: len(each[1].cells))
    for place, (found, error) in told.items():
        yield subject.finding("shown", f"cannot be proved: {_without_ids(error)}", _way_there(found, error), *place)


def _way_there(found: Behaviour, error: Unprovable) -> str:
    start = found.start.view()
    if any(cell.row != "*" and start.values(cell.table, cell.row) is None for cell in error.cells):
        return "a write of the same conversation made the row: let it `show` that row (`as` names what is added)"
    whole = sorted({cell.table for cell in error.cells if cell.row == "*"})
    if whole:
        return (
            f"no read shows all of {whole[0]}: in place of rows('{whole[0]}') let it ask what a read lists, "
            "listing('tool', argument=…)"
        )
    return "add a read that leads there from what a caller knows, or a list to a view on the way"


def _hidden(cell: Cell, shown: set[tuple[str, str]]) -> bool:
    return cell.row != "*" and cell.column != "id" and (cell.table, cell.column) not in shown


def _without_ids(error: Unprovable) -> str:
    """The kinds of cells, since the rows differ from case to case and the mistake does not."""
    kinds = sorted({f"{c.table}.{c.column.partition('=')[0].partition('(')[0]}" for c in error.cells})
    return ", ".join(kinds) or "a row whose id nothing tells"


def _rules(found: Behaviour) -> str:
    rules = [rule for result in found.results for rule in result.rules]
    return f"rule {rules[-1]}" if rules else f"wish {found.results[-1].option.wish}"


def _used(domain: Domain) -> list[View]:
    return [domain.views[tool.read.show] for tool in domain.tools.values() if tool.read is not None]


def columns_of(domain: Domain, view: View) -> Iterator[tuple[str, str]]:
    """(table, column) of all that a view shows, along its references and lists."""
    paths = [(view.of, path) for path in view.show]
    for child, columns in view.children.items():
        table, back = domain.children[view.of][child]
        paths += [(table, path) for path in (*columns, back)]
    for table, path in paths:
        for step in path.split("."):
            yield table, step
            kind = domain.columns[table].get(step)
            table = kind.table if kind is not None and kind.kind == "ref" else table


def agents(subject: Subject) -> Iterator[Finding]:
    """The right agent is paid and the wrong ones are not, in every case that can tell them apart."""
    for found in subject.sample.some(MOST_PLAYED):
        path = subject.path(found)
        if path is None:
            continue
        play = Play(subject.domain, found, path)
        for agent in AGENTS:
            expected = agent.expected(play)
            if expected is None:
                continue
            try:
                graded = grade(subject.domain, found.case, found, agent.play(play), confirmations=True)
            except ToolFault as error:
                yield subject.finding(
                    "agents", f"{agent.name}: {error}", "a tool answers or refuses", "tools", error.tool
                )
                continue
            if graded.paid != expected:
                said = "is paid" if graded.paid else f"is not paid ({', '.join(graded.reasons)})"
                rules = found.results[-1].rules
                place = ("rules", rules[0]) if rules else ("wishes", found.results[-1].option.wish)
                advice = (
                    "what tells right from wrong here is in no cell and in no fact: see what the rule reads and tells"
                )
                yield subject.finding("agents", f"the agent {agent.name!r} {said}", advice, *place)
