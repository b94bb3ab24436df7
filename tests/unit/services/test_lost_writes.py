"""A change of a config or a capability whose response was lost: one read shows whether it happened."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from gateway.domain import errors
from gateway.domain.errors import ProviderFailure, Retryable
from gateway.domain.ids import RuntimeRef
from gateway.domain.requests import InstallCapability, ReplaceConfig, UpdateCapability
from gateway.domain.runtime import CapabilityBinding, ResolvedCapabilities
from gateway.domain.validation import validate
from gateway.domain.values import Operation
from gateway.ports.provider import SupportsCapabilityBindings
from gateway.ports.transport import Attempt, Call, Phase, TransportFailure
from gateway.services.capabilities import CapabilityService
from gateway.services.config import ConfigService
from tests.unit.services.fakes import DurableLike, context, fleet_of

SAID = ProviderFailure("one", status=500, own_envelope=True)


def lost(operation: Operation) -> TransportFailure:
    """The connection ended after the request was sent."""
    return TransportFailure("disconnected", Phase.SENT, operation=operation)


def refused(operation: Operation) -> TransportFailure:
    """The connection was never made."""
    return TransportFailure("refused", Phase.CONNECTING, operation=operation)


def _replacement(**config: Any) -> ReplaceConfig:
    return validate(ReplaceConfig, {"config": config})


def _configured(config: dict[str, Any]) -> DurableLike:
    adapter = DurableLike("one")
    adapter.put("agent", provider_id="a1")
    adapter.world.configs["a1"] = config
    return adapter


FILLED = {"version": "v2", "n": 1, "metadata": {"labels": {}}, "resources": {"cpu_cores": 4, "memory_mb": 2048}}
SENT: dict[str, Any] = {"n": 1, "resources": {"cpu_cores": 4}}


async def test_a_lost_replacement_succeeds_if_the_config_equals_the_sent_one() -> None:
    adapter = _configured({"version": "v2"})

    async def replaces() -> None:
        adapter.world.configs["a1"] = FILLED

    adapter.world.before["replace_config"] = replaces
    adapter.world.fail("replace_config", lost(Operation.REPLACE_CONFIG))
    document, etag = await ConfigService(fleet_of([adapter])).replace("one.a1", _replacement(**SENT), None, context())
    assert (document.config, etag) == (FILLED, '"d1"')
    assert adapter.world.asked == ["replace_config", "get_config"]


@pytest.mark.parametrize("known", [{"version": "v2"}, {**FILLED, "defaults": {"model": "m"}}, {"version": "v9"}])
async def test_a_lost_replacement_is_unknown_if_the_config_differs(known: dict[str, Any]) -> None:
    """A replacement replaces everything: if a member that was left out still has a value, it has not happened."""
    adapter = _configured(known)
    adapter.world.fail("replace_config", lost(Operation.REPLACE_CONFIG))
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await ConfigService(fleet_of([adapter])).replace("one.a1", _replacement(**SENT), None, context())
    assert caught.value.retryable is Retryable.SAME_REQUEST


async def test_the_retry_of_a_lost_replacement_succeeds_with_the_old_etag() -> None:
    adapter = _configured(FILLED)
    service = ConfigService(fleet_of([adapter]))
    document, etag = await service.replace("one.a1", _replacement(**SENT), '"d0"', context())
    assert (document.config, etag) == (FILLED, '"d1"')
    assert isinstance(document.warnings, list)
    assert adapter.world.asked == ["get_config"]
    with pytest.raises(errors.PreconditionFailed):
        await service.replace("one.a1", _replacement(n=2), '"d0"', context())


class Binding(DurableLike, SupportsCapabilityBindings):
    """Installs each capability once per name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.bindings: dict[str, CapabilityBinding] = {}
        self.lost: list[bool] = []  # the next changes lose their response; whether each happens

    async def _end(self, method: str, call: Call, happen: Callable[[], Any]) -> Any:
        operation = Operation(method)
        fate = self.lost.pop(0) if self.lost else None
        outcome = "200" if fate is None else "disconnected"
        await self.world.enter(method, call)
        call.attempts.append(Attempt(self.name, operation, outcome, 0.0, Phase.SENT))
        result = happen() if fate is not False else None
        if fate is not None:
            raise lost(operation)
        return result

    async def list_capabilities(self, ref: RuntimeRef, call: Call) -> Sequence[CapabilityBinding]:  # noqa: ARG002
        await self.world.enter("list_capabilities", call)
        return list(self.bindings.values())

    async def install_capability(
        self,
        ref: RuntimeRef,  # noqa: ARG002
        request: InstallCapability,
        call: Call,
    ) -> CapabilityBinding:
        def install() -> CapabilityBinding:
            if request.name in self.bindings:
                raise errors.AlreadyExists("installed", failure=ProviderFailure("one", status=409))
            version = request.version if request.sent("version") else "1"
            made = CapabilityBinding(id=request.name, name=request.name, version=version, enabled=True, artifact_id="a")
            return self.bindings.setdefault(request.name, made)

        made: CapabilityBinding = await self._end("install_capability", call, install)
        return made

    async def update_capability(
        self,
        ref: RuntimeRef,  # noqa: ARG002
        binding_id: str,
        request: UpdateCapability,
        call: Call,
    ) -> CapabilityBinding:
        def update() -> CapabilityBinding:
            changes = {field: getattr(request, field) for field in request.model_fields_set}
            self.bindings[binding_id] = msgspec.structs.replace(self.bindings[binding_id], **changes)
            return self.bindings[binding_id]

        changed: CapabilityBinding = await self._end("update_capability", call, update)
        return changed

    async def remove_capability(self, ref: RuntimeRef, binding_id: str, call: Call) -> None:  # noqa: ARG002
        await self._end("remove_capability", call, lambda: self.bindings.pop(binding_id))

    async def resolved_capabilities(self, ref: RuntimeRef, call: Call) -> ResolvedCapabilities:
        raise NotImplementedError


