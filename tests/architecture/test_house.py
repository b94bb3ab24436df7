"""House rules that the linter cannot check."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 320
# In parts, so that this file passes its own check.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")))
NAMES_THAT_SAY_NOTHING = {"core", "utils", "util", "helpers", "helper", "common", "manager", "misc"}
OURS = ("gateway", "adapters", "tests", "docs", "config", "benchmarks", ".ci")


def files(*folders: str, suffix: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files("gateway", "adapters", suffix=".py"), ids=named)
def test_module_is_not_too_long(path: Path):
    """A longer module must be split."""
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= LONGEST, f"{named(path)} has {lines} lines"


@pytest.mark.parametrize("path", files("gateway", "adapters", suffix=".py"), ids=named)
def test_module_has_a_docstring(path: Path):
    """The docstring is the first line of the module."""
    assert path.read_text("utf-8").startswith('"""')


def test_no_marker_of_unfinished_work_is_left():
    """The code contains no reminders of unfinished work; plans are kept elsewhere."""
    found = [
        f"{named(path)}:{number}"
        for path in files(*OURS, suffix="")
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".css", ".js", ""} and path.is_file()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_no_module_has_a_vague_name():
    """The name of a module says what it contains."""
    vague = [named(path) for path in files("gateway", "adapters", suffix="") if path.stem in NAMES_THAT_SAY_NOTHING]
    assert not vague


def test_classifiers_name_the_python_version_that_ci_runs():
    """The package claims support only for the version that CI tests."""
    (ci,) = re.findall(r"^PYTHON_VERSION=(3\.\d+)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    prefix = "Programming Language :: Python :: "
    assert [name.removeprefix(prefix) for name in project["classifiers"] if name.startswith(prefix)] == [ci]
    assert project["requires-python"] == f">={ci}", "the oldest supported version must be the tested one"


def test_every_ignored_lint_rule_has_a_reason():
    """The reason is a comment on the same line."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    rules = tomllib.loads(text)["tool"]["ruff"]["lint"]["ignore"]
    reasons = dict(re.findall(r'^    "(\w+)", +# (.+)$', text, re.MULTILINE))
    assert rules
    assert set(rules) <= set(reasons)
