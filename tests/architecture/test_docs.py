"""What the service has is in its documentation."""

import re
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from gateway.api.docs_site import error_row
from gateway.api.openapi import ROUTES
from gateway.api.problems import STATUS
from gateway.domain.errors import GatewayError, error_classes
from gateway.telemetry.logs import Event
from gateway.telemetry.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"
ERRORS, API, METRICS = ((DOCS / f"{name}.md").read_text("utf-8") for name in ("errors", "api", "metrics"))


@pytest.mark.parametrize("cls", list(error_classes()), ids=lambda cls: cls.code)
def test_every_error_code_is_documented_as_it_is(cls: type[GatewayError]) -> None:
    head, cells = error_row(ERRORS, cls.code)
    row = dict(zip(head, cells, strict=True))
    assert row["status"] == str(STATUS[cls])
    assert row["retry?"] == cls.default_retryable.value
    assert cls.default_source.value in row["whose fault"] or "gateway" in row["whose fault"]
    assert row["cause"]
    assert row["what to do"]


def test_no_error_code_is_documented_that_does_not_exist() -> None:
    documented = set(re.findall(r"^\| `([a-z_]+)` \| \d{3} \|", ERRORS, re.MULTILINE))
    assert documented == {cls.code for cls in error_classes()}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
def test_every_route_is_documented(route: object) -> None:
    for path in (route.path, *route.aliases):  # type: ignore[attr-defined]
        assert f"`{route.method} {path}`" in API  # type: ignore[attr-defined]


def families() -> list[Metric]:
    return list(Metrics().registry.collect())


@pytest.mark.parametrize("family", families(), ids=lambda family: family.name)
def test_every_metric_is_documented(family: Metric) -> None:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    assert f"| `{name}` | {family.type} |" in METRICS


@pytest.mark.parametrize("event", list(Event))
def test_every_event_is_documented(event: Event) -> None:
    assert f"`{event.value}`" in METRICS
