"""The path prefix below which clients see a listener (``http.base_path``).

Requests lose it before they are routed, so no route knows of it. It is added again to every address that a response
has. It is a variable of the connection's context, which the tasks of its requests inherit.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from aiohttp import web
from yarl import URL

BASE_PATH: Final = ContextVar("base_path", default="")


def mounted(path: str) -> str:
    """A path of the gateway as the client of the current connection sees it."""
    return BASE_PATH.get() + path


def below(base_path: str, make: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """The factory of requests, whose targets lose the prefix. One without it stays: a proxy may have removed it."""

    def request(message: Any, *rest: Any) -> web.BaseRequest:
        before, found, path = message.path.partition(base_path)
        if found and not before and path[:1] in {"", "/", "?"}:
            path = path if path.startswith("/") else f"/{path}"
            target, _, query = path.partition("?")
            message = message._replace(path=path, url=URL.build(path=target, query_string=query, encoded=True))
        return make(message, *rest)

    return request
