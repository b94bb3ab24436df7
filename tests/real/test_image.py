"""The instructions of the Containerfile, run as commands, because no image is built. They install from the package
index, as ``make`` does."""

import json
import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.component.processes import Ended, client, finished, running
from tests.deployment import DEPLOY, ROOT, SECRETS, instructions, write_secrets

BUILD_TOOLS = {"hatchling", "editables", "trove-classifiers", "pip", "setuptools", "kubernetes-validate"}


class Image:
    """A folder in which the instructions are run in order, with its folders in place of the image's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "var/lib/runtime-gateway"
        (folder / "src").mkdir()
        self.state.mkdir(parents=True)

    def placed(self, text: str) -> str:
        """The text with the folders of the image below this one. What pip has downloaded before is used again."""
        for path in ("/build", "/opt/runtime-gateway", "/dist", "/etc/runtime-gateway"):
            text = text.replace(path, f"{self.folder}{path}")
        return text.replace("--no-cache-dir ", "")

    def copy(self, arguments: str) -> None:
        *sources, target = arguments.split()
        for source in sources:
            found, to = ROOT / source, self.folder / "src" / target
            if found.is_dir():
                shutil.copytree(found, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, to)

    async def run(self, command: str) -> Ended:
        first = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return await finished(
            "-euc", self.placed(command), cwd=self.folder / "src", command=("sh",), environment={"PATH": first}
        )

    async def build(self) -> None:
        """Run the first stage. The second one copies its result, and adds a user."""
        stage = 0
        for name, arguments in instructions():
            stage += name == "FROM"
            if stage == 1 and name == "COPY":
                self.copy(arguments)
            if stage == 1 and name == "RUN":
                ended = await self.run(arguments)
                assert ended.code == 0, f"{arguments}\n{ended.stdout}{ended.stderr}"

    def words(self, instruction: str) -> list[str]:
        """The command that an instruction gives as a JSON list."""
        (arguments,) = (rest for name, rest in instructions() if name == instruction)
        return [self.placed(word) for word in json.loads(arguments[arguments.index("[") :])]

    def files(self) -> set[Path]:
        return {*(self.folder / "opt/runtime-gateway").rglob("*")}


@pytest.fixture
async def image(tmp_path: Path) -> Image:
    made = Image(tmp_path)
    await made.build()
    return made


def write_settings(image: Image, admin_port: int) -> None:
    """Those of ``compose.yaml``, with a SQLite store, a free port for the API, and this one for the health check."""
    secrets = write_secrets(image.folder)
    (secrets / "store-url").unlink()
    (secrets / "store-url").write_text(f"sqlite:///{image.state}/store.db")
    text = (DEPLOY / "settings/gateway.yaml").read_text("utf-8")
    text = text.replace(SECRETS, str(secrets)).replace("/var/lib/runtime-gateway", str(image.state))
    text = text.replace("0.0.0.0:8080", "127.0.0.1:0").replace("0.0.0.0:9090", f"127.0.0.1:{admin_port}")
    text = text.replace("valkey://valkey:6379", "valkey://127.0.0.1:9").replace(
        "https://app.dreadnode.io", "http://127.0.0.1:9"
    )
    (image.folder / "etc/runtime-gateway").mkdir(parents=True)
    (image.folder / "etc/runtime-gateway/gateway.yaml").write_text(text)


async def test_image_serves_is_healthy_and_writes_only_its_state(image: Image) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    write_settings(image, port)
    environment = {
        "PATH": f"{image.folder}/opt/runtime-gateway/bin:{os.environ['PATH']}",
        "PYTHONPATH": "",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    health = [word.replace("9090", str(port)) for word in image.words("HEALTHCHECK")]
    before, installed = image.files(), f"{image.folder}/opt/runtime-gateway/"

    async def healthy() -> bool:
        return (await finished(*health, cwd=image.state, command=("env",), environment=environment)).code == 0

    assert not await healthy()
    command = (*image.words("ENTRYPOINT"), *image.words("CMD"))
    async with running(*command, cwd=image.state, command=("env",), environment=environment) as process:
        await process.until_output('"event":"started"')
        assert await healthy()
        async with client(await process.url(), (image.folder / "secrets/gateway-key").read_text().strip()) as session:
            assert (await session.get("/v1/me")).status == 200
            assert (await session.get("/docs/deploy")).status == 200
        process.send_signal()
        process.send_signal()
        assert await process.wait() == 0
    assert not await healthy()
    assert image.files() == before, "a read-only root is enough"
    listing = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()), m.__file__)"
    names = (await finished("python", "-c", listing, cwd=image.state, command=("env",), environment=environment)).stdout
    assert {"runtime-gateway", "asyncpg", "redis", "pygments"} <= {*names.split()}
    assert not {*names.split()} & BUILD_TOOLS
    where = "import gateway; print(gateway.__file__)"
    assert (
        await finished("python", "-c", where, cwd=image.state, command=("env",), environment=environment)
    ).stdout.startswith(installed)
