"""The locked dependencies: what a service installs, what builds the wheel, and what the tests need."""

import re
import tomllib
from collections.abc import Iterable

from tests.architecture.test_docs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
BUILD_TOOLS = {"hatchling", "editables", "trove-classifiers", "pathspec", "pluggy", "tomlkit", "build", "pip", "uv"}


def locked(name: str) -> dict[str, set[str]]:
    """The versions of each distribution in a lock; there are several where they depend on the Python version."""
    found: dict[str, set[str]] = {}
    text = (ROOT / "config" / name).read_text("utf-8")
    for distribution, version in re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE):
        found.setdefault(distribution, set()).add(version)
    assert text.count("--hash=sha256:") >= len(found) > 0
    return found


def names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[^a-z0-9.-]", each, maxsplit=1)[0].replace(".", "-") for each in requirements}


def test_lock_of_a_service_has_every_dependency_and_extra_and_no_build_tool() -> None:
    service = locked("requirements.txt")
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"postgres", "redis", "docs"}
    for requirements in (PROJECT["project"]["dependencies"], *extras.values()):
        assert names(requirements) <= service.keys()
    assert not service.keys() & BUILD_TOOLS


def test_lock_of_build_tools_has_those_of_the_project() -> None:
    assert (
        names(PROJECT["build-system"]["requires"])
        <= locked("requirements-build.txt").keys()
        <= BUILD_TOOLS | {"packaging"}
    )


def test_locks_agree_about_versions() -> None:
    """They are installed into one environment."""
    service, build = locked("requirements.txt"), locked("requirements-build.txt")
    assert all(service[name] == versions for name, versions in build.items() if name in service)
    developing = locked("requirements-dev.txt")
    assert all(developing[name] == versions for name, versions in service.items())
