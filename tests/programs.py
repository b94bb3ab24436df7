"""Programs of the system that tests need."""

import os
import shutil

import pytest


def required(what: str, found: object) -> None:
    """Skip the test if something is not installed; in CI it fails."""
    if found:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


def program(name: str) -> str:
    """The path of a program, as :func:`required`."""
    found = shutil.which(name)
    required(name, found)
    assert found is not None
    return found
