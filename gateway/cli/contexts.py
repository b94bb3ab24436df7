"""Gateways and keys that are kept in a file of the user, which only the user can read."""

import json
import os
import secrets
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.failures import Failure

Stored = dict[str, Any]

NAME: Final = "runtime-gateway"


def _path() -> Path:
    return Path(click.get_app_dir(NAME)) / "contexts.json"


def read() -> Stored:
    """Return ``current``, a name or None, and ``contexts``, each with ``server`` and ``api_key``."""
    try:
        stored = json.loads(_path().read_text("utf-8"))
        if isinstance(stored["contexts"], dict):
            return {"current": stored["current"], "contexts": stored["contexts"]}
    except FileNotFoundError:
        return {"current": None, "contexts": {}}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise Failure("contexts", f"{_path()} cannot be read: log in again after removing it")


def write(stored: Stored) -> None:
    replace_file(_path(), stored)


def replace_file(path: Path, document: Any) -> None:
    """Write a document as JSON, replacing the file as a whole, with mode 0600."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(document, file, indent=2)
    new.replace(path)


def kept(name: str | None) -> Stored:
    """Return the context of this name, else the current one; empty without one. Raises a usage error for a name that
    does not exist."""
    stored = read()
    if name is not None and name not in stored["contexts"]:
        known = ", ".join(stored["contexts"]) or "none"
        raise click.BadParameter(f"there is no context {name!r}; known: {known}", param_hint="--context")
    found: Stored = stored["contexts"].get(name or stored["current"], {})
    return found


def complete(_ctx: Any, _param: Any, incomplete: str) -> list[str]:
    try:
        return [name for name in read()["contexts"] if name.startswith(incomplete)]
    except Failure:
        return []
