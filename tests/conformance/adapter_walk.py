"""Makes every call that an adapter has."""

from typing import Any, Final

from gateway.domain.config import RuntimeConfig
from gateway.domain.errors import GatewayError, UnsupportedFeature
from gateway.domain.pages import ListFilter, ProviderQuery
from gateway.domain.requests import CREATE_REQUESTS, InstallCapability, StartRequest, UpdateCapability
from gateway.domain.runtime import Runtime
from gateway.domain.validation import validate
from gateway.domain.values import State
from gateway.ports.provider import (
    ProviderAdapter,
    SupportsCapabilityBindings,
    SupportsConfig,
    SupportsConnections,
    SupportsDelete,
    SupportsKeepalive,
    SupportsPause,
    SupportsReset,
    SupportsStart,
    SupportsStop,
)
from tests.conformance.exchanges import call

MISSING: Final = "00000000-dead-4bad-8bad-000000000000"


async def walk_adapter(adapter: ProviderAdapter[Any], scope: str) -> None:
    """Make every call, the ones that the provider refuses included."""
    await adapter.check_credentials(call())
    await adapter.account(call())
    await adapter.canonical_scope("default" if adapter.api == "bctrl_browsers" else scope, call())
    (kind,) = adapter.creates
    made = []
    for name in ("one", "two", "three"):
        request = validate(CREATE_REQUESTS[kind], {"kind": kind, "name": name})
        wire = adapter.wire_create(request, scope, marker="in_1")
        made.append((await adapter.send_create(wire, scope, call(), idempotency_key=f"key-{name}")).runtime)
    await lists(adapter, scope, made[0])
    await verbs(adapter, made[0])
    ref = adapter.reference(made[0])
    if isinstance(adapter, SupportsConfig):
        config = validate(RuntimeConfig, {"version": "v2", "resources": {"cpu_cores": 4}})
        await adapter.replace_config(ref, config, call())
        await adapter.get_config(ref, call())
    if isinstance(adapter, SupportsCapabilityBindings):
        await capabilities(adapter, made[0])
    if isinstance(adapter, SupportsDelete):
        await adapter.delete(ref, call())
        await refused(adapter.delete(ref, call()))


async def lists(adapter: ProviderAdapter[Any], scope: str, made: Runtime) -> None:
    """Reads: by address, by name, and lists with every filter and a second page."""
    ref = adapter.reference(made)
    await adapter.get(ref, call())
    await refused(adapter.get(ref.__class__(ref.scope, MISSING, ref.name and "missing"), call()))
    for name in ("one", "missing"):
        await adapter.find(scope, name, call())
        await adapter.find_with_markers(scope, name, call())
    page = await adapter.list(ProviderQuery(scope=scope, limit=1), call())
    await adapter.list(ProviderQuery(scope=scope, limit=200, cursor=page.next_cursor), call())
    project = made.durable.project if made.durable else None
    for wanted in (
        ListFilter(name="two"),
        ListFilter(project=project.id if project else None),
        *(ListFilter(states=frozenset({state})) for state in State),
        ListFilter(states=frozenset({State.IDLE, State.RUNNING, State.PAUSED})),
    ):
        await adapter.list(ProviderQuery(scope=scope, filter=wanted), call())


async def verbs(adapter: ProviderAdapter[Any], made: Runtime) -> None:
    """Every verb that the adapter has."""
    ref = adapter.reference(made)
    if isinstance(adapter, SupportsStart):
        limited = StartRequest(runtime_limit_seconds=60, secret_ids=[MISSING])
        for options in (limited, StartRequest()):
            await refused(adapter.start(ref, options, call()))
    if isinstance(adapter, SupportsConnections):
        await adapter.connections(ref, call())
    if isinstance(adapter, SupportsKeepalive):
        await adapter.keepalive(ref, 300, call())
    if isinstance(adapter, SupportsPause):
        await adapter.pause(ref, call())
        await refused(adapter.pause(ref, call()))
        await adapter.resume(ref, call())
    if isinstance(adapter, SupportsReset):
        await adapter.reset(ref, call())
    if isinstance(adapter, SupportsStop):
        for discard in (False, True):
            await refused(adapter.stop(ref, call(), discard_state=discard))


async def capabilities(adapter: SupportsCapabilityBindings, made: Runtime) -> None:
    """Install, change, list, resolve and remove capability bindings."""
    assert isinstance(adapter, ProviderAdapter)
    ref = adapter.reference(made)
    binding = await adapter.install_capability(ref, InstallCapability(name="agent"), call())
    await refused(adapter.install_capability(ref, InstallCapability(name="agent", version="2.0.0"), call()))
    for change in ({"enabled": True}, {"flags": {"loud": True, "old": None}}, {"version": "2.0.0"}):
        await adapter.update_capability(ref, binding.id, validate(UpdateCapability, change), call())
    await adapter.list_capabilities(ref, call())
    await adapter.resolved_capabilities(ref, call())
    await adapter.remove_capability(ref, binding.id, call())


async def refused(work: Any) -> None:
    """Await a call that the provider, or the adapter itself, may refuse."""
    try:
        await work
    except UnsupportedFeature:
        return
    except GatewayError as error:
        if error.failure is None:
            raise
