"""``help``, ``version`` and ``completion``; the last one in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__

from .conftest import ID, KEY, Run, ScriptedGateway, page, runtime

BASH = shutil.which("bash")


@pytest.mark.parametrize("arguments", [(), ("runtimes",), ("runtimes", "config"), ("help",)])
def test_command_without_arguments_prints_its_help_and_exits_with_0(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage:" in result.stdout


def test_help_is_that_of_the_named_command(run: Run) -> None:
    assert run("help", "runtimes", "config", "set").stdout == run("runtimes", "config", "set", "--help").stdout
    assert run("help", "runtimes", "fly").exit_code == 2
    assert run("help", "version", "more").exit_code == 2


def test_version_is_printed(run: Run) -> None:
    assert run("version").stdout == run("--version").stdout == f"runtime-gateway {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_RUNTIME_GATEWAY_COMPLETE" in result.stdout


class Bash:
    """A bash that has sourced the completion script, in which Tab is pressed after a text."""

    def __init__(self, folder: Path, server: str) -> None:
        script = folder / "runtime-gateway"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway "$@"\n')
        script.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "RTGW_SERVER": server,
            "RTGW_API_KEY": KEY,
        }

    def tab(self, line: str) -> list[str]:
        """Return what bash offers: the words of the line are split, and the function is found, as bash does it."""
        code = (
            'source <(runtime-gateway completion bash)\nread -ra COMP_WORDS <<< "$1"\n'
            '[[ $1 == *" " ]] && COMP_WORDS+=("")\n'
            "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$1 COMP_POINT=${#1}\n"
            "complete_with=$(complete -p runtime-gateway | sed -E 's/.* -F ([^ ]+) .*/\\1/')\n"
            '"$complete_with" runtime-gateway "${COMP_WORDS[COMP_CWORD]}" ""\n'
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        done = subprocess.run(
            [str(BASH), "--noprofile", "--norc", "-c", code, "bash", line],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.split()


@pytest.fixture
def bash(gateway: ScriptedGateway, tmp_path: Path) -> Bash:
    if BASH is None:
        pytest.skip("bash is not installed")
    return Bash(tmp_path, gateway.url)


def test_bash_completes_commands_options_kinds_and_states_without_the_gateway(
    gateway: ScriptedGateway, bash: Bash
) -> None:
    assert bash.tab("runtime-gateway runtimes res") == ["reset", "resume"]
    assert bash.tab("runtime-gateway runtimes stop --discard") == ["--discard-state"]
    assert bash.tab("runtime-gateway runtimes list --kind d") == ["durable", "desktop"]
    assert bash.tab("runtime-gateway runtimes list --state sto") == ["stopping", "stopped"]
    assert bash.tab("runtime-gateway runtimes list -o ") == ["table", "wide", "json", "yaml", "name"]
    assert gateway.seen == []


def test_bash_completes_names_ids_and_providers_from_the_gateway(gateway: ScriptedGateway, bash: Bash) -> None:
    for _ in range(4):
        gateway.answers(page(runtime(), runtime(id="durable-demo.7d0c", name="other")))
    assert bash.tab("runtime-gateway runtimes get ") == ["research-agent", "other"]
    assert bash.tab("runtime-gateway runtimes get res") == ["research-agent"]
    assert bash.tab("runtime-gateway runtimes stop other durable-demo.24") == [ID]
    assert bash.tab("runtime-gateway runtimes config get o") == ["other"]
    gateway.answers({"object": "list", "items": [{"name": "durable-main"}, {"name": "bctrl-main"}]})
    assert bash.tab("runtime-gateway runtimes list --provider du") == ["durable-main"]
    assert {seen.headers["Authorization"] for seen in gateway.seen} == {f"Bearer {KEY}"}


def test_bash_prints_no_error_where_the_gateway_cannot_be_asked(gateway: ScriptedGateway, bash: Bash) -> None:
    gateway.refuses(401, "unauthenticated")
    assert bash.tab("runtime-gateway runtimes get res") == []
    bash.environment["RTGW_SERVER"] = "http://127.0.0.1:1"
    assert bash.tab("runtime-gateway runtimes get res") == []
