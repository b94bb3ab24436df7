"""The policies around a provider's transport, so that one failing provider does not affect calls to the others."""

from functools import cache, partial

from gateway.domain.values import WorkClass
from gateway.ports.clock import Clock
from gateway.ports.provider_settings import ProviderSettings
from gateway.ports.transport import Transport
from gateway.telemetry.logs import Event, Logger
from gateway.telemetry.metrics import Metrics
from gateway.upstream.policies.breaker import Breaker, Circuit, State
from gateway.upstream.policies.bulkhead import Bulkhead, SlotPool
from gateway.upstream.policies.deadline import Deadline
from gateway.upstream.policies.retry import Retry


def guarded(
    inner: Transport, settings: ProviderSettings, *, clock: Clock, metrics: Metrics, logger: Logger
) -> Transport:
    """Wrap a provider's transport in all policies, from the outside in: bulkhead, retry, breaker, deadline.

    A call keeps its slot while it is retried, so concurrent retries never exceed the slots. Each attempt passes the
    breaker separately and counts there, including an attempt that timed out.
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
    for lane, slots in lanes.items():
        metrics.bulkhead_limit.labels(name, lane).set(slots.limit)
        metrics.bulkhead_in_flight.labels(name, lane).set_function(partial(getattr, slots, "in_flight"))
        metrics.bulkhead_waiting.labels(name, lane).set_function(partial(getattr, slots, "waiting"))

    attempt_share = policies.retry.attempt_share if policies.retry.tries > 1 else 1.0
    breaker = Breaker(Deadline(inner, attempt_share, clock, settings.deadline), circuits)
    retry = Retry(breaker, policies.retry, clock, lambda reason: retries(reason).inc())
    return Bulkhead(retry, lanes, circuits, clock, lambda lane: rejections[lane].inc())


def _is_in(circuit: Circuit, state: State) -> float:
    return float(circuit.state is state)


def _changed(work: WorkClass, circuit: Circuit, slots: SlotPool, provider: str, logger: Logger, state: State) -> None:
    fields = {"provider": provider, "class": work, "state": state}
    if state is State.OPEN:
        slots.reject_waiting()
        retry_after = round(circuit.refuses_for() or 0, 3)
        logger.warning(Event.BREAKER, **fields, retry_after=retry_after)
    else:
        logger.info(Event.BREAKER, **fields)
