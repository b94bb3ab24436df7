"""The environments of the providers' own clients, one each under ``.venv-clients``; ``make test`` creates them."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python_of(client: str) -> str:
    """Return the interpreter of a client's environment.

    If it does not exist, the test is skipped; under ``make test``, which creates all environments, the test fails.
    """
    python = ROOT / ".venv-clients" / client / "bin" / "python"
    if not python.exists():
        message = f"there is no environment of {client}: make test creates it"
        if os.environ.get("TEST_CLIENTS") == "required":
            pytest.fail(message)
        pytest.skip(message)
    return str(python)


def environment(home: Path) -> dict[str, str]:
    """Return the environment variables of a client's process: its own home, and no settings of this machine."""
    return {"HOME": str(home), "PATH": os.defpath, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "LANG": "C.UTF-8"}
