"""A program that behaves like Chromium as far as its start and its end are concerned: it writes an address into
the profile folder, at which nothing listens, and ends on SIGTERM. Every start adds a line to ``starts`` there, and
``pid`` contains its process id."""

import sys
from pathlib import Path

PROGRAM = """
import os, pathlib, signal, socket, sys
folder = pathlib.Path(next(one for one in sys.argv if one.startswith("--user-data-dir=")).partition("=")[2])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
with (folder / "starts").open("a") as starts:
    starts.write("start\\n")
(folder / "pid").write_text(str(os.getpid()))
(folder / "new").write_text(f"{port}\\n/devtools/browser/b-1")
(folder / "new").rename(folder / "DevToolsActivePort")
while True:
    signal.pause()
"""


def fake_browser(folder: Path, program: str = PROGRAM) -> str:
    """Write the program into a folder, and return its path."""
    path = folder / "fake-browser"
    path.write_text(f"#!{sys.executable}\n{program}")
    path.chmod(0o755)
    return str(path)
