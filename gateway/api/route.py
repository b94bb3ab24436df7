"""One call of the API as data: its parameters, successes and errors."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from gateway.api.documented_errors import Errors
from gateway.api.queries import QueryParameter
from gateway.domain.validation import Input
from gateway.domain.values import Permission
from gateway.http.access_log import Surface
from gateway.ports.context import RequestContext


@dataclass(frozen=True, slots=True)
class Success:
    """One kind of success of a call. ``model`` None: no body, or one of the ``media_types``. ``other`` is another model
    that the body may have."""

    description: str
    model: type | None = None
    headers: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    other: type | None = None

    @property
    def models(self) -> tuple[type, ...]:
        return tuple(model for model in (self.model, self.other) if model is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call.

    ``handler`` takes the object that its group of handlers is bound to, the request and its context. ``bodies`` are
    the possible models of the body; ``request_headers`` are the headers that have a meaning for this call only;
    ``errors`` are its error classes, besides those that any call can end with. ``permission`` is what the caller needs;
    None: any caller with a key. ``action`` is its name in the audit trail.
    """

    method: str
    path: str
    operation_id: str
    permission: Permission | None
    summary: str
    description: str = ""
    handler: Callable[[Any, web.Request, RequestContext], Awaitable[web.StreamResponse]]
    successes: Mapping[int, Success]
    bodies: tuple[type[Input], ...] = ()
    body_required: bool = False
    parameters: tuple[QueryParameter, ...] = ()
    request_headers: tuple[str, ...] = ()
    errors: Errors = ()
    surface: Surface = Surface.V1
    secured: bool = True
    tag: str = "runtimes"
    aliases: tuple[str, ...] = field(default=())
    action: str = ""

    def __post_init__(self) -> None:
        if not self.action:
            object.__setattr__(self, "action", self.operation_id)
