"""The files of ``config/deploy``, and the commands of their page."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

ROOT: Final = Path(__file__).parents[1]
DEPLOY: Final = ROOT / "config/deploy"
SECRETS: Final = "/run/secrets"
"""Where containers have their secrets."""


def load(name: str) -> Any:
    """The one document of a YAML file."""
    return YAML(typ="safe").load(DEPLOY / name)


def compose() -> Any:
    """``compose.yaml`` with its merge keys resolved."""
    return load("compose.yaml")


def commands(heading: str) -> list[str]:
    """The lines of the first block of commands below a heading of the page, continued lines joined."""
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    section = page.partition(f"\n### {heading}\n")[2].partition("\n##")[0]
    block = section.partition("```sh\n")[2].partition("```")[0]
    return block.replace("\\\n", "").splitlines()


def write_secrets(folder: Path) -> Path:
    """Write the secrets of the stack as the page says, and return their folder."""
    _change_folder, *writing, _start = commands("Compose")
    script = "\n".join(["set -eu", *writing])
    environment = {"PATH": os.environ["PATH"], "DURABLE_TOKEN": "a-token"}
    subprocess.run(["bash", "-c", script], cwd=folder, env=environment, check=True)
    return folder / "secrets"


def secret_files(settings: str) -> set[str]:
    """The names of the secrets that settings of a container read."""
    return set(re.findall(rf"file:{SECRETS}/([\w-]+)", settings))


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Containerfile with their arguments, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Containerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]
