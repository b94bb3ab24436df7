"""The habits of the house that a linter does not know."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 320
# In pieces, so that this file may be looked at too.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")))
NAMES_THAT_SAY_NOTHING = {"core", "utils", "util", "helpers", "helper", "common", "manager", "misc"}
OURS = ("gateway", "adapters", "tests", "docs", "config", "benchmarks", ".ci")


def files(*folders: str, suffix: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files("gateway", "adapters", suffix=".py"), ids=named)
def test_no_module_is_too_long(path: Path):
    """One that is asks to be split."""
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= LONGEST, f"{named(path)} has {lines} lines"


@pytest.mark.parametrize("path", files("gateway", "adapters", suffix=".py"), ids=named)
def test_every_module_says_what_it_is_for(path: Path):
    """In a docstring, its first line."""
    assert path.read_text("utf-8").startswith('"""')


def test_nothing_is_left_unfinished():
    """What is not done is not in the code; plans are kept elsewhere."""
    found = [
        f"{named(path)}:{number}"
        for path in files(*OURS, suffix="")
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".css", ".js", ""} and path.is_file()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_no_name_is_one_for_everything():
    """A module is named for what is in it."""
    vague = [named(path) for path in files("gateway", "adapters", suffix="") if path.stem in NAMES_THAT_SAY_NOTHING]
    assert not vague


def test_the_classifiers_name_the_python_version_that_ci_runs():
    """A version that nothing runs with is not claimed."""
    (ci,) = re.findall(r"^PYTHON_VERSION=(3\.\d+)$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    prefix = "Programming Language :: Python :: "
    assert [name.removeprefix(prefix) for name in project["classifiers"] if name.startswith(prefix)] == [ci]
    assert project["requires-python"] == f">={ci}", "the oldest version that is allowed is the one that is tested"


def test_every_ignored_lint_rule_has_its_reason():
    """In a comment beside it."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    rules = tomllib.loads(text)["tool"]["ruff"]["lint"]["ignore"]
    reasons = dict(re.findall(r'^    "(\w+)", +# (.+)$', text, re.MULTILINE))
    assert rules
    assert set(rules) <= set(reasons)
