"""Writes the folder of a new adapter from the templates beside this file: ``make new-adapter NAME=lagoon``.

The templates are data: no module of the product imports them, and the wheel does not hold them.
"""

import keyword
import re
import sys
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent
SUFFIX = ".template"
ADAPTERS = TEMPLATES.parents[1] / "adapters"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 30


def fault_of(name: str, adapters: Path) -> str | None:
    """Return why the name cannot be the name of a new folder, as a sentence; None if it can."""
    if not NAME.fullmatch(name) or len(name) > LONGEST or keyword.iskeyword(name):
        return (
            f"NAME={name}: the name of an adapter is 1 to {LONGEST} lower-case letters and digits, with single "
            "underscores between them, starts with a letter, and is not a keyword of Python."
        )
    provider = _provider(name)
    for taken in adapters.iterdir():
        if taken.stem == name:
            return f"NAME={name}: adapters/{taken.name} exists."
        if taken.is_dir() and _provider(taken.name) == provider:
            return f"NAME={name}: adapters/{taken.name} has the same provider name, {provider}."
    return None


def write(name: str, adapters: Path) -> Path:
    """Write ``adapters/NAME`` and return it. Raises ``FileExistsError`` if it exists."""
    words = {"api": name, "class_name": name.title().replace("_", ""), "provider": _provider(name)}
    folder = adapters / name
    folder.mkdir()
    for template in sorted(TEMPLATES.rglob(f"*{SUFFIX}")):
        target = folder / template.relative_to(TEMPLATES).with_suffix("")
        target.parent.mkdir(exist_ok=True)
        target.write_text(Template(template.read_text("utf-8")).substitute(words), "utf-8")
    return folder


def _provider(name: str) -> str:
    return name.replace("_", "-")


def main() -> None:
    """Write the folder that the first argument names. Exits with 2 and a sentence for a name that cannot be used."""
    name = "".join(sys.argv[1:2])
    if fault := fault_of(name, ADAPTERS):
        sys.stderr.write(f"{fault}\n")
        sys.exit(2)
    write(name, ADAPTERS)
    sys.stdout.write(f"Wrote adapters/{name}. Next: docs/adding-a-provider.md, step 2.\n")


if __name__ == "__main__":
    main()