def _bindings(*names: str) -> tuple[Binding, CapabilityService]:
    adapter = Binding("one")
    for name in names:
        adapter.bindings[name] = CapabilityBinding(id=name, name=name, version="1", enabled=True, artifact_id="a")
    return adapter, CapabilityService(fleet_of([adapter]))


async def test_a_lost_install_that_happened_is_found_in_the_list() -> None:
    adapter, service = _bindings()
    adapter.lost = [True]
    assert (await service.install("one.a1", InstallCapability(name="x"), context())).id == "x"
    assert adapter.world.asked == ["install_capability", "list_capabilities"]


async def test_a_lost_install_that_is_not_in_the_list_is_sent_once_again() -> None:
    adapter, service = _bindings()
    adapter.lost = [False]
    assert (await service.install("one.a1", InstallCapability(name="x"), context())).id == "x"
    assert adapter.world.asked == ["install_capability", "list_capabilities", "install_capability"]
    adapter.bindings.clear()
    adapter.lost = [False, False]
    with pytest.raises(errors.OutcomeUnknown):
        await service.install("one.a1", InstallCapability(name="x"), context())


async def test_an_install_that_is_carried_out_late_succeeds() -> None:
    adapter, service = _bindings()
    adapter.lost = [False]
    calls: list[str] = []

    async def late() -> None:
        calls.append("install")
        if len(calls) == 2:
            adapter.bindings["x"] = CapabilityBinding(id="x", name="x", version="1", enabled=True, artifact_id="a")

    adapter.world.before["install_capability"] = late
    assert (await service.install("one.a1", InstallCapability(name="x"), context())).id == "x"


async def test_an_install_conflict_without_a_lost_attempt_or_with_another_version_fails() -> None:
    adapter, service = _bindings("x")
    with pytest.raises(errors.AlreadyExists):
        await service.install("one.a1", InstallCapability(name="x"), context())
    adapter.lost = [False]
    with pytest.raises(errors.OutcomeUnknown):
        await service.install("one.a1", InstallCapability(name="x", version="2"), context())


@pytest.mark.parametrize("change", [{"enabled": False}, {"version": "2"}, {"flags": {"a": True, "b": None}}])
@pytest.mark.parametrize("happened", [True, False])
async def test_a_lost_update_of_a_binding_is_verified_by_the_list(change: dict[str, Any], happened: bool) -> None:
    adapter, service = _bindings("x")
    adapter.lost = [happened]
    request = validate(UpdateCapability, change)
    if happened:
        assert (await service.update("one.a1", "x", request, context())) == adapter.bindings["x"]
    else:
        with pytest.raises(errors.OutcomeUnknown):
            await service.update("one.a1", "x", request, context())
    assert adapter.world.asked == ["update_capability", "list_capabilities"]


@pytest.mark.parametrize("happened", [True, False])
async def test_a_lost_removal_of_a_binding_is_verified_by_the_list(happened: bool) -> None:
    adapter, service = _bindings("x")
    adapter.lost = [happened]
    if happened:
        await service.remove("one.a1", "x", context())
    else:
        with pytest.raises(errors.OutcomeUnknown):
            await service.remove("one.a1", "x", context())
    assert ("x" in adapter.bindings) is not happened
