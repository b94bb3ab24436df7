"""The lines that the demo prints work as they are, pasted into another terminal."""

import re
from pathlib import Path

from tests.component.documented.session import install
from tests.component.processes import finished, running


async def test_printed_lines_of_the_demo_work_and_sigterm_ends_it_with_0(tmp_path: Path) -> None:
    async with running("demo", "--port", "0", cwd=tmp_path) as demo:
        await demo.until_output("Ctrl-C ends it.")
        lines = re.findall(r"^  (export .*|runtime-gateway .*)$", demo.output, re.MULTILINE)
        assert len(lines) == 3
        environment = {"PATH": install(tmp_path)}
        shell = await finished(
            "--noprofile", "--norc", "-ec", "\n".join(lines), command=("bash",), cwd=tmp_path, environment=environment
        )
        assert (shell.code, shell.stderr) == (0, "")
        assert shell.stdout.count("checkout-agent") == 2
        demo.send_signal()
        assert await demo.wait() == 0
