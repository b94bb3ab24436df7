"""The transport of one client connection, with TLS or without it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False, repr=False)
class Wire:
    """A transport, and with TLS also the one below it (``raw``).

    It disconnects a client that reads no byte of what was written for ``timeout`` seconds, after it called ``on_slow``.
    asyncio counts only what it has not yet encrypted, and at the end of a connection it waits for the client's
    confirmation. Here the encrypted bytes count too, and a client that does not confirm occupies no connection.
    """

    _transport: asyncio.Transport
    _raw: asyncio.Transport | None
    _loop: asyncio.AbstractEventLoop
    _timeout: float
    _on_slow: Callable[[], None]
    _check: asyncio.TimerHandle | None = None
    _unread: int = 0

    def watch(self, _ended: object = None) -> None:
        """Check that the client reads what was written, also while the connection is being closed."""
        self.release()
        self.finish_closing()
        if unread := self._waiting():
            self._unread = unread
            self._check = self._loop.call_later(self._timeout, self._check_reader)

    def _waiting(self) -> int:
        """The number of bytes that the system has not taken yet."""
        if self._raw is None:
            return self._transport.get_write_buffer_size()
        return self._unencrypted() + self._raw.get_write_buffer_size()

    def _unencrypted(self) -> int:
        try:
            return self._transport.get_write_buffer_size()
        except AttributeError:  # asyncio's TLS transport has dropped its buffers: it was closed twice
            return 0

    def _check_reader(self) -> None:
        self._check = None
        if not (unread := self._waiting()):
            return
        if unread >= self._unread:
            self._on_slow()
            self._transport.abort()
        else:
            self.watch()

    def turn_away(self, response: bytes) -> None:
        """Send a last response and close."""
        self._transport.write(response)
        self._transport.close()
        self.finish_closing()

    def finish_closing(self) -> None:
        """With TLS, if the transport is closing: close as soon as everything is sent."""
        if self._raw is not None and self._transport.is_closing() and not self._unencrypted():
            self._raw.close()

    def release(self) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None
