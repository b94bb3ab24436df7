"""JSON numbers that take so long to decode that many of them would stop the event loop."""

import re
from typing import Final

MAX_SLOW_NUMBERS: Final = 10_000
"""Numbers with an exponent of three or more digits in one document. Each takes up to 20 µs to decode, a thousand times
as long as another number."""

_SLOW: Final = re.compile(rb"[eE][+-]?\d{3,}[,\]}\s]")
_SHORTEST: Final = len("1e308,")


def has_slow_numbers(raw: bytes) -> bool:
    """Whether JSON text has more than :data:`MAX_SLOW_NUMBERS` of them."""
    return len(raw) > MAX_SLOW_NUMBERS * _SHORTEST and len(_SLOW.findall(raw)) > MAX_SLOW_NUMBERS
