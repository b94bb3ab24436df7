"""The settings of one of several workers: together they have the bounds that the settings state."""

from typing import TypeVar

from gateway.domain.limits import share
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.section import Section
from gateway.settings.model import Settings

_S = TypeVar("_S", bound=Section)


def of_one_worker(settings: Settings, workers: int) -> Settings:
    """The settings with the bounds of what is in flight divided by the number of workers."""

    def part(section: _S, *names: str) -> _S:
        bounds = {name: bound for name in names if (bound := getattr(section, name)) is not None}
        return section.model_copy(update={name: share(bound, workers) for name, bound in bounds.items()})

    def provider(one: ProviderSettings) -> ProviderSettings:
        lanes = {name: part(lane, "in_flight", "waiting") for name, lane in one.policies.lanes().items()}
        policies = one.policies.model_copy(update=lanes)
        return one.model_copy(update={"policies": policies, "native": part(one.native, "max_in_flight")})

    connections = ("max_connections", "max_idle_connections_per_address")
    return settings.model_copy(
        update={
            "http": part(settings.http, *connections, "max_requests_in_flight", "max_waiting"),
            "data": part(settings.data, "max_connections"),
            "creates": part(settings.creates, "settling_in_flight"),
            "providers": {name: provider(one) for name, one in settings.providers.items()},
        }
    )
