"""Finds the adapter folders. A new provider API is a new folder beside this file, and nothing else."""

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import adapters
from gateway.ports.dialect import Dialect
from gateway.ports.distribution import AdapterFolderError, owner_of, source_of
from gateway.ports.plugin import AdapterPlugin

__all__ = ["AdapterFolderError", "discover"]

_VARIABLE: Final = re.compile(r"\{[^}]*\}")


@cache
def discover() -> Mapping[str, AdapterPlugin]:
    """The plugin of every adapter folder by the name of its API, in the folders' alphabetical order.

    Raises :class:`AdapterFolderError` for a folder without a ``PLUGIN``, one whose API has another name than the
    folder, for two folders that claim one name of a demo provider or one path of a dialect, and for a prefix whose
    dialects do not declare exactly one fallback. A folder whose ``__init__`` does not mention ``PLUGIN`` is not
    executed: another distribution may have installed it.
    """
    found: dict[str, AdapterPlugin] = {}
    demo_owners: dict[str, str] = {}
    for module in sorted(pkgutil.iter_modules(adapters.__path__), key=lambda module: module.name):
        if not module.ispkg:
            continue
        plugin = _plugin(module)
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


def _plugin(listed: pkgutil.ModuleInfo) -> AdapterPlugin:
    name = f"adapters.{listed.name}"
    spec = importlib.util.find_spec(name)
    folder = Path(listed.module_finder.path, listed.name)  # type: ignore[union-attr] # finders of folders and zip files
    if spec is None or spec.origin is None or Path(spec.origin).parent != folder:
        origin = "nothing" if spec is None else spec.origin
        raise AdapterFolderError(f"adapters/{listed.name}: import finds {origin} instead of {folder}")
    if b"PLUGIN" in source_of(spec):
        plugin = getattr(importlib.import_module(name), "PLUGIN", None)
        if isinstance(plugin, AdapterPlugin):
            return plugin
    raise AdapterFolderError(
        f"adapters/{listed.name}/__init__.py does not define PLUGIN, an AdapterPlugin; {folder} {owner_of(spec.origin)}"
    )


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
