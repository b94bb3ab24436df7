"""The part of the adapter contract about optional abilities: every ability that an adapter declares works."""

from typing import Any

from gateway.domain.errors import NotFound
from gateway.domain.lifecycle import actions_of
from gateway.domain.requests import InstallCapability, ReplaceConfig, StartRequest, UpdateCapability
from gateway.domain.runtime import ENCODER, Runtime
from gateway.domain.validation import validate
from gateway.domain.values import CreateFeature, Feature, State
from gateway.ports.provider import (
    SupportsCapabilityBindings,
    SupportsConfig,
    SupportsConnections,
    SupportsDelete,
    SupportsKeepalive,
    SupportsPause,
    SupportsReset,
    SupportsStart,
    SupportsStop,
    derive_features,
)
from tests.contract.adapter.subject import Subject, expecting


async def _finds_nothing(awaitable: Any) -> None:
    with expecting(NotFound, "a call for a missing runtime succeeded"):
        await awaitable


class AbilityContract:
    """Each protocol that an adapter implements works on a runtime, raises for a missing one, and agrees with the next
    read. The features of an adapter include no protocol that it does not implement."""

    def test_the_features_are_derived_from_the_class(self, subject: Subject) -> None:
        """There is no second list, and every name is a ``Feature`` or ``CreateFeature``."""
        adapter = type(subject.adapter)
        assert adapter.features == derive_features(adapter)
        assert adapter.create_features <= frozenset(CreateFeature)
        assert adapter.features <= frozenset(CreateFeature) | frozenset(Feature)
        assert adapter.api == subject.plugin.api

    async def test_start(self, subject: Subject) -> None:
        """A start leads to a running runtime."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsStart):
            assert Feature.START not in adapter.features
            return
        made = await subject.create("one")
        started = await adapter.start(adapter.reference(made), StartRequest(), subject.call())
        assert started.state is State.RUNNING
        await _agrees(subject, started)
        await _finds_nothing(adapter.start(subject.missing(made), StartRequest(), subject.call()))

    async def test_pause_and_resume(self, subject: Subject) -> None:
        """A paused runtime is resumed to running."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsPause):
            assert Feature.PAUSE not in adapter.features
            return
        ref = adapter.reference(await subject.create_running("one"))
        paused = await adapter.pause(ref, subject.call())
        assert paused.state is State.PAUSED
        await _agrees(subject, paused)
        resumed = await adapter.resume(ref, subject.call())
        assert resumed.state is State.RUNNING
        await _agrees(subject, resumed)
        await _finds_nothing(adapter.pause(subject.missing(paused), subject.call()))
        await _finds_nothing(adapter.resume(subject.missing(paused), subject.call()))

    async def test_stop(self, subject: Subject) -> None:
        """A stop ends the compute; the runtime can still be read."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsStop):
            assert Feature.STOP not in adapter.features or isinstance(adapter, SupportsReset)
            return
        running = await subject.create_running("one")
        stopped = await adapter.stop(adapter.reference(running), subject.call())
        assert stopped.state in {State.STOPPING, State.STOPPED, State.IDLE}
        assert not actions_of(stopped)["stop"].allowed
        await _agrees(subject, stopped)
        await _finds_nothing(adapter.stop(subject.missing(running), subject.call()))

    async def test_reset(self, subject: Subject) -> None:
        """A reset leaves the runtime without compute."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsReset):
            assert Feature.RESET not in adapter.features
            return
        running = await subject.create_running("one")
        idle = await adapter.reset(adapter.reference(running), subject.call())
        assert idle.state is State.IDLE
        await _agrees(subject, idle)
        await _finds_nothing(adapter.reset(subject.missing(running), subject.call()))

    async def test_keepalive(self, subject: Subject) -> None:
        """A keepalive returns the new expiry of the runtime."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsKeepalive):
            assert Feature.KEEPALIVE not in adapter.features
            return
        running = await subject.create_running("one")
        lease = await adapter.keepalive(adapter.reference(running), 3600, subject.call())
        assert lease.id == running.id
        assert lease.expires_at is not None
        await _finds_nothing(adapter.keepalive(subject.missing(running), 3600, subject.call()))

    async def test_connections(self, subject: Subject) -> None:
        """A running runtime has connections, and reads of it do not show their tokens."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsConnections):
            assert Feature.CONNECTIONS not in adapter.features
            return
        running = await subject.create_running("one")
        ref = adapter.reference(running)
        connections = await adapter.connections(ref, subject.call())
        assert connections
        shown = ENCODER.encode(await adapter.get(ref, subject.call())).decode()
        assert not [c for c in connections if c.token is not None and c.token in shown]
        await _finds_nothing(adapter.connections(subject.missing(running), subject.call()))

    async def test_delete(self, subject: Subject) -> None:
        """A deleted runtime cannot be read, found or deleted again."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsDelete):
            assert Feature.DELETE not in adapter.features
            return
        made = await subject.create("one")
        ref = adapter.reference(made)
        await adapter.delete(ref, subject.call())
        await _finds_nothing(adapter.get(ref, subject.call()))
        await _finds_nothing(adapter.delete(ref, subject.call()))
        assert not await adapter.find(subject.scope, "one", subject.call())

    async def test_config(self, subject: Subject) -> None:
        """A config is replaced as a whole, and a read returns the new one."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsConfig):
            assert Feature.CONFIG not in adapter.features
            return
        made = await subject.create("one")
        ref = adapter.reference(made)
        new = validate(ReplaceConfig, {"config": {"version": "v2", "defaults": {"agent": "poet"}}}).config
        replaced = await adapter.replace_config(ref, new, subject.call())
        assert replaced.config["defaults"]["agent"] == "poet"
        read = await adapter.get_config(ref, subject.call())
        assert (read.config, read.config_digest) == (replaced.config, replaced.config_digest)
        await _finds_nothing(adapter.get_config(subject.missing(made), subject.call()))
        await _finds_nothing(adapter.replace_config(subject.missing(made), new, subject.call()))

    async def test_capability_bindings(self, subject: Subject) -> None:
        """A capability is installed, changed, resolved and removed."""
        adapter = subject.adapter
        if not isinstance(adapter, SupportsCapabilityBindings):
            assert Feature.CAPABILITY_BINDINGS not in adapter.features
            return
        made = await subject.create("one")
        ref = adapter.reference(made)
        installed = await adapter.install_capability(ref, InstallCapability(name="painter"), subject.call())
        assert installed.name == "painter"
        assert list(await adapter.list_capabilities(ref, subject.call())) == [installed]
        resolved = await adapter.resolved_capabilities(ref, subject.call())
        assert [capability.name for capability in resolved.capabilities] == ["painter"]
        disable = UpdateCapability(enabled=False)
        updated = await adapter.update_capability(ref, installed.id, disable, subject.call())
        assert (updated.id, updated.enabled) == (installed.id, False)
        await adapter.remove_capability(ref, installed.id, subject.call())
        assert not await adapter.list_capabilities(ref, subject.call())
        await _finds_nothing(adapter.remove_capability(ref, installed.id, subject.call()))
        await _finds_nothing(adapter.list_capabilities(subject.missing(made), subject.call()))


async def _agrees(subject: Subject, returned: Runtime) -> None:
    """Assert that a read returns the state and actions that a verb returned."""
    read = await subject.adapter.get(subject.adapter.reference(returned), subject.call())
    assert (read.id, read.state, read.actions) == (returned.id, returned.state, returned.actions)
