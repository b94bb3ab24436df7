"""Generated responses: well-formed, odd, truncated and malformed ones, reproducible from a seed and a number."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

STATUSES: Final = (*[200] * 8, 201, 202, 203, 204, 204, 206, 299, 301, 302, 304, 304, 307)
STATUSES_OF_ERRORS: Final = (400, 401, 404, 409, 410, 413, 429, 451, 500, 502, 503, 504, 599)
_REASONS: Final = (b" OK", b" OK", b" OK", b" ", b"", b" Some Longer Words", b" J\xc3\xa4", b" \xe4", b" :;,")
_VALUES: Final = (
    b"",
    b"a",
    b"  a  ",
    b"\ta b\t",
    b"a:b,c;d=e",
    b'"quoted, \\" text"',
    b'W/"etag"',
    b"\xc3\xa4\xe2\x82\xac",
    b"\xe4\xff",
    b"a\x0bb",
    b"Sun, 22 Nov 2026 03:00:00 GMT",
    b"</a>; rel=next",
    b"a" * 300,
)
_NAMES: Final = (
    b"X-Some",
    b"x-some",
    b"X_Under",
    b"ETag",
    b"Date",
    b"Server",
    b"Retry-After",
    b"Link",
    b"Set-Cookie",
    b"Cache-Control",
    b"X-!#$%&'*+.^`|~",
    b"Content-Type",
    b"Keep-Alive",
    b"Trailer",
    b"Vary",
)
_INTERIM: Final = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Some: of the interim\r\n\r\n",
    b"HTTP/1.1 199\r\n\r\n",
)
_BAD_FRAMING: Final = (
    (b"Content-Length: -1",),
    (b"Content-Length: 1x",),
    (b"Content-Length: +2",),
    (b"Content-Length: 2, 2",),
    (b"Content-Length: 2", b"Content-Length: 3"),
    (b"Content-Length: 2", b"Content-Length: 2"),
    (b"Content-Length: 99999999999999999999999",),
    (b"Content-Length:",),
    (b"Content-Length: 2", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: chunked", b"Content-Length: 2"),
    (b"Transfer-Encoding: gzip, chunked",),
    (b"Transfer-Encoding: chunked, gzip",),
    (b"Transfer-Encoding: gzip",),
    (b"Transfer-Encoding: identity",),
    (b"Transfer-Encoding:",),
    (b"Transfer-Encoding: \x0bchunked",),
    (b"Transfer-Encoding: chunked\t",),
    (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
    (b"Transfer-Encoding : chunked",),
    (b"Content-Length : 2",),
    (b"Transfer-Encoding:\r\n chunked",),
    (b"No colon",),
    (b": no name",),
    (b"X-Null: a\0b",),
    (b"X-Bare: a\rb",),
    (b"(X): a",),
    (b"X Y: a",),
)
_BAD_CHUNKS: Final = (
    b"x\r\nab\r\n0\r\n\r\n",
    b"-2\r\nab\r\n0\r\n\r\n",
    b"2\r\nabc\r\n0\r\n\r\n",
    b"3\r\nab\r\n0\r\n\r\n",
    b"2\nab\n0\n\n",
    b"2 \r\nab\r\n0 \r\n\r\n",
    b"2;\r\nab\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\nab\r\n",
    b"\r\n2\r\nab\r\n0\r\n\r\n",
    b"2\r\nab\r\n0\r\nno trailer\r\n\r\n",
    b"2\r\nab0\r\n\r\n",
    b"0x2\r\nab\r\n0\r\n\r\n",
    b"2\r\nab\r\n0\r\nContent-Length: 7\r\n\r\n",
)
_BAD_STARTS: Final = (
    b"HTTP/1.1 20 OK\r\n",
    b"HTTP/1.1 2000 OK\r\n",
    b"HTTP/1.1 099 OK\r\n",
    b"HTTP/1.1 600 OK\r\n",
    b"HTTP/1.1 -20 OK\r\n",
    b"HTTP/1.1  200 OK\r\n",
    b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.2 200 OK\r\n",
    b"http/1.1 200 OK\r\n",
    b"HTTP/1.1 200 O\rK\r\n",
    b"HTTP/1.1 200 OK\n",
    b"\r\nHTTP/1.1 200 OK\r\n",
    b"ICY 200 OK\r\n",
    b"220 mail.test ESMTP\r\n",
    b"\x16\x03\x01\x00\x00",
    b"<html>",
    b"",
)


@dataclass(slots=True)
class Generated:
    """A response. ``pieces`` are written one after the other; ``closes``: the connection is closed after them.
    ``features`` name what is unusual about it; ``decodes``: the clients decode its content coding."""

    number: int
    method: str
    decodes: bool
    pieces: Sequence[bytes] = ()
    closes: bool = False
    features: set[str] = field(default_factory=set)


def generate(seed: int, number: int) -> Generated:
    """The response of this number."""
    random = Random(seed * 1_000_003 + number)  # noqa: S311
    made = Generated(
        number, random.choice(("GET", "GET", "GET", "GET", "POST", "DELETE", "HEAD")), random.random() < 0.6
    )
    raw = _whole(random, made)
    damage = random.random()
    if damage < 0.08:
        made.features.add("cut")
        raw = raw[: random.randrange(len(raw))]
        made.closes = True
    elif damage < 0.14:
        made.features.add("flipped")
        place = random.randrange(len(raw))
        raw = raw[:place] + random.choice((b"\0", b"\r", b"\n", b" ", b":", b"0", b"\xff", b"")) + raw[place + 1 :]
        made.closes = True
    elif damage < 0.16:
        made.features.add("excess")
        raw += random.choice((b"\r\n", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", raw))
        made.closes = True
    made.pieces = _pieces(random, raw)
    return made


def _whole(random: Random, made: Generated) -> bytes:
    status = random.choice(STATUSES if random.random() < 0.7 else STATUSES_OF_ERRORS)
    bodiless = made.method == "HEAD" or status in {204, 304}
    if bodiless:
        made.features.add("bodiless")
    start = b"HTTP/1.%d %d%b\r\n" % (random.random() < 0.95, status, random.choice(_REASONS))
    lines = [
        b"%b:%b%b" % (random.choice(_NAMES), random.choice((b" ", b"", b"  ")), random.choice(_VALUES))
        for _ in range(random.choice((0, 1, 2, 3, 5, 12)))
    ]
    body = (
        random.randbytes(random.choice((0, 1, 2, 17, 300, 2000)))
        if random.random() < 0.5
        else b'{"a": "b"}' * random.randrange(40)
    )
    if random.random() < 0.25:
        body = _coded(random, made, body, lines)
    if start.startswith(b"HTTP/1.0"):
        made.features.add("1.0")
        made.closes = True
    framing = random.random()
    if framing < 0.06 and not bodiless:
        made.features.add("bad framing")
        made.closes = True
        bad = random.choice(_BAD_FRAMING)
        lines += bad
        body = b"2\r\nab\r\n0\r\n\r\n" if any(b"ransfer" in line for line in bad) else b"ab"
    elif framing < 0.1:
        made.closes = True
        made.features.add("bad start")
        start = random.choice(_BAD_STARTS)
        lines.append(b"Content-Length: %d" % len(body))
    elif framing < 0.5:
        lines.append(b"Content-Length: %d" % len(body))
        random.shuffle(lines)
    elif framing < 0.85:
        lines.append(
            random.choice(
                (b"Transfer-Encoding: chunked", b"transfer-encoding:Chunked", b"TRANSFER-ENCODING:  CHUNKED ")
            )
        )
        random.shuffle(lines)
        body = _chunked(random, made, body)
    elif not bodiless:
        made.features.add("until the end")
        made.closes = True
    if bodiless and (random.random() < 0.9 or made.closes):
        body = b""
    elif bodiless and body:
        made.features.add("body where there is none")
        made.closes = True
    lines += _connection(random, made)
    return _interim(random, made) + start + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def _connection(random: Random, made: Generated) -> list[bytes]:
    if random.random() < 0.1:
        made.closes = True
        return [random.choice((b"Connection: close", b"connection: Close", b"Connection: x, close"))]
    return [b"Connection: keep-alive"] if random.random() < 0.1 else []


def _interim(random: Random, made: Generated) -> bytes:
    if random.random() >= 0.15:
        return b""
    made.features.add("interim")
    return b"".join(random.choice(_INTERIM) for _ in range(random.randrange(1, 4)))


def _coded(random: Random, made: Generated, body: bytes, lines: list[bytes]) -> bytes:
    coding = random.choice((b"gzip", b"gzip", b"GZip", b"x-gzip", b"deflate", b"deflate", b"raw", b"identity", b"foo"))
    made.features.add(f"coding {coding.decode().lower()}")
    lines.append(b"Content-Encoding: " + (b"deflate" if coding == b"raw" else coding))
    coded = body
    if coding.lower() in {b"gzip", b"x-gzip"}:
        coded = gzip.compress(body, 1, mtime=0)
        if random.random() < 0.1:
            made.features.add("two members")
            coded = gzip.compress(body[:5], 1, mtime=0) + gzip.compress(body[5:], 1, mtime=0)
    elif coding == b"deflate":
        coded = zlib.compress(body, 1)
    elif coding == b"raw":
        packer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
        coded = packer.compress(body) + packer.flush()
    if random.random() < 0.1 and coding not in {b"identity", b"foo"}:
        made.features.add("broken coding")
        made.closes = True
        place = random.randrange(len(coded))
        coded = random.choice((coded[:place], coded[:place] + b"\xff" + coded[place + 1 :], coded + b"x", b"", body))
    return coded


def _chunked(random: Random, made: Generated, body: bytes) -> bytes:
    if random.random() < 0.06:
        made.features.add("bad chunks")
        made.closes = True
        return random.choice(_BAD_CHUNKS)
    parts = []
    while body:
        size = random.randrange(1, len(body) + 1)
        shape = random.choice(
            (b"%x\r\n", b"%x\r\n", b"%X\r\n", b"00%x\r\n", b"%x;a=b\r\n", b'%x;a="b;c"\r\n', b"%x;a\r\n")
        )
        parts += [shape % size, body[:size], b"\r\n"]
        body = body[size:]
    parts.append(random.choice((b"0\r\n", b"0\r\n", b"000\r\n", b"0;last=1\r\n")))
    if random.random() < 0.15:
        made.features.add("trailers")
        parts.append(random.choice((b"X-Trailer: 1\r\n", b"X-Trailer: 1\r\nX-Trailer: 2\r\n", b"Set-Cookie: a=b\r\n")))
    return b"".join((*parts, b"\r\n"))


def _pieces(random: Random, raw: bytes) -> list[bytes]:
    places = sorted(random.randrange(len(raw) + 1) for _ in range(random.choice((0, 0, 0, 1, 1, 2, 4))))
    pieces = [raw[begin:end] for begin, end in zip([0, *places], [*places, len(raw)], strict=True)]
    return [piece for piece in pieces if piece]
