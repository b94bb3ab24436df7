"""What ``runtimes get -o yaml`` prints can be created again, and ``runtimes apply`` finds it unchanged."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gateway.cli import cli
from gateway.cli.applying import creatable
from gateway.domain.requests import CREATE_REQUESTS
from tests.component.request_strategies import BROWSER, DURABLE, SOME, TEXT
from tests.component.whole_gateway import KEY, Gateway, whole_gateway

FEW = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes half a second: shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
CREATES = {"durable": [("durable", DURABLE)], "browser": [("bctrl", BROWSER), ("bctrl_browsers", BROWSER)]}
_numbers = itertools.count()


class Desk:
    """A gateway in an event loop that runs while a command does, in a thread."""

    def __init__(self, runner: asyncio.Runner, gateway: Gateway) -> None:
        self._runner = runner
        self._gateway = gateway

    def run(self, *words: str, stdin: str | None = None, code: int = 0) -> Result:
        environment = {"RTGW_SERVER": self._gateway.url, "RTGW_API_KEY": KEY}
        command = asyncio.to_thread(CliRunner().invoke, cli, ["runtimes", *words], input=stdin, env=environment)
        result: Result = self._runner.run(command)
        assert result.exit_code == code, result.output
        return result

    def created(self, body: dict[str, Any]) -> bool:
        """Create a runtime at the provider of an API. False if it does not support a field."""
        body = {**body, "provider": self._gateway.upstreams[body["provider"]].name}
        response = self._runner.run(self._gateway.call("POST", "/v1/runtimes", body))
        assert response.status == 201 or response.json["code"] == "unsupported_feature", response.text
        return response.status == 201

    def printed(self, name: str) -> tuple[str, dict[str, Any]]:
        """What is printed of a runtime, and the create in it."""
        text = self.run("get", name, "-o", "yaml").stdout
        return text, creatable(YAML(typ="safe", pure=True).load(text))


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        gateway = runner.run(stack.enter_async_context(whole_gateway("durable", "bctrl", "bctrl_browsers")))
        yield Desk(runner, gateway)
        runner.run(stack.aclose())


def test_every_kind_that_can_be_created_is_tested() -> None:
    assert CREATES.keys() == CREATE_REQUESTS.keys()


BODIES = st.one_of(
    fields.map(lambda body, kind=kind, provider=provider: {"kind": kind, "provider": provider, **body})
    for kind, providers in CREATES.items()
    for provider, fields in providers
)


def consistent(body: dict[str, Any]) -> dict[str, Any]:
    """The body, whose labels do not contradict those of its config."""
    inner = ((body.get("config") or {}).get("metadata") or {}).get("labels")
    return body if inner is None or "labels" not in body else {**body, "labels": inner}


@FEW
@given(body=BODIES.map(consistent))
def test_printed_runtime_is_made_again_and_is_unchanged_by_apply(desk: Desk, body: dict[str, Any]) -> None:
    name = f"one-{next(_numbers)}"
    assume(desk.created({**body, "name": name}))
    text, made = desk.printed(name)
    desk.run("create", "-f", "-", "--name", f"{name}-copy", stdin=text)
    _, copy = desk.printed(f"{name}-copy")
    assert copy == {**made, "name": f"{name}-copy"}
    assert desk.run("apply", "-f", "-", stdin=text).stdout == f"{name}: unchanged\n"


@FEW
@given(
    labels=st.dictionaries(SOME, TEXT, min_size=1, max_size=3), cores=st.integers(1, 32), body=DURABLE.map(consistent)
)
def test_applied_config_is_the_one_that_is_read_back(
    desk: Desk, labels: dict[str, str], cores: int, body: dict[str, Any]
) -> None:
    name = f"two-{next(_numbers)}"
    assert desk.created({"kind": "durable", "provider": "durable", **body, "name": name})
    _, before = desk.printed(name)
    document = {"kind": "durable", "name": name, "labels": labels, "config": {"resources": {"cpu_cores": cores}}}
    desk.run("apply", "-f", "-", stdin=json.dumps(document))
    _, after = desk.printed(name)
    assert after["config"]["resources"] == {**before["config"]["resources"], "cpu_cores": cores}
    assert labels.items() <= after["labels"].items()
    assert after["config"]["sandbox"] == before["config"]["sandbox"]
    assert desk.run("apply", "-f", "-", stdin=json.dumps(document)).stdout == f"{name}: unchanged\n"


def test_labels_and_names_select_at_every_provider(desk: Desk) -> None:
    for number, api in enumerate(("durable", "bctrl_browsers", "durable", "bctrl")):
        body = {"kind": "durable" if api == "durable" else "browser", "provider": api, "name": f"three-{number % 3}"}
        labels = {} if api == "bctrl" else {"labels": {"suite": "names", "parity": str(number % 2)}}
        assert desk.created({**body, **labels})
    names = desk.run("list", "-l", "suite=names", "--query", "items[].name").stdout.split()
    assert sorted(names) == ["three-0", "three-1", "three-2"]
    assert desk.run("stop", "-l", "suite=names", "-l", "parity=1", "--query", "items[].[name, state][]").stdout == (
        "three-1\nidle\n"
    )
    ambiguous = desk.run("get", "three-0", code=2).stderr.splitlines()
    assert ambiguous[0].startswith("error: ambiguous_name: 2 runtimes have the name three-0")
    assert len(ambiguous) == 3
