"""The versions of the gateway that are compared, and their processes: each is the command ``serve`` of one folder."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import SERVER, Server, free_port, running, until_answers
from benchmarks.upstream import SCOPE

KEY: Final = "benchmark-key-0123456789"
ROOT: Final = Path(__file__).parents[1]
PROVIDER: Final = "bench"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the gateway: its source in a folder, the interpreter that runs it, and the module with its
    command."""

    name: str
    folder: Path
    python: str = sys.executable
    module: str = "gateway"

    def command(self, *arguments: str) -> list[str]:
        """The command line of the gateway; to run in the folder."""
        return [self.python, "-m", self.module, *arguments]


def commit(ref: str) -> str:
    """The short id of a commit. Raises ``ValueError`` if there is none of that name."""
    found = _git("rev-parse", "--short", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found.returncode:
        raise ValueError(f"git knows no commit {ref}")
    return found.stdout.decode().strip()


def extracted(ref: str, folder: Path, python: str) -> Version:
    """The version of a commit, its source written to a folder and compiled."""
    archive = _git("archive", "--format=tar", commit(ref), "gateway", "adapters")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as source:
        source.extractall(folder, filter="data")
    # Else the first start of it would also compile its modules.
    subprocess.run([python, "-m", "compileall", "-q", str(folder)], check=True)  # noqa: S603
    return Version("before", folder, python)


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603


def provider(base_url: str, **more: Any) -> dict[str, Any]:
    """The settings of a durable provider."""
    return {
        "api": "durable",
        "base_url": base_url,
        "token": "t",
        "scope": SCOPE,
        "native": {"max_in_flight": 512},
    } | more


def settings(store: Path | str, providers: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    """The settings of a gateway with one key, and no read cache."""
    url = store if isinstance(store, str) else f"sqlite:///{store}"
    return {
        "version": 1,
        "cache": {"enabled": False},
        "auth": {"keys": {"bench": {"key": KEY}}},
        "store": {"url": url},
        "providers": dict(providers),
    } | sections


@contextmanager
def serving(
    version: Version,
    document: Mapping[str, Any],
    folder: Path,
    *arguments: str,
    processor: int | None = SERVER,
    level: str = "info",
) -> Iterator[Server]:
    """Run a gateway until the end of the block, with its log to /dev/null, as ``serve`` runs it in production. The URL
    is that of the API; the data plane, if there is one, listens on the port after it or on a free one."""
    port = free_port()
    document = {
        **document,
        "http": {**document.get("http", {}), "listen": f"127.0.0.1:{port}"},
        "log": {"level": level},
    }
    file = folder / f"{version.name}-{port}.yaml"
    file.write_text(json.dumps(document))
    command = version.command("serve", "--config", str(file), *arguments)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RTGW_")}
    options: dict[str, Any] = {"cwd": version.folder, "env": environ, "stdout": subprocess.DEVNULL}
    with running(command, processor=processor, **options) as process:
        until_answers(process, f"http://127.0.0.1:{port}/readyz")
        yield Server(f"http://127.0.0.1:{port}", process.pid)
