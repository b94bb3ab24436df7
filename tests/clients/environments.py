"""The providers' own clients, each in an environment of its own under ``.venv-clients``, which ``make test`` makes."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python_of(client: str) -> str:
    """The interpreter of a client's environment.

    Without one the test is skipped; under ``make test``, which makes them all, it fails.
    """
    python = ROOT / ".venv-clients" / client / "bin" / "python"
    if not python.exists():
        message = f"there is no environment of {client}: make test makes it"
        if os.environ.get("TEST_CLIENTS") == "required":
            pytest.fail(message)
        pytest.skip(message)
    return str(python)


def environment(home: Path) -> dict[str, str]:
    """What a client's process gets to see: nothing of this machine's own settings, and a home of its own."""
    return {"HOME": str(home), "PATH": os.defpath, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "LANG": "C.UTF-8"}
