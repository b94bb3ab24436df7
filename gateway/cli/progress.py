"""What a terminal shows while a command takes longer than a second."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

AFTER: Final = 1.0


@contextmanager
def progress(text: str) -> Iterator[None]:
    """Show ``text`` and how long it takes on stderr, from the second second on, if that is a terminal."""
    done = threading.Event()
    thread = threading.Thread(target=_show, args=(text, done))
    if sys.stderr.isatty():
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()


def _show(text: str, done: threading.Event) -> None:
    if done.wait(AFTER):
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(text, total=None)
        done.wait()
