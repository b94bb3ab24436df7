"""The id of a request, and its W3C trace context."""

import re
from random import getrandbits
from typing import Final

_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def new_uuid() -> str:
    """A random UUID (version 4) that is not a secret: random bytes from the system would take twice as long, and
    :func:`uuid.uuid4` five times."""
    text = f"{getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def request_id(sent: str | None) -> str:
    """The caller's ``X-Request-ID`` if it is valid (1 to 128 of ``A-Za-z0-9._-``), else a new one."""
    return sent if sent is not None and _ACCEPTED.match(sent) else new_uuid()


def trace_context(sent: str | None) -> str | None:
    """The caller's ``traceparent`` if it has the format of version 00, else None."""
    return sent if sent is not None and _TRACEPARENT.match(sent) else None
