"""The journal of the audit trail: a folder of files that holds events until they are in the store.

An event is appended with one ``write`` before its response is sent, so it survives the end of the process, however that
ends. Files are not flushed to disk: that would cost a create milliseconds, and the store does it a second later.

Each process appends to a file of its own, and holds its lock. A file whose lock is free is complete: its process has
closed it, or is dead. Any process may move its events to the store and delete it; ids prevent that this doubles events.
"""

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_FILE_BYTES: Final = 256 << 10
"""A longer file is closed: it is read as a whole."""


class AuditJournal:
    """The files in ``folder``, of ``max_bytes`` together at most. Only :meth:`oldest` and :meth:`remove` may take long,
    and may run in another thread than the others."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._file: int | None = None
        self._written = 0
        self.size = 0
        """Bytes of all files in the folder, as far as this process knows."""

    def append(self, line: bytes) -> None:
        """Append a line. Raises ``OSError``, also when the journal is full; nothing is appended then."""
        if self.size + len(line) > self._max_bytes:
            raise OSError(errno.ENOSPC, "the journal is full")
        if self._file is None:
            self._file = self._create()
        written = os.write(self._file, line)
        if written < len(line):
            os.ftruncate(self._file, self._written)
            raise OSError(errno.ENOSPC, "the disk is full")
        self._written += written
        self.size += written
        if self._written > _FILE_BYTES:
            self.rotate()

    def rotate(self) -> bool:
        """Close the current file, so that :meth:`oldest` returns it. False: nothing was appended to it."""
        if self._file is None:
            return False
        os.close(self._file)
        self._file, self._written = None, 0
        return True

    def oldest(self) -> tuple[Path, bytes] | None:
        """The path and content of the oldest complete file of any process; None without one. Raises ``OSError``."""
        found, size = None, 0
        for path in sorted(self._folder.glob("*.jsonl")):
            with suppress(FileNotFoundError):  # another process was faster
                size += path.stat().st_size
                if found is None and (content := _complete(path)):
                    found = path, content
        self.size = size
        return found

    def remove(self, path: Path) -> None:
        """Delete a file whose events are in the store."""
        path.unlink(missing_ok=True)

    def _create(self) -> int:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.jsonl"
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            if _lock(file) and os.fstat(file).st_nlink:
                return file
            os.close(file)  # another process has just found it empty


def _complete(path: Path) -> bytes | None:
    """The content of a file that its process does not use any more. An empty one is deleted."""
    with path.open("rb") as file:
        if not _lock(file.fileno()):
            return None
        content = file.read()
        if not content:
            path.unlink(missing_ok=True)
        return content


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
