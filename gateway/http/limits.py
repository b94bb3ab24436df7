"""How much of a request is taken in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """``max_body_bytes`` bounds a body, ``max_line_bytes`` the request target and each header, ``max_header_bytes`` all
    headers together; ``body_timeout`` is how many seconds a body may take to arrive; ``max_requests_in_flight`` bounds
    the requests that are worked on at once."""

    max_body_bytes: int = 1 << 20
    max_header_bytes: int = 16 << 10
    max_line_bytes: int = 8190
    body_timeout: float = 30.0
    max_requests_in_flight: int = 1500
