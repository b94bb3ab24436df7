"""The interface to the key sets of issuers of tokens (RFC 7517)."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias


class KeySetUnavailable(Exception):
    """No key set was received. The message is a bounded word or sentence, without anything that the issuer sent."""


FetchKeySet: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Fetches the document at an address, within bounds of time and size. Raises :class:`KeySetUnavailable`."""
