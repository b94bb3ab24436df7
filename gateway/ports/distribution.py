"""Checks that ``gateway`` and ``adapters`` are the packages of this distribution, before ``adapters`` is imported.

Both are common names: another distribution may install a package of the same name into the same environment, or precede
this one on ``sys.path``. The checks read two small files; the metadata of installed distributions, which is slow to
read, is used only to name the intruder in an error.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

NAME: Final = "runtime-gateway"
_MARK: Final = (b"DISTRIBUTION", NAME.encode())
"""Both are in the ``__init__`` of each package of this distribution, also in its compiled form."""


class AdapterFolderError(Exception):
    """``adapters`` cannot be used: it or ``gateway`` belongs to another distribution, or a folder breaks a rule of
    ``adapters.registry``. The message is one line that names the folder."""


def require_own_packages() -> None:
    """Raise :class:`AdapterFolderError` if ``gateway`` or ``adapters``, as found on ``sys.path``, is another
    distribution's package. Nothing of ``adapters`` is executed; ``gateway`` has been imported to get here.

    A copy of ``adapters`` at another place, with further adapter folders in it, is accepted.
    """
    for package in ("gateway", "adapters"):
        spec = _spec(package)
        if spec is None or spec.origin is None:
            found = "is missing" if spec is None else f"is a folder without __init__.py ({_places(spec)})"
            raise AdapterFolderError(f"the package {package} of {NAME} {found}; install {NAME} again.")
        source = source_of(spec)
        if not all(mark in source for mark in _MARK):
            raise AdapterFolderError(
                f"the package {package} at {spec.origin} is not the one of {NAME}: it {owner_of(spec.origin)}; "
                f"install {NAME} in an environment of its own."
            )


def _spec(package: str) -> ModuleSpec | None:
    try:
        return find_spec(package)
    except ValueError:  # a module without __spec__ was put into sys.modules by hand
        return ModuleSpec(package, None, origin=getattr(sys.modules[package], "__file__", None))


def _places(spec: ModuleSpec) -> str:
    return ", ".join(spec.submodule_search_locations or ())


def source_of(spec: ModuleSpec) -> bytes:
    """The file that ``spec`` would execute, source or compiled, without executing it; empty if it cannot be read."""
    try:
        return cast(Any, spec.loader).get_data(spec.origin)  # type: ignore[no-any-return] # also inside a zip file
    except (AttributeError, OSError):
        return b""


def owner_of(path: str) -> str:
    """Which other distribution installed the file at ``path``, as the end of a sentence. Takes up to a second."""
    from importlib.metadata import distributions  # noqa: PLC0415 (its import is slow, and only errors need it)

    wanted = Path(path)
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name == NAME:
            continue
        files = (file for file in distribution.files or () if file.name == wanted.name)
        if any(Path(str(distribution.locate_file(file))) == wanted for file in files):
            return f"belongs to the distribution {name} {distribution.version}"
    return "belongs to no installed distribution"
