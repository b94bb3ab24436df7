"""The state of an emulator in a file, so that the next process continues from it, also if this one is killed."""

from errno import EINVAL
from pathlib import Path
from typing import Any, Final

import msgspec


class StateFile:
    """A file that is replaced as a whole. Its content is in the page cache of the system before a write returns, so it
    survives SIGKILL, but not necessarily a power failure.

    ``kind`` is the type of the state. Objects of the type ``transient`` in it are written as None.
    """

    def __init__(self, path: Path, kind: Any, transient: type | None = None) -> None:
        self._path: Final = path
        self._next: Final = path.with_name(f"{path.name}.next")
        self._transient: Final = transient or ()
        self._encoder: Final = msgspec.json.Encoder(enc_hook=self._left_out)
        self._decoder: Final = msgspec.json.Decoder(kind)
        self._written = b""

    def _left_out(self, value: Any) -> None:
        if not isinstance(value, self._transient):
            raise NotImplementedError(f"{type(value).__name__} cannot be written to {self._path}")

    def read(self) -> Any:
        """The state; None without a file. Raises ``OSError`` if the file cannot be read, or has something else."""
        try:
            return self._decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise OSError(EINVAL, f"it is not a state of this emulator: {exc}", str(self._path)) from exc

    def write(self, state: Any) -> None:
        """Replace the content if the state has changed. Raises ``OSError`` if that fails."""
        content = self._encoder.encode(state)
        if content != self._written:
            self._next.unlink(missing_ok=True)  # of a process that was killed
            self._next.touch(mode=0o600)  # it has tokens and passwords
            self._next.write_bytes(content)
            self._next.replace(self._path)
            self._written = content


class Keeping:
    """The part of an emulator that keeps its state in a :class:`StateFile`. Until ``keep_in`` is called, the state is
    in memory only."""

    _file: StateFile | None = None

    def state(self) -> Any:
        """Everything that calls have created."""
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Continue from what :meth:`state` returned in another process."""
        raise NotImplementedError

    def keep_in(self, file: StateFile) -> None:
        """Continue from the state in a file, and write every change to it before the response is sent. Raises
        ``OSError`` if the file cannot be used."""
        if (state := file.read()) is not None:
            self.restore(state)
        self._file = file
        self.keep()

    def keep(self) -> None:
        """Write the state, if it is kept and has changed."""
        if self._file is not None:
            self._file.write(self.state())
