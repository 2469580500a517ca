"""Names that refer to other parts of a domain: each is looked up, and what is not there is a fault with its line."""

from __future__ import annotations

from collections.abc import Iterable

from flywheel_domains.code_check import functions
from flywheel_domains.document import Document, Path
from flywheel_domains.domain import Domain
from flywheel_domains.functions import FUNCTIONS
from flywheel_domains.link_names import DRAWN_CALLS, WORLD_CALLS, Names
from flywheel_domains.link_policy import PolicyLinker
from flywheel_domains.model import Arg, Step, Tool
from flywheel_domains.tables import Column, Table
from flywheel_domains.values import normalise


def link(domain: Domain, document: Document, code: str) -> None:
    """Notes in the document what refers to nothing."""
    linker = _Linker(domain, document)
    if linker.types():
        return
    linker.tables()
    linker.code = functions(code)
    linker.lookups()
    linker.views()
    linker.calls()
    PolicyLinker(linker).all()


class _Linker(Names):
    def __init__(self, domain: Domain, document: Document) -> None:
        super().__init__(domain, document)
        self.code: dict[str, tuple[str, ...]] = {}

    # ---- tables

    def types(self) -> bool:
        """Types and references of columns and arguments; True if something is wrong, and the rest makes no sense."""
        before = len(self.document.faults)
        for name, table in self.domain.tables.items():
            for column in table.columns.values():
                path = ("tables", name, "columns", column.name)
                try:
                    self.domain.column_type(column)
                except ValueError as error:
                    self.fault((*path, "ref" if column.ref else "type"), str(error))
            self._parent(name, table)
        for kind, parts in (("tools", self.domain.tools), ("acts", self.domain.acts)):
            for name, part in parts.items():
                for arg_name, arg in part.args.items():
                    self._arg((kind, name, "args", arg_name), arg)
        return len(self.document.faults) > before

    def _parent(self, name: str, table: Table) -> None:
        path: Path = ("tables", name)
        if (table.rows is None) == (table.per is None):
            self.fault(path, "a table has exactly one of `rows`, `per`")
        if table.per is not None:
            if table.parent not in self.domain.tables:
                self.fault((*path, "per"), f"there is no table {table.parent}")
            if table.parent_column in table.columns:
                self.fault((*path, "per", "as"), f"{table.parent_column} is also among the columns")
            if table.per.each is not None and table.per.each not in self.domain.types:
                self.fault((*path, "per"), f"there is no enumeration {table.per.each}")
            if table.fill is not None and table.fill not in table.columns:
                self.fault((*path, "per", "fill"), f"there is no column {table.fill}")
        for column in table.columns.values():
            if column.gen is None and column.ref is None and not self._given(table, column):
                place = (*path, "columns", column.name)
                self.fault(place, "the column has no generator", "write `gen: {…}`")
        if "id" not in table.columns or (table.columns["id"].gen is None and not _in_all(table, "id")):
            self.fault((*path, "columns"), "the table has no generator for `id`", 'write `id: {gen: {seq: "X%d"}}`')

    def _given(self, table: Table, column: Column) -> bool:
        """Whether a column needs no generator: no rows are made, or there is one row for each of its values."""
        return table.rows == 0 or column.name == table.fill or _in_all(table, column.name)

    def _arg(self, path: Path, arg: Arg) -> None:
        if arg.list is not None:
            self._arg((*path, "list"), arg.list)
        elif arg.object is not None:
            for name, part in arg.object.items():
                self._arg((*path, "object", name), part)
        else:
            try:
                self.domain.arg_type(arg)
            except ValueError as error:
                self.fault((*path, "ref" if arg.ref else "type"), str(error))

    def tables(self) -> None:
        self.attributes = {name for columns in self.domain.columns.values() for name in columns}
        self.attributes |= {name for lists in self.domain.children.values() for name in lists}
        self.attributes |= {"identified", "id", "year", "month", "day", "hour", "minute"}
        for part in self.domain.parts.values():
            for arg in part.args.values():
                self._fields(arg)
        for name, table in self.domain.tables.items():
            self._table(name, table)

    def _fields(self, arg: Arg) -> None:
        if arg.list is not None:
            self._fields(arg.list)
        for name, part in (arg.object or {}).items():
            self.attributes.add(name)
            self._fields(part)

    def _data(self, name: str, table: Table) -> None:
        """Rows that are given hold what their columns hold."""
        for index, row in enumerate(table.data):
            for key, value in row.items():
                path = ("tables", name, "rows", index, key)
                kind = self.domain.columns[name].get(key)
                if kind is None or (key != "id" and key not in table.columns):
                    self.fault(path, f"{name} has no column {key}")
                    continue
                try:
                    if value is not None or not table.columns[key].nullable:
                        normalise(kind, value)
                except ValueError as error:
                    self.fault(path, str(error))

    def _table(self, name: str, table: Table) -> None:
        self._data(name, table)
        known = {given for given in (table.parent_column, table.fill) if given}
        for column in table.columns.values():
            path = ("tables", name, "columns", column.name)
            if column.where is not None:
                self.expr((*path, "where"), column.where, known | {"it"}, DRAWN_CALLS)
            gen = column.gen
            if gen is not None:
                for key in ("expr", "differs"):
                    found = getattr(gen, key)
                    if found is not None:
                        names = {*known, *table.columns} if column.name == "id" else known  # an id is made last
                        self.expr((*path, "gen", key if key == "expr" else "not"), found, names, DRAWN_CALLS)
                if gen.any is not None and gen.any not in self.domain.types and gen.any not in self.domain.tables:
                    self.fault((*path, "gen", "any"), f"there is no enumeration {gen.any}")
                if gen.email is not None and gen.email not in table.columns:
                    self.fault((*path, "gen", "email"), f"there is no column {gen.email}")
            known.add(column.name)
        for index, check in enumerate(table.check):
            self.expr(("tables", name, "check", index), check, {"it"})

    # ---- lookups

    def lookups(self) -> None:
        for name, lookup in self.domain.lookups.items():
            if name in {*FUNCTIONS, *WORLD_CALLS}:
                self.fault(("lookups", name), f"{name} is a function of the language", "give it another name")
            if lookup.body is not None:
                self.expr(("lookups", name), lookup.body, lookup.args)
            else:
                self._code(("lookups", name), lookup.code or "", lookup.args)

    def _code(self, path: Path, called: str, args: Iterable[str]) -> None:
        module, _, function = called.partition(".")
        if module != "tools" or not function.isidentifier():
            self.fault(path, f"{called} is not a function of tools.py", "write tools.<function>")
        elif function not in self.code:
            self.fault(path, f"tools.py has no function {function}")
        elif set(self.code[function]) != set(args):
            self.fault(path, f"{function} of tools.py does not take (db, now, {', '.join(args)})")

    # ---- views and tools

    def views(self) -> None:
        for name, view in self.domain.views.items():
            path = ("views", name)
            if view.of not in self.domain.tables:
                self.fault((*path, "of"), f"there is no table {view.of}")
                continue
            for index, column in enumerate(view.show):
                self._shown((*path, "show", index), view.of, column)
            for child, columns in view.children.items():
                if child not in self.domain.children[view.of]:
                    self.fault((*path, "with", child), f"{view.of} has no list {child}")
                    continue
                for index, column in enumerate(columns):
                    self._shown((*path, "with", child, index), self.domain.children[view.of][child][0], column)

    def _shown(self, path: Path, table: str, column: str) -> None:
        head, _, rest = column.partition(".")
        kind = self.domain.columns[table].get(head)
        if kind is None:
            self.fault(path, f"{table} has no column {head}")
        elif rest and kind.kind != "ref":
            self.fault(path, f"{head} refers to no table")
        elif rest:
            self._shown(path, kind.table, rest)

    def calls(self) -> None:
        for name, tool in self.domain.tools.items():
            self._tool(("tools", name), tool)
        for name, act in self.domain.acts.items():
            names = {*act.args}
            for key, expr in act.let.items():
                self.expr(("acts", name, "let", key), expr, names)
                names.add(key)

    def _tool(self, path: Path, tool: Tool) -> None:
        names = set(tool.args)
        for key, expr in tool.let.items():
            self.expr((*path, "let", key), expr, names)
            names.add(key)
        if tool.read is not None:
            self._read((*path, "read"), tool, names)
        if tool.code is not None:
            self._code((*path, "code"), tool.code, tool.args)
            if tool.view is not None and tool.view not in self.domain.views:
                self.fault((*path, "view"), f"there is no view {tool.view}")
        self.expr((*path, "proves"), tool.proves, names | {"it"})
        for index, refuse in enumerate(tool.refuse):
            self.expr((*path, "refuse", index, "if"), refuse.condition, names)
            for key, expr in refuse.tell.items():
                self.expr((*path, "refuse", index, "tell", key), expr, names)
        for index, step in enumerate(tool.steps):
            names |= self._step((*path, "do", index), step, names)
        for key, expr in tool.show.items():
            self.expr((*path, "show", key), expr, names)

    def _read(self, path: Path, tool: Tool, names: set[str]) -> None:
        read = tool.read
        assert read is not None
        if read.table not in self.domain.tables:
            self.fault(path, f"there is no table {read.table}")
        if read.show not in self.domain.views:
            self.fault((*path, "show"), f"there is no view {read.show}")
        elif self.domain.views[read.show].of != read.table:
            self.fault((*path, "show"), f"the view {read.show} is one of {self.domain.views[read.show].of}")
        if read.key is not None and read.key not in tool.args:
            self.fault((*path, "key"), f"there is no argument {read.key}")
        self.expr((*path, "where"), read.where, names | {"it"})
        self.expr((*path, "sort"), read.sort, names | {"it"})

    def _step(self, path: Path, step: Step, names: set[str]) -> set[str]:
        """The names that later steps may use as well."""
        inner = set(names)
        if step.each is not None:
            self.expr((*path, "each"), step.each[1], names)
            inner.add(step.each[0])
        self.expr((*path, "if"), step.condition, inner)
        self.expr((*path, "set"), step.set, inner)
        self.expr((*path, "drop"), step.drop, inner)
        for key, expr in (step.to or {}).items():
            self.expr((*path, "to", key), expr, inner | {"it"})
            if not any(key in columns for columns in self.domain.columns.values()):
                self.fault((*path, "to", key), f"no table has a column {key}")
        if step.add is not None:
            self._added(path, step, inner)
        return {step.bind} if step.bind else set()

    def _added(self, path: Path, step: Step, names: set[str]) -> None:
        columns = self.domain.columns.get(step.add or "")
        if columns is None:
            self.fault((*path, "add"), f"there is no table {step.add}")
            return
        for key, expr in (step.row or {}).items():
            self.expr((*path, "row", key), expr, names)
            if key not in columns or key == "id":
                self.fault((*path, "row", key), f"{step.add} has no column {key} that can be given")
        table = self.domain.tables[step.add or ""]
        for key in columns:
            column = table.columns.get(key)
            optional = column is not None and (
                column.nullable or (column.gen is not None and column.gen.way == "value")
            )
            if key != "id" and key not in (step.row or {}) and not optional:
                self.fault((*path, "row"), f"the row gives no {key}", "every column that is not nullable is given")


def _in_all(table: Table, column: str) -> bool:
    """Whether the rows of a table are given, and all of them with this column."""
    return bool(table.data) and all(column in row for row in table.data)
