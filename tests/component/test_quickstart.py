"""The quickstart's section "See it fail", executed as a new user would: pasted one after the other into one shell."""

import re
from pathlib import Path

from tests.component.processes import ROOT, finished, running, runtime_folder
from tests.component.test_readme import COLUMNS, KEY, console_steps, folder, without_volatile

__all__ = ["folder"]

_VOLATILE = ((re.compile(r"for \d+ s;"), "for <n> s;"), (re.compile(r"\bread (half-)?open\b"), "read open"))


def shown_as(text: str) -> str:
    text = without_volatile(text)
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    return text


def pattern_of(shown: str) -> str:
    """The pattern of an output, in which the line ``…`` stands for any lines."""
    return "".join(r"(?:.*\n)*" if line == "…" else f"{re.escape(line)}\n" for line in shown_as(shown).splitlines())


async def test_every_step_of_see_it_fail_prints_the_shown_output(folder: Path) -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    steps = console_steps(page)
    assert [command.split()[3] for command, _ in steps if " demo fault " in command] == ["set", "set", "clear"]
    script = "\n".join(f"{{ {command}\n}} > out.{index} 2>&1" for index, (command, _) in enumerate(steps))
    async with running("demo", "--port", "0", "--api-key", KEY, "--browser", "none", cwd=folder) as demo:
        environment = {
            "RTGW_SERVER": await demo.url(),
            "RTGW_API_KEY": KEY,
            "COLUMNS": COLUMNS,
            "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        }
        await demo.until_output("Ctrl-C ends it.")
        shell = await finished(
            "--noprofile", "--norc", "-c", script, command=("bash",), cwd=folder, environment=environment
        )
        assert shell.stderr == ""
        demo.send_signal()
        assert await demo.wait() == 0
    for index, (command, shown) in enumerate(steps):
        output = shown_as((folder / f"out.{index}").read_text("utf-8"))
        assert re.fullmatch(pattern_of(shown), f"{output}\n"), f"$ {command}\n{output}"
    assert not list((runtime_folder(folder) / "runtime-gateway").iterdir()), "the demo has left its file"


async def test_faults_of_an_emulator_on_its_own_are_set_as_shown(folder: Path) -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    emulate, command = re.findall(r"^(runtime-gateway (?:emulate|demo fault set) .*8090)$", page, re.MULTILINE)
    async with running(*emulate.replace("8090", "0").split()[1:], cwd=folder) as emulator:
        url = await emulator.url()
        script = command.replace("http://127.0.0.1:8090", url)
        done = await finished(
            "-c", script, command=("bash",), cwd=folder, environment={"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
        )
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split() == ["emulator", "error", "list", "3", "x"]
