"""The differences between the two clients that are wanted, each with its reason."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tests.component.upstream.differential.clients import MAY_HANG, Result
from tests.component.upstream.differential.generated import Generated

_NO_BODY: Final = frozenset({204, 304})
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n|:[ \t]*\r\r\n")
_FOLD: Final = re.compile(rb"\r?\n[ \t]+")
_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "identity"})


def _header(result: Result, name: str) -> list[str]:
    return [value for found, value in result.headers if found == name]


def _only_theirs_is_refused(ours: Result, theirs: Result) -> bool:
    return not ours.error and theirs.error in {"unreadable", "timeout"}


def _only_ours_is_refused(ours: Result, theirs: Result) -> bool:
    return ours.error == "unreadable" and not theirs.error


def _has_bytes_after_it(sent: Generated, ours: Result, theirs: Result) -> bool:
    return _only_theirs_is_refused(ours, theirs) and bool(_after(sent, ours))


def _has_no_status_of_http(sent: Generated, ours: Result, theirs: Result) -> bool:
    status = _head(sent)[0].split(b" ", 2)[1:2]
    statuses = [int(status[0])] if status and status[0].isdigit() else []
    statuses += [] if theirs.error else [theirs.status]
    return ours.error == "unreadable" and any(not 100 <= each <= 599 for each in statuses)


def _has_another_transfer_coding(sent: Generated, ours: Result, theirs: Result) -> bool:
    codings = [value.strip(b" ").lower() for name, value in _lines(sent) if name == b"transfer-encoding"]
    return ours.error == "unreadable" and bool(codings) and codings != [b"chunked"]


def _has_a_coding_that_was_not_asked_for(sent: Generated, ours: Result, theirs: Result) -> bool:
    (coding,) = _header(theirs, "content-encoding")[:1] or [""]
    return sent.decodes and _only_ours_is_refused(ours, theirs) and coding.lower() not in _CODINGS


def _is_decoded_by_its_old_name(sent: Generated, ours: Result, theirs: Result) -> bool:
    return sent.decodes and "x-gzip" in [coding.lower() for coding in _header(theirs, "content-encoding")]


def _is_compressed_and_ends_early(sent: Generated, ours: Result, theirs: Result) -> bool:
    return sent.decodes and ours.error == "cut_short" and bool(_header(theirs, "content-encoding"))


def _is_broken_twice(sent: Generated, ours: Result, theirs: Result) -> bool:
    is_coded = any(name == b"content-encoding" for name, _ in _lines(sent))
    return sent.decodes and is_coded and {ours.error, theirs.error} == {"cut_short", "unreadable"}


def _has_a_zero_byte_in_a_trailer(sent: Generated, ours: Result, theirs: Result) -> bool:
    is_chunked = any(name == b"transfer-encoding" for name, _ in _lines(sent))
    trailer = re.split(rb"(?:^|\r?\n)0+[^\r\n]*\r?\n", _parted(sent)[1])[-1]
    return is_chunked and _only_theirs_is_refused(ours, theirs) and b"\0" in trailer


def _hangs(sent: Generated, ours: Result, theirs: Result) -> bool:
    return theirs.error == "timeout" and bool(ours.error) and bool(sent.features & MAY_HANG)


def _has_a_space_before_a_colon(sent: Generated, ours: Result, theirs: Result) -> bool:
    named = tuple((name.rstrip(" \t"), value) for name, value in theirs.headers)
    return named != theirs.headers and ours == replace(theirs, headers=named)


WANTED: Final[dict[str, Callable[[Generated, Result, Result], bool]]] = {
    "Bytes that follow a complete response close the connection. aiohttp refuses the response itself.": (
        _has_bytes_after_it
    ),
    "A status outside of 100 to 599 is not one of HTTP. aiohttp returns it.": _has_no_status_of_http,
    "A transfer coding other than chunked is refused. aiohttp returns the body as if it were plain.": (
        _has_another_transfer_coding
    ),
    "A content coding that was not asked for is refused. aiohttp returns the body as it is.": (
        _has_a_coding_that_was_not_asked_for
    ),
    "x-gzip is decoded, since it is another name of gzip (RFC 9110, 8.4.1.3). aiohttp returns it as it is.": (
        _is_decoded_by_its_old_name
    ),
    "A compressed body that ends early is refused. aiohttp returns its beginning.": _is_compressed_and_ends_early,
    "A body is cut short and wrongly compressed. Each client reports what it notices first.": _is_broken_twice,
    "A space before the colon is no part of a header's name. aiohttp keeps it there.": _has_a_space_before_a_colon,
    "A trailer is dropped, whatever its bytes are. aiohttp refuses a zero byte in it.": _has_a_zero_byte_in_a_trailer,
    "A malformed body is refused. aiohttp waits for ever.": _hangs,
}
"""Reason: whether it explains a difference."""


def reason_for(sent: Generated, ours: Result, theirs: Result) -> str | None:
    """The reason why the results may differ; None if they must not."""
    return next((reason for reason, explains in WANTED.items() if explains(sent, ours, theirs)), None)


def _head(sent: Generated) -> list[bytes]:
    """The lines of the final head."""
    return _FOLD.sub(b" ", _parted(sent)[0]).splitlines() or [b""]


def _parted(sent: Generated) -> tuple[bytes, bytes]:
    """The final head, and what follows it."""
    rest, head = b"".join(sent.pieces), b"HTTP/1.1 1"
    while head.startswith(b"HTTP/1.1 1"):
        head, *more = _HEAD_END.split(rest, maxsplit=1)
        rest = b"".join(more)
    return head, rest


def _lines(sent: Generated) -> list[tuple[bytes, bytes]]:
    parts = (line.partition(b":") for line in _head(sent)[1:])
    return [(name.rstrip(b" \t").lower(), value) for name, _, value in parts]


def _after(sent: Generated, result: Result) -> bytes:
    """The bytes that follow the response, read with rules of its own."""
    _, rest = _parted(sent)
    if sent.method == "HEAD" or result.status in _NO_BODY:
        return rest
    if _header(result, "transfer-encoding"):
        return _after_chunks(rest)
    lengths = _header(result, "content-length")
    return rest[int(lengths[0]) :] if lengths else b""


def _after_chunks(rest: bytes) -> bytes:
    while True:
        line, _, rest = rest.partition(b"\n")
        size = int(line.partition(b";")[0].strip() or b"0", 16)
        if not size:
            break
        rest = rest[size:].removeprefix(b"\r").removeprefix(b"\n")
    line = b"trailer"
    while line.strip() and rest:
        line, _, rest = rest.partition(b"\n")
    return rest
