"""A contract type for import-linter: what the modules of an adapter folder may import.

It is an allow list, so that it also applies to folders and libraries that do not exist yet. The built-in contract types
cannot express this.
"""

import sys
from collections.abc import Iterator
from typing import Final

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

_HTTP_OF_THE_STANDARD_LIBRARY: Final = frozenset({"ftplib", "http", "socket", "socketserver", "ssl", "wsgiref"})


class AdapterImports(Contract):
    """``adapters`` is the package of the folders. Every module of a folder may import its own folder, ``gateway``
    (packages of the gateway), ``libraries`` and the standard library without its HTTP. Those in its package
    ``emulator`` may also import ``emulator_gateway`` and ``emulator_libraries``, but of their folder that package only.
    What lies beside the folders sees no folder."""

    adapters = fields.StringField()
    gateway = fields.SetField(subfield=fields.StringField())
    libraries = fields.SetField(subfield=fields.StringField())
    emulator_gateway = fields.SetField(subfield=fields.StringField())
    emulator_libraries = fields.SetField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002 - the signature is given
        illegal = sorted(
            f"{importer} -> {imported}"
            for importer in graph.find_descendants(self.adapters)
            for imported in graph.find_modules_directly_imported_by(importer)
            if not self._allowed(importer, imported)
        )
        return ContractCheck(kept=not illegal, metadata={"illegal": illegal})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for line in check.metadata["illegal"]:
            output.print_error(f"- {line}", bold=False)
        output.new_line()

    def _allowed(self, importer: str, imported: str) -> bool:
        folder = ".".join(importer.split(".")[:2])
        emulator = _is_of_an_emulator(importer)
        if _within(imported, self.adapters):
            return imported == self.adapters or _within(imported, f"{folder}.emulator" if emulator else folder)
        return any(_within(imported, package) for package in self._packages(importer)) or (
            imported in sys.stdlib_module_names and imported not in _HTTP_OF_THE_STANDARD_LIBRARY
        )

    def _packages(self, importer: str) -> Iterator[str]:
        yield from self.gateway
        yield from self.libraries
        if _is_of_an_emulator(importer):
            yield from self.emulator_gateway
            yield from self.emulator_libraries


def _is_of_an_emulator(module: str) -> bool:
    return module.split(".")[2:3] == ["emulator"]


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")
