"""The import rules hold, and a violation of each rule is detected."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# One violation of each rule: the module to change, the line to add, and the text that import-linter prints for it.
VIOLATIONS = {
    "a lower layer imports a higher one": (
        "gateway/services/provider_choice.py",
        "import gateway.http.problems",
        "gateway.services.provider_choice -> gateway.http.problems",
    ),
    "a package that no layer names": ("gateway/misc/__init__.py", "", "gateway.misc"),
    "the domain knows HTTP": ("gateway/domain/values.py", "import yarl", "gateway.domain.values -> yarl"),
    "the API imports an adapter": (
        "gateway/http/bodies.py",
        "import adapters.bctrl.wire",
        "gateway.http.bodies -> adapters.bctrl.wire",
    ),
    "the running gateway imports the tools for tests": (
        "gateway/app/worker.py",
        "import gateway.testing.processes",
        "gateway.app.worker -> gateway.testing.processes",
    ),
    "an adapter uses an HTTP library": (
        "adapters/durable/calls.py",
        "import aiohttp",
        "adapters.durable.calls -> aiohttp",
    ),
    "an adapter uses the HTTP of the standard library": (
        "adapters/durable/wire.py",
        "import http.client",
        "adapters.durable.wire -> http",
    ),
    "an adapter uses a library that is not on the allow list": (
        "adapters/bctrl/wire.py",
        "import cachetools",
        "adapters.bctrl.wire -> cachetools",
    ),
    "an adapter imports another adapter": (
        "adapters/durable/mapping.py",
        "import adapters.bctrl.mapping",
        "adapters.durable.mapping -> adapters.bctrl.mapping",
    ),
    "an adapter uses the tools for tests": (
        "adapters/bctrl/adapter.py",
        "import gateway.testing.processes",
        "adapters.bctrl.adapter -> gateway.testing.processes",
    ),
    "an emulator imports the gateway": (
        "adapters/durable/emulator/world.py",
        "import gateway.services.fleet",
        "adapters.durable.emulator.world -> gateway.services.fleet",
    ),
    "an emulator shares a word with its adapter": (
        "adapters/bctrl/emulator/__init__.py",
        "import adapters.bctrl.wire",
        "adapters.bctrl.emulator -> adapters.bctrl.wire",
    ),
    "an emulator reads the plugin of its adapter": (
        "adapters/bctrl_browsers/emulator/checks.py",
        "import adapters.bctrl_browsers",
        "adapters.bctrl_browsers.emulator.checks -> adapters.bctrl_browsers",
    ),
    "a folder that is new": ("adapters/lagoon/__init__.py", "import aiohttp", "adapters.lagoon -> aiohttp"),
    "the registry knows an adapter by name": (
        "adapters/registry.py",
        "import adapters.bctrl.wire",
        "adapters.registry -> adapters.bctrl.wire",
    ),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(folder), "COLUMNS": "400", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def violations_output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of import-linter for a copy of the code that violates every rule once."""
    copy = tmp_path_factory.mktemp("copy")
    for package in ("gateway", "adapters", "tests/architecture"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for path, line, _ in VIOLATIONS.values():
        (copy / path).parent.mkdir(exist_ok=True)
        with (copy / path).open("a") as module:
            module.write(f"\n{line}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    return result.stdout


def test_code_satisfies_every_import_rule():
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize("rule", VIOLATIONS)
def test_violation_is_detected(violations_output: str, rule: str):
    assert VIOLATIONS[rule][2] in violations_output
