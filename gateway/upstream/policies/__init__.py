"""What stands between the use cases and a provider's transport, so that one sick provider hurts nobody."""

from functools import cache, partial

from gateway.domain.values import WorkClass
from gateway.ports.clock import Clock
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Transport
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.policies.breaker import Breaker
from gateway.upstream.policies.bulkhead import Bulkhead
from gateway.upstream.policies.circuit import Circuit, State
from gateway.upstream.policies.deadline import Deadline
from gateway.upstream.policies.retry import Retry
from gateway.upstream.policies.slots import SlotPool


def guarded(
    inner: Transport, settings: ProviderSettings, *, clock: Clock, metrics: Metrics, logger: Logger
) -> Transport:
    """A provider's transport behind all policies, from the outside: bulkhead, retry, breaker, deadline.

    A call keeps its place while it is tried again, so that retries are never more than the places. Each try asks the
    breaker anew and counts there, a try whose time was over as well.
    """
    policies, name = settings.policies, settings.name
    circuits = {work: Circuit(policies.breaker, clock) for work in WorkClass}
    lanes = {lane: SlotPool(limits.in_flight, limits.waiting) for lane, limits in policies.lanes().items()}
    retries = cache(partial(metrics.upstream_retries.labels, name))
    rejections = {lane: metrics.bulkhead_rejected.labels(name, lane) for lane in lanes}

    for work, circuit in circuits.items():
        circuit.changed = partial(_changed, work, circuit, lanes[work], name, logger)
        for state in State:
            metrics.breaker_state.labels(name, work, state).set_function(partial(_is_in, circuit, state))
    for lane, places in lanes.items():
        metrics.bulkhead_limit.labels(name, lane).set(places.limit)
        metrics.bulkhead_in_flight.labels(name, lane).set_function(partial(getattr, places, "in_flight"))
        metrics.bulkhead_waiting.labels(name, lane).set_function(partial(getattr, places, "waiting"))

    one_try = policies.retry.attempt_share if policies.retry.tries > 1 else 1.0
    breaker = Breaker(Deadline(inner, one_try, clock, settings.deadline), circuits)
    retry = Retry(breaker, policies.retry, clock, lambda reason: retries(reason).inc())
    return Bulkhead(retry, lanes, circuits, clock, lambda lane: rejections[lane].inc())


def _is_in(circuit: Circuit, state: State) -> float:
    return float(circuit.state is state)


def _changed(work: WorkClass, circuit: Circuit, places: SlotPool, provider: str, logger: Logger, state: State) -> None:
    told = {"provider": provider, "class": work, "state": state}
    if state is State.OPEN:
        places.turn_away()
        rest = round(circuit.refuses_for() or 0, 3)
        logger.warning(Event.BREAKER, **told, retry_after=rest)
    else:
        logger.info(Event.BREAKER, **told)
