"""A temporary Redis for tests: a process that keeps nothing, on a port of loopback. It can be killed, suspended and
started again at the same port."""

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PROGRAM: Final = shutil.which("redis-server")
_HANGS: Final = 60


class RedisServer:
    """A server. Start one with :func:`redis_server`."""

    def __init__(self, folder: Path, options: Sequence[str] = (), *, tls: bool = False) -> None:
        self._folder = folder
        self._options = options
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: Final[int] = found.getsockname()[1]

    @property
    def url(self) -> str:
        """The address without TLS."""
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run the server, and return when it accepts connections. Raises ``RuntimeError`` if it does not start."""
        assert PROGRAM is not None
        port = ["--port", "0", "--tls-port", str(self.port)] if self._tls else ["--port", str(self.port)]
        command = [PROGRAM, "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder), *port, *self._options]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until = time.monotonic() + _HANGS
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        self.kill()
        raise RuntimeError("redis-server does not start")

    def kill(self) -> None:
        """End the process with SIGKILL. Does nothing if none runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def suspend(self) -> None:
        """Stop the process: connections to it hang."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue the process."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def redis_server(*options: str, tls: bool = False) -> Iterator[RedisServer]:
    """Run a server with these options, on a port with or without TLS, and end it."""
    with tempfile.TemporaryDirectory(prefix="rtgw-redis-", ignore_cleanup_errors=True) as folder:
        server = RedisServer(Path(folder), options, tls=tls)
        server.start()
        try:
            yield server
        finally:
            server.kill()
