"""``make new-adapter`` writes a folder that passes every check, and the guide names the tests that fail afterwards."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.test_adapter_folders import FILES

ROOT = Path(__file__).parents[2]
COPIED = (
    "adapters",
    "benchmarks",
    "config",
    "docs",
    "gateway",
    "tests",
    "Makefile",
    "pyproject.toml",
    ".ci",
    *(path.name for path in ROOT.glob("*.md")),
    "LICENSE",
)
SCRIPT = "config/adapter-template/new_adapter.py"
NAME, CLASS = "made_from_the_template_in_2026", "MadeFromTheTemplateIn2026"  # of the greatest length
SUITE = "tests/contract/test_adapters.py"
AFFECTED = (
    "tests/architecture/test_adapter_folders.py",
    "tests/architecture/test_dialects.py",
    "tests/architecture/test_docs.py",
    "tests/architecture/test_house.py",
    "tests/architecture/test_limits.py",
    "tests/architecture/test_references.py",
    "tests/unit/settings/test_documented.py",
    f"{SUITE}::test_every_adapter_has_its_contract_suite_here",
)
"""The tests that look at every adapter folder, without those that start a gateway."""


def guide(language: str) -> str:
    """The one block of this language in the guide that is about the tests, with the name of this test's folder."""
    page = (ROOT / "docs" / "adding-a-provider.md").read_text("utf-8")
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return block.replace("Lagoon", CLASS).replace("lagoon", NAME)


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy of the repository, without what this process has in its environment for tests."""
    left_out = ("PYTEST_", "RTGW_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    compiled = str(tree.with_name(f"{tree.name}-compiled"))  # for the next command, and not in the copy
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**environment, "PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": compiled, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def failed_tests(tree: Path, *tests: str) -> list[str]:
    """Run these tests in the copy; return the ids of those that do not pass."""
    result = run(tree, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *tests)
    assert re.search(r"^\d+ (passed|failed)", result.stdout, re.MULTILINE), result.stdout + result.stderr
    return re.findall(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which the commands of ``make new-adapter`` have run."""
    copy = tmp_path_factory.mktemp("tree")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (recipe,) = re.findall(r"^new-adapter:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    for line in recipe.splitlines():
        command = line.strip().removeprefix("@$(BIN)/").replace("$(NAME)", NAME).replace("'", "").split()
        pages = [str(page) for page in (copy / "docs").glob("*.md")]
        arguments = [part for each in command[1:] for part in (pages if each == "docs/*.md" else [each])]
        result = run(copy, *([] if command[0] == "python" else ["-m", command[0]]), *arguments)
        assert result.returncode == 0, result.stdout + result.stderr
    return copy


def test_a_new_folder_has_the_files_of_every_adapter(tree: Path):
    """Its names are in the code, and no placeholder is left."""
    folder = tree / "adapters" / NAME
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "emulator" / "__init__.py").is_file()
    texts = {path: path.read_text("utf-8") for path in folder.rglob("*.*")}
    assert f"class {CLASS}Adapter(" in texts[folder / "adapter.py"]
    assert not [path for path, text in texts.items() if "$" in text]


def test_a_new_folder_passes_lint_format_types_and_import_rules(tree: Path):
    for command in (("ruff", "check", "."), ("ruff", "format", "--check", ".")):
        result = run(tree, "-m", *command, "--no-cache")
        assert result.returncode == 0, result.stdout
    result = run(tree, "-m", "mypy", "--cache-dir", os.devnull, "-p", f"adapters.{NAME}")
    assert result.returncode == 0, result.stdout + result.stderr
    lint_imports = "from importlinter.cli import lint_imports_command as run; run()"
    result = run(tree, "-c", lint_imports, "--no-cache")
    assert result.returncode == 0, result.stdout


def test_the_tests_that_a_new_folder_fails_are_those_in_the_guide(tree: Path):
    slow = (
        "tests/architecture/test_adapter_folders.py::test_a_new_folder_is_found_served_and_used_with_no_edit_elsewhere"
    )
    assert failed_tests(tree, *AFFECTED, f"--deselect={slow}") == guide("text").split()


def test_every_test_that_the_guide_names_exists():
    page = (ROOT / "docs" / "adding-a-provider.md").read_text("utf-8")
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"\b(test_\w+)(?!\w|\.py)", page))
    assert named
    assert named <= defined


def test_no_test_fails_with_the_contract_suite_of_the_guide(tree: Path):
    """The folder passes the whole contract."""
    module = tree / SUITE
    text = module.read_text("utf-8")
    imports = re.search(r"^from adapters import (.+)$", text, re.MULTILINE)
    assert imports is not None
    text = text.replace(imports[0], f"{imports[0]}, {NAME}")
    *before, last = re.split(r"^(?=def )", text, flags=re.MULTILINE)
    module.write_text(f"{''.join(before)}{guide('python')}\n\n{last}", "utf-8")
    assert run(tree, "-m", "ruff", "check", "--no-cache", SUITE).returncode == 0
    assert failed_tests(tree, SUITE, "-k", f"{CLASS} or test_every_adapter") == []


@pytest.mark.parametrize(
    "name", ["", "Lagoon", "1st", "_a", "a_", "a__b", "a-b", "a.b", "a/b", "class", "a" * 31, "durable", "registry"]
)
def test_a_name_that_no_new_folder_can_have_is_refused(name: str):
    fault = runpy.run_path(str(ROOT / SCRIPT))["fault_of"](name, ROOT / "adapters")
    assert fault.startswith(f"NAME={name}: ")
    assert fault.endswith(".")


def test_a_name_whose_demo_provider_another_folder_has_is_refused(tmp_path: Path):
    """Provider names have no underscores."""
    (tmp_path / "a-b").mkdir()
    fault = runpy.run_path(str(ROOT / SCRIPT))["fault_of"]("a_b", tmp_path)
    assert fault == "NAME=a_b: adapters/a-b has the same provider name, a-b."


def test_a_refused_name_writes_nothing_and_ends_with_2(tree: Path):
    before = set((tree / "adapters").rglob("*"))
    result = run(tree, SCRIPT, "durable")
    assert (result.returncode, result.stdout, result.stderr) == (2, "", "NAME=durable: adapters/durable exists.\n")
    assert set((tree / "adapters").rglob("*")) == before
