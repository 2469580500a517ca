"""A contract that lists what a package may import. A list of what it may not import is never complete."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain.imports import Module


class OnlyContract(Contract):
    """`source_modules` import nothing but themselves and `allowed_modules`, the standard library included."""

    type_name = "only"

    source_modules = fields.SetField(subfield=fields.ModuleField())
    allowed_modules = fields.SetField(subfield=fields.ModuleField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """The imports that the list does not hold."""
        sources: set[Module] = self.source_modules  # type: ignore[assignment]
        allowed: set[Module] = sources | self.allowed_modules  # type: ignore[operator]
        broken = sorted(
            (importer, imported)
            for source in sources
            for importer in {source.name, *graph.find_descendants(source.name)}
            for imported in graph.find_modules_directly_imported_by(importer)
            if not any(Module(imported).is_in_package(package) for package in allowed)
        )
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line for each import."""
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} is not allowed to import {imported}")
