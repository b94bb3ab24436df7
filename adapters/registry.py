"""Finds the adapter folders. A new provider API is a new folder beside this file, and nothing else."""

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import adapters
from gateway.ports.dialect import Dialect
from gateway.ports.plugin import AdapterPlugin

_VARIABLE: Final = re.compile(r"\{[^}]*\}")


class AdapterFolderError(Exception):
    """A folder under ``adapters`` breaks a rule of the house; the message says which one and where."""


@cache
def discover() -> Mapping[str, AdapterPlugin]:
    """The plugin of every adapter folder by the name of its API, in the folders' alphabetical order.

    Raises :class:`AdapterFolderError` for a folder without a ``PLUGIN``, one whose API is named otherwise than the
    folder, for two folders that claim one name of a demo provider or one path of a dialect, and for a prefix whose
    dialects do not declare exactly one fallback.
    """
    found: dict[str, AdapterPlugin] = {}
    demo_owners: dict[str, str] = {}
    for module in sorted(pkgutil.iter_modules(adapters.__path__), key=lambda module: module.name):
        if not module.ispkg:
            continue
        plugin = getattr(importlib.import_module(f"adapters.{module.name}"), "PLUGIN", None)
        if not isinstance(plugin, AdapterPlugin):
            raise AdapterFolderError(f"adapters/{module.name}/__init__.py does not define PLUGIN, an AdapterPlugin")
        if not plugin.api == plugin.adapter.api == module.name:
            raise AdapterFolderError(f"adapters/{module.name}: its API is called {plugin.api}, not as the folder")
        owner = demo_owners.setdefault(plugin.demo.provider, module.name)
        if owner != module.name:
            raise AdapterFolderError(f"adapters/{module.name} and adapters/{owner} have one name of a demo provider")
        found[module.name] = plugin
    dialects = [plugin.dialect for plugin in found.values() if plugin.dialect is not None]
    _refuse_clashes(dialects)
    _require_fallbacks(dialects)
    return found


def _refuse_clashes(dialects: Iterable[type[Dialect]]) -> None:
    """Several folders may share a prefix, but neither a route nor a family of paths below it."""
    owners: dict[tuple[str, ...], str] = {}
    for dialect in dialects:
        claims: list[tuple[str, ...]] = [
            (dialect.prefix, route.method, _VARIABLE.sub("{}", route.path)) for route in dialect.routes
        ]
        claims += [(dialect.prefix, family) for family in dialect.families]
        for claim in claims:
            owner = owners.setdefault(claim, dialect.__module__)
            if owner != dialect.__module__:
                raise AdapterFolderError(f"{dialect.__module__} and {owner} both claim /{' '.join(claim)}")


def _require_fallbacks(dialects: Iterable[type[Dialect]]) -> None:
    """The errors of a path that no family has are worded by one dialect, whatever the order of the folders is."""
    fallbacks: dict[str, list[str]] = {}
    for dialect in dialects:
        declared = fallbacks.setdefault(dialect.prefix, [])
        if dialect.fallback:
            declared.append(dialect.__module__)
    for prefix, declared in fallbacks.items():
        if len(declared) != 1:
            names = " and ".join(declared) or "none"
            raise AdapterFolderError(f"exactly one dialect of /{prefix} has to be its fallback; declared: {names}")
