"""All metrics. Their labels are bounded: route templates and configured names, never ids (``docs/metrics.md``)."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

from gateway import __version__
from gateway.ports.clock import Clock
from gateway.telemetry.fast_histogram import FastCounter, FastHistogram
from gateway.telemetry.merged_metrics import SAMPLED_AT, MergedMetrics

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240)
_OVERHEAD_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)

# The time at which each series began would be one more series per counter, which Prometheus does not use.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One registry per application, so that several can live in one process."""

    content_type: Final = "text/plain; version=0.0.4; charset=utf-8"

    snapshots: Callable[[], Awaitable[Sequence[bytes]]] | None = None
    """Returns the snapshots of all workers; None: this process is the only one."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self.requests = FastCounter(
            "rtgw_requests",
            "Responses sent, by status, error code and error source.",
            ["surface", "operation", "status", "code", "source"],
            registry,
        )
        self.request_seconds = FastHistogram(
            "rtgw_request_duration_seconds",
            "Time from the head of a request to its response.",
            ["surface", "operation"],
            _SECONDS,
            registry,
        )
        self.overhead_seconds = FastHistogram(
            "rtgw_gateway_overhead_seconds",
            "Time of a request that was not spent waiting for providers.",
            ["surface", "operation"],
            _OVERHEAD_SECONDS,
            registry,
        )
        self.upstream_requests = FastCounter(
            "rtgw_upstream_requests",
            "Requests sent to providers, by the HTTP status of the response or the reason why there is none.",
            ["provider", "operation", "outcome"],
            registry,
        )
        self.upstream_seconds = FastHistogram(
            "rtgw_upstream_request_duration_seconds",
            "Duration of requests to providers.",
            ["provider", "operation"],
            _SECONDS,
            registry,
        )
        self.upstream_retries = counter(
            "rtgw_upstream_retries",
            "Requests to providers that were retried, by the reason of the retry.",
            ["provider", "reason"],
        )
        self.breaker_state = gauge(
            "rtgw_breaker_state",
            "1 for the current state of the circuit breaker of a class of work, 0 for the other states.",
            ["provider", "class", "state"],
        )
        self.bulkhead_in_flight = gauge(
            "rtgw_bulkhead_in_flight", "Provider calls of a class of work that are in progress.", ["provider", "class"]
        )
        self.bulkhead_waiting = gauge(
            "rtgw_bulkhead_waiting", "Provider calls of a class of work that wait for a slot.", ["provider", "class"]
        )
        self.bulkhead_limit = gauge(
            "rtgw_bulkhead_limit",
            "Maximum number of concurrent provider calls of a class of work.",
            ["provider", "class"],
        )
        self.bulkhead_rejected = counter(
            "rtgw_bulkhead_rejected",
            "Provider calls that were refused because too many were in progress and waiting.",
            ["provider", "class"],
        )
        self.native_in_flight = gauge(
            "rtgw_native_in_flight",
            "Pass-through requests to a provider that are in progress, including streams and WebSockets.",
            ["provider"],
        )
        self.native_in_flight_limit = gauge(
            "rtgw_native_in_flight_limit",
            "Maximum number of concurrent pass-through requests to a provider.",
            ["provider"],
        )
        self.data_connections = gauge(
            "rtgw_data_connections", "Open requests and WebSockets through the data plane.", ["protocol"]
        )
        self.data_bytes = counter(
            "rtgw_data_bytes",
            "Bytes through the data plane: in is to the runtime. Counted when a connection ends.",
            ["protocol", "direction"],
        )
        self.data_ended = counter(
            "rtgw_data_connections_ended",
            "Connections through the data plane that have ended, by the gateway's close code; empty: by a side.",
            ["protocol", "code"],
        )
        self.credentials_ok = gauge(
            "rtgw_provider_credentials_ok",
            "1 if the provider accepted the gateway's credentials the last time, 0 if it rejected them.",
            ["provider"],
        )
        self.intents_open = gauge(
            "rtgw_intents_open", "Creates whose outcome is not settled, as last read from the store.", ["state"]
        )
        self.intent_oldest_age = gauge(
            "rtgw_intent_oldest_age_seconds",
            "Age of the oldest create whose outcome is not settled; 0 when there is none.",
        )
        self.intents_surplus = gauge("rtgw_intents_surplus", "Creates for which more than one runtime was found.")
        self.intents_settled = counter("rtgw_intents_settled", "Creates that this process settled.", ["outcome"])
        self.lifetime_ends = counter(
            "rtgw_lifetime_ends",
            "Instances at their maximum lifetime that this process ended, and failed tries to do so.",
            ["provider", "outcome"],
        )
        self.lifetime_overdue = gauge(
            "rtgw_lifetime_overdue_seconds",
            "For how long the oldest instance has been beyond its maximum lifetime; 0 when there is none.",
        )
        self.store_up = gauge("rtgw_store_up", "1 while the store responds and can be written to, otherwise 0.")
        self.event_loop_lag = gauge("rtgw_event_loop_lag_seconds", "Lag of the event loop at the last measurement.")
        self.requests_in_flight = gauge(
            "rtgw_requests_in_flight", "Requests of the API and the dialects that are in progress."
        )
        self.waiting = gauge("rtgw_waiting", "Callers that wait, and creates and starts that go on without theirs.")
        self.connections = gauge("rtgw_connections", "Open connections of clients.")
        self.requests_rejected = counter(
            "rtgw_requests_rejected",
            "Requests and connections that were refused because a limit was reached.",
            ["reason"],
        )
        self.wrong_keys = counter("rtgw_wrong_keys", "Requests with a key that is not one of the gateway.")
        self.limit_refusals = counter(
            "rtgw_limit_refusals", "Requests that a limit of a principal or of a provider's account refused.", ["limit"]
        )
        self.limits_shared = gauge(
            "rtgw_limits_storage_up", "0 while requests are counted alone because limits.storage is away, otherwise 1."
        )
        self.limits_counted_alone = counter(
            "rtgw_limits_counted_alone",
            "Requests that this process counted alone, because limits.storage could not be reached.",
        )
        self.key_set_fetches = counter(
            "rtgw_key_set_fetches", "Fetches of the key sets of issuers of tokens.", ["issuer", "outcome"]
        )
        self.access_age = gauge(
            "rtgw_access_data_age_seconds", "Time since the keys and principals were last compared with the store."
        )
        self.audit_events = counter("rtgw_audit_events", "Events recorded in the audit trail.", ["outcome"])
        self.audit_journal_bytes = gauge(
            "rtgw_audit_journal_bytes",
            "Size of the audit events that are not in the store yet, and of those just moved.",
        )
        self.reload_successful = gauge(
            "rtgw_config_last_reload_successful",
            "1 if the last reload of the settings succeeded, 0 if older settings are still in effect.",
        )
        self.reload_seconds = gauge(
            "rtgw_config_last_reload_success_timestamp_seconds",
            "Time when the effective settings were read, in seconds since the epoch.",
        )
        self.cache_requests = FastCounter(
            "rtgw_cache_requests", "Cacheable reads, by their result.", ["operation", "result"], registry
        )
        self.cache_entries = gauge("rtgw_cache_entries", "Responses in the read cache.")
        self.cache_bytes = gauge("rtgw_cache_bytes", "Approximate size of the responses in the read cache.")
        self.queue_depth = gauge(
            "rtgw_queue_depth", "Background work in progress or waiting in this process.", ["queue"]
        )
        self.dropped = counter(
            "rtgw_dropped",
            "Requests, connections, log lines, runtime specs and audit events that were dropped.",
            ["what"],
        )
        self._add_lists(counter, gauge)
        ProcessCollector(registry=registry)  # reads /proc when /metrics is read
        build = gauge("rtgw_build_info", "The version of the gateway; always 1.", ["version"])
        build.labels(__version__).set(1)

    def _add_lists(self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]) -> None:
        """The metrics of what providers list."""
        self.unreadable_rows = counter(
            "rtgw_unreadable_rows",
            "Rows of providers' lists that were left out because they could not be read.",
            ["provider"],
        )
        self.runtimes = gauge(
            "rtgw_runtimes", "Runtimes of the provider at its last complete list.", ["provider", "kind", "state"]
        )
        self.runtimes_credits = gauge(
            "rtgw_runtimes_credits",
            "Credits of the current instances at that time, of the runtimes whose costs the provider reports.",
            ["provider", "part"],
        )
        self.runtimes_priced = gauge(
            "rtgw_runtimes_priced", "For how many of the runtimes the provider reported a cost.", ["provider"]
        )
        self.runtimes_sampled = gauge(
            SAMPLED_AT, "When the last complete list of the provider began, in seconds since the epoch.", ["provider"]
        )

    def forget_provider(self, name: str) -> None:
        for labelled in (
            self.native_in_flight,
            self.native_in_flight_limit,
            self.credentials_ok,
            self.runtimes,
            self.runtimes_credits,
            self.runtimes_priced,
            self.runtimes_sampled,
            self.breaker_state,
            self.bulkhead_in_flight,
            self.bulkhead_waiting,
            self.bulkhead_limit,
        ):
            labelled.remove_by_labels({"provider": name})

    async def exposition(self) -> bytes:
        every = None if self.snapshots is None else MergedMetrics(await self.snapshots())
        return generate_latest(every or self.registry)


_EVERY_SECONDS: Final = 0.5


async def measure_loop_lag(metrics: Metrics, clock: Clock) -> None:
    """Measure the lag every half second, until the task is cancelled."""
    while True:
        due = clock.monotonic() + _EVERY_SECONDS
        await clock.sleep(_EVERY_SECONDS)
        metrics.event_loop_lag.set(max(0.0, clock.monotonic() - due))
