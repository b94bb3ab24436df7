"""Every error of the gateway, rendered by a dialect, is one that the API's clients know."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from adapters.bctrl.dialect import errors as bctrl
from adapters.bctrl_browsers.dialect import errors as browsers
from adapters.durable.dialect import errors as durable
from gateway.domain.errors import FieldError, GatewayError, MethodNotAllowed, ProviderFailure, error_classes
from gateway.ports.dialect import DialectAnswer
from tests.conformance.facts import Exchange, Facts
from tests.conformance.sources import SOURCES, facts_of

Render = Callable[[GatewayError], DialectAnswer]

RENDERED: list[tuple[str, str, Render]] = [
    ("durable", "/api/v1/user", durable.native_error),
    ("bctrl", "/v1/workspaces", lambda error: bctrl.failure_of(error, "req_1", nested=False)),
    (
        "bctrl_browsers",
        "/v1/browsers",
        lambda error: browsers.failure_of(error, "req_1", flat_codes=False, nested=True),
    ),
    (
        "bctrl_browsers",
        "/v1/runtimes",
        lambda error: browsers.failure_of(error, "req_1", flat_codes=True, nested=False),
    ),
]


def every_error() -> Iterator[GatewayError]:
    """An error of every class: the gateway's own, with faults of fields, and a provider's."""
    fault = FieldError("It is not valid.", "invalid", pointer="#/name")
    for cls in error_classes():
        if cls is MethodNotAllowed:
            yield MethodNotAllowed("It is not allowed.", allowed=["GET"])
            continue
        yield cls("It failed.")
        yield cls("It failed.", errors=[fault], retry_after=1.5)
        yield cls("It failed.", failure=ProviderFailure("provider", status=402, detail="It was refused."))


@pytest.mark.parametrize(("api", "path", "render"), RENDERED, ids=[path for _, path, _ in RENDERED])
def test_every_error_of_a_dialect_fits(api: str, path: str, render: Render) -> None:
    sources = [facts_of(api, source) for of, source in SOURCES if of == api]
    rendered = [(error.code, render(error)) for error in every_error()]
    assert len(rendered) > 80
    assert any(source.errors for source in sources)
    assert not [f"{code}: {fault}" for code, answer in rendered for fault in faults(sources, path, answer)]


def faults(sources: list[Facts], path: str, answer: DialectAnswer) -> Iterator[str]:
    """What is wrong with an error by any source."""
    exchange = Exchange("GET", path, [], None, answer.status, msgspec.json.decode(answer.body))
    for source in sources:
        yield from source.answer_faults(exchange)
