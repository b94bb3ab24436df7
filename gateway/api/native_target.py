"""The target of a request under ``/native/…``, parsed from the raw request line; always below the base URL.

Only one spelling of each path is accepted, so that the gateway, its rules and the provider cannot interpret it
differently. An ambiguous spelling is refused; everything else is forwarded byte for byte.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.domain.errors import InvalidRequest, NotFound

PREFIX: Final = "/native/"

_TARGET: Final = re.compile(r"/native/(?P<provider>[a-z0-9-]{1,40})(?P<path>(?:/[^?#]*)?)(?P<query>(?:\?[^#]*)?)\Z")
_DIALECT: Final = re.compile(_TARGET.pattern.replace("/native", "", 1))
_PATH: Final = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*+,=:@-]++|%[0-9A-Fa-f]{2})*+\Z")  # RFC 3986, 3.3, without ;
_QUERY: Final = re.compile(r"[\x21\x22\x24-\x7e]*\Z")
_NO_SEGMENT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\]")
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|(?:^|/)[. ]*(?:[/;]|\Z)")
_DOTS: Final = re.compile(r"[. ]+(?:;|\Z)")


@dataclass(frozen=True, slots=True)
class NativeTarget:
    """``provider`` is the segment before the path: a provider's name, or the prefix of a dialect. ``path`` and
    ``query`` (with its ``?``) as they were sent; ``segments`` are those of the path, decoded once."""

    provider: str
    path: str
    query: str
    segments: tuple[str, ...]


def parse_target(raw: str, *, dialect: bool = False) -> NativeTarget:
    """Parse the request target, as sent in the request line; of a ``dialect``, it begins with its prefix.

    Raises :class:`NotFound` for a path that is not below ``/native/{provider}``, and :class:`InvalidRequest` for a path
    that is not valid in a URL or has ``.``, ``..`` or empty segments, ``;``, or an encoded slash, backslash or control
    character. Of a dialect, a segment may have encoded slashes, between parts that are segments themselves.
    """
    if not raw.startswith("/"):
        raise InvalidRequest("The request target has to be a path, not a whole URL.")
    match = (_DIALECT if dialect else _TARGET).match(raw)
    if match is None:
        raise NotFound("There is no such path; what a provider answers itself is at /native/{provider}/….")
    path, query = match["path"], match["query"]
    if _PATH.match(path) is None:
        raise InvalidRequest("The path has a character that has to be percent-encoded, or a ; or a broken encoding.")
    if _QUERY.match(query) is None:
        raise InvalidRequest("The query has a character that has to be percent-encoded.")
    segments = path[1:].split("/") if path else []
    if "%" in path:
        segments = [_decoded(segment, _NO_NAME if dialect and segment else _NO_SEGMENT) for segment in segments]
    if "" in segments[:-1] or path == "//":
        raise InvalidRequest("The path has an empty segment.")
    if ("/." in path or "%" in path) and any(_DOTS.match(segment) for segment in segments):
        raise InvalidRequest("The path has a segment of dots.")
    return NativeTarget(match["provider"], path, query, tuple(segments))


def _decoded(segment: str, refused: re.Pattern[str]) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest("The path has percent-encoded bytes that are not UTF-8.") from exc
    if refused.search(text):
        raise InvalidRequest("The path has an encoded slash, backslash or control character.")
    return text
