"""Every adapter passes the adapter contract in front of its emulator, over the transport that the gateway uses."""

import pkgutil

import aiohttp
import pytest

import adapters
from adapters import bctrl, bctrl_browsers, durable
from gateway.domain.access import Principal
from gateway.domain.errors import AlreadyExists, RuntimeReplaced, UnsupportedFeature
from gateway.domain.requests import CreateBrowser, CreateDurable, CreateRequest
from gateway.domain.validation import validate
from gateway.domain.values import Kind
from gateway.ports.clock import SystemClock
from gateway.ports.context import RequestContext
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Transport
from gateway.services.fleet import Fleet
from gateway.services.provider_choice import Router
from gateway.upstream.transport import HttpTransport
from tests.contract.adapter.contract import AdapterContract, Subject


class OverAiohttp(AdapterContract):
    def make_transport(self, settings: ProviderSettings) -> Transport:
        return HttpTransport(settings)

    async def test_routing_accepts_the_kinds_in_creates_and_refuses_every_other_kind(self, subject: Subject) -> None:
        router = Router(Fleet([subject.adapter], SystemClock()))
        context = RequestContext(request_id="request-1", principal=Principal("alice"))
        scope = {} if subject.setup.pinned else {"scope": subject.scope}
        for kind in Kind:
            accepted = kind in subject.adapter.creates
            make = subject.source.minimal_create if accepted else subject.source.another_create
            request = make(kind, "one").model_copy(update=scope)
            if accepted:
                (target,) = await router.choose(request, context)
                assert (target.provider.adapter, target.scope) == (subject.adapter, subject.scope)
            else:
                with pytest.raises(UnsupportedFeature, match="creates only: ") as caught:
                    await router.choose(request, context)
                assert [error.pointer for error in caught.value.errors] == ["#/kind"]
        assert subject.sent() == 0


class TestBctrl(OverAiohttp):
    plugin = bctrl.PLUGIN
    rate_limit_code = "rate_limit.exceeded"
    quota_code = "browser.concurrent_quota_exceeded"

    def create_request(self, kind: Kind, name: str) -> CreateRequest:
        proxy = {"type": "socks5", "host": "proxy.test", "port": 1080, "username": "u", "password": "hunter2-proxy"}
        launch = {"mode": "ephemeral", "proxy": proxy}
        return validate(CreateBrowser, {"kind": kind, "name": name, "launch": launch})

    async def test_a_runtime_whose_alias_another_one_has_taken_is_neither_read_nor_stopped(
        self, subject: Subject
    ) -> None:
        adapter = subject.adapter
        old = adapter.reference(await subject.create("bot"))
        await _put_in(subject, alias="bot")
        with pytest.raises(RuntimeReplaced):
            await adapter.get(old, subject.call())
        with pytest.raises(RuntimeReplaced):
            await adapter.stop(old, subject.call())
        assert subject.emulator.counts()["live_runtimes"] == 2

    async def test_every_kind_and_state_of_bctrl_is_read(self, subject: Subject) -> None:
        for kind, status in (("desktop", "active"), ("spreadsheet", "stopped"), ("browser", "failed")):
            await _put_in(subject, alias=f"a {kind}/ü", kind=kind, status=status)
            (found,) = await subject.adapter.find(subject.scope, f"a {kind}/ü", subject.call())
            got = await subject.adapter.get(subject.adapter.reference(found), subject.call())
            assert (got.id, got.kind, got.provider_state) == (found.id, kind, {"status": status})


async def _put_in(subject: Subject, **runtime: str) -> None:
    async with aiohttp.ClientSession(subject.url) as session:
        response = await session.post("/__runtimes", json={"workspaceId": subject.scope, **runtime})
        assert response.status == 201


class TestBctrlBrowsers(OverAiohttp):
    plugin = bctrl_browsers.PLUGIN
    rate_limit_code = "rate_limit.exceeded"
    quota_code = "browser.concurrent_quota_exceeded"

    def create_request(self, kind: Kind, name: str) -> CreateRequest:
        proxy = {"type": "http", "host": "proxy.test", "port": 3128, "username": "u", "password": "hunter2-proxy"}
        launch = {"mode": "ephemeral", "extension_ids": ["ext_1"], "proxy": proxy}
        return validate(CreateBrowser, {"kind": kind, "name": name, "labels": {"team": "shop"}, "launch": launch})

    async def test_a_create_sent_twice_under_one_key_makes_one_browser_where_keys_are_remembered(
        self, subject: Subject
    ) -> None:
        """Where keys are forgotten, unique names still refuse the second; where names are free too, there are two."""
        request, setup = subject.create_request("bot"), subject.setup.personality
        remembered, free = setup["keys"] == "remembered", setup["names"] == "free"

        async def create() -> str:
            made = await subject.adapter.create(request, subject.scope, subject.call(), idempotency_key="k-1")
            return made.runtime.id

        first = await create()
        if remembered or free:
            assert (await create() == first) is remembered
        else:
            with pytest.raises(AlreadyExists):
                await create()
        found = await subject.adapter.find(subject.scope, "bot", subject.call())
        assert len(found) == subject.emulator.creates == (2 if free and not remembered else 1)


class TestDurable(OverAiohttp):
    plugin = durable.PLUGIN
    rate_limit_code = "e2b_rate_limit_error"
    quota_code = "usage_limit_exceeded_error"

    def create_request(self, kind: Kind, name: str) -> CreateRequest:
        config = {"version": "v2", "runtime_server": {"env": {"PASSWORD": "hunter2-env"}}}
        return validate(CreateDurable, {"kind": kind, "name": name, "config": config})


def test_every_adapter_has_its_contract_suite_here():
    """This test fails for a new folder under ``adapters`` until this module has a class for it."""
    found = {module.name for module in pkgutil.iter_modules(adapters.__path__) if module.ispkg}
    covered = {contract.plugin.api for contract in OverAiohttp.__subclasses__()}
    assert not found - covered, f"no contract suite for {found - covered}: add a subclass of OverAiohttp to this module"
