"""Runs ``runtime-gateway`` many times without its imports, which are most of what a short command costs: a process has
imported everything, and forks for each command. ``python warm.py SOCKET ARGUMENTS…`` asks it for one, and behaves like
the command: it has its arguments, folder, environment, umask, streams, signals and exit code."""

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ask(path: str, arguments: list[str]) -> int:
    """Have the command run. Return its exit code."""
    umask = os.umask(0)
    os.umask(umask)
    request = {"arguments": arguments, "cwd": str(Path.cwd()), "environment": dict(os.environ), "umask": umask}
    body = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [len(body).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(body)
        pid = int.from_bytes(server.recv(4), "big")
        for number in FORWARDED:
            signal.signal(number, lambda number, _frame: os.kill(pid, number))
        code = server.recv(1)
    return code[0] if code else 70


@contextmanager
def warm(path: Path, environment: dict[str, str]) -> Iterator[tuple[str, ...]]:
    """Start the process. Return the command that stands for ``runtime-gateway``."""
    code = f"from {__name__} import serve; serve({str(path)!r})"
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "env": environment, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", code], **options) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield (sys.executable, "-ISE", __file__, str(path))
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def serve(path: str) -> None:
    """Run commands until killed. Prints a line when it is ready."""
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    from gateway.__main__ import main
    from gateway.app import plugins

    for module in ("gateway.cli.client", "gateway.cli.server", "gateway.cli.runtimes", "gateway.demo"):
        importlib.import_module(module)
    plugins()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _attend(client, main)
            client.close()


def _attend(client: socket.socket, main: Callable[[], None]) -> None:
    """Run one command. It is killed if the process that asked for it ends."""
    head, descriptors, _, _ = socket.recv_fds(client, 4, 3)
    body = b""
    while len(body) < int.from_bytes(head, "big"):
        body += client.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        client.close()
        _run(json.loads(body), descriptors, main)
    client.sendall(pid.to_bytes(4, "big"))
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(pid)
    ready, _, _ = select.select([client, ended], [], [])
    if ended not in ready:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if ended in ready:
        client.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


def _run(request: dict[str, Any], descriptors: list[int], main: Callable[[], None]) -> None:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    sys.argv = ["runtime-gateway", *request["arguments"]]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 (as the interpreter does)
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
