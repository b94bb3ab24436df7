"""All metrics, with bounded labels only: route templates and configured names, never ids (the specification, §6)."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from gateway import __version__
from gateway.telemetry.counts import Counts
from gateway.telemetry.durations import Durations

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240)
_OVERHEAD_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)


class Metrics:
    """One registry per application, so that several can live in one process."""

    content_type: Final = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counts(
            "rtgw_requests",
            "Requests answered.",
            ["surface", "operation", "status", "code", "source"],
            registry,
        )
        self.request_seconds = Durations(
            "rtgw_request_duration_seconds",
            "Time from the head of a request to its answer.",
            ["surface", "operation"],
            _SECONDS,
            registry,
        )
        self.overhead_seconds = Durations(
            "rtgw_gateway_overhead_seconds",
            "Time of a request that was not spent waiting for providers.",
            ["surface", "operation"],
            _OVERHEAD_SECONDS,
            registry,
        )
        self.upstream_requests = Counts(
            "rtgw_upstream_requests",
            "Requests sent to providers, by their HTTP status or the word for why there was none.",
            ["provider", "operation", "outcome"],
            registry,
        )
        self.upstream_seconds = Durations(
            "rtgw_upstream_request_duration_seconds",
            "Time of requests to providers.",
            ["provider", "operation"],
            _SECONDS,
            registry,
        )
        self.upstream_retries = Counter(
            "rtgw_upstream_retries",
            "Requests to providers that were sent again, by what had failed.",
            ["provider", "reason"],
            registry=registry,
        )
        self.breaker_state = Gauge(
            "rtgw_breaker_state",
            "1 for the state that the breaker of a class of work is in, 0 for the others.",
            ["provider", "class", "state"],
            registry=registry,
        )
        self.bulkhead_in_flight = Gauge(
            "rtgw_bulkhead_in_flight",
            "Provider calls of a class of work that are under way.",
            ["provider", "class"],
            registry=registry,
        )
        self.bulkhead_waiting = Gauge(
            "rtgw_bulkhead_waiting",
            "Provider calls of a class of work that wait for their turn.",
            ["provider", "class"],
            registry=registry,
        )
        self.bulkhead_limit = Gauge(
            "rtgw_bulkhead_limit",
            "How many provider calls of a class of work may be under way at once.",
            ["provider", "class"],
            registry=registry,
        )
        self.bulkhead_rejected = Counter(
            "rtgw_bulkhead_rejected",
            "Provider calls that were refused because too many were under way and waiting.",
            ["provider", "class"],
            registry=registry,
        )
        self.native_in_flight = Gauge(
            "rtgw_native_in_flight",
            "Requests that are being passed through to a provider, streams and WebSockets included.",
            ["provider"],
            registry=registry,
        )
        self.native_in_flight_limit = Gauge(
            "rtgw_native_in_flight_limit",
            "How many requests may be passed through to a provider at once.",
            ["provider"],
            registry=registry,
        )
        self.unreadable_rows = Counter(
            "rtgw_unreadable_rows",
            "Rows of providers' lists that could not be read and were left out.",
            ["provider"],
            registry=registry,
        )
        self.credentials_ok = Gauge(
            "rtgw_provider_credentials_ok",
            "1 after the provider last accepted the gateway's credentials, 0 after it last rejected them.",
            ["provider"],
            registry=registry,
        )
        self.intents_open = Gauge(
            "rtgw_intents_open",
            "Creates whose outcome is not settled, as the store last told.",
            ["state"],
            registry=registry,
        )
        self.intent_oldest_age = Gauge(
            "rtgw_intent_oldest_age_seconds",
            "The age of the oldest create whose outcome is not settled; 0 when there is none.",
            registry=registry,
        )
        self.intents_surplus = Gauge(
            "rtgw_intents_surplus",
            "Creates of which more than one runtime was found.",
            registry=registry,
        )
        self.intents_settled = Counter(
            "rtgw_intents_settled",
            "Creates that this process settled.",
            ["outcome"],
            registry=registry,
        )
        self.store_up = Gauge(
            "rtgw_store_up",
            "1 while the store answers and can be written to, 0 while it does not.",
            registry=registry,
        )
        self.event_loop_lag = Gauge(
            "rtgw_event_loop_lag_seconds",
            "By how much the event loop was last late.",
            registry=registry,
        )
        self.requests_in_flight = Gauge(
            "rtgw_requests_in_flight",
            "Requests of the API and the dialects that are being worked on.",
            registry=registry,
        )
        self.connections = Gauge(
            "rtgw_connections",
            "Connections of clients that are open.",
            registry=registry,
        )
        self.requests_rejected = Counter(
            "rtgw_requests_rejected",
            "Requests and connections turned away because a limit was reached.",
            ["reason"],
            registry=registry,
        )
        self.reload_successful = Gauge(
            "rtgw_config_last_reload_successful",
            "1 when the settings were last read without a fault, 0 when those in force are older ones.",
            registry=registry,
        )
        self.reload_seconds = Gauge(
            "rtgw_config_last_reload_success_timestamp_seconds",
            "When the settings in force were read, in seconds since the epoch.",
            registry=registry,
        )
        self.cache_requests = Counts(
            "rtgw_cache_requests",
            "Reads that may be answered from memory, by what became of them.",
            ["operation", "result"],
            registry,
        )
        self.cache_entries = Gauge(
            "rtgw_cache_entries",
            "Answers that are kept in memory.",
            registry=registry,
        )
        self.cache_bytes = Gauge(
            "rtgw_cache_bytes",
            "What the answers that are kept in memory take, about.",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "rtgw_queue_depth",
            "What is under way or waits inside the gateway.",
            ["queue"],
            registry=registry,
        )
        self.dropped = Counter(
            "rtgw_dropped",
            "Things given up because a limit was reached.",
            ["what"],
            registry=registry,
        )
        build = Gauge("rtgw_build_info", "The version that runs.", ["version"], registry=registry)
        build.labels(__version__).set(1)

    def forget_provider(self, name: str) -> None:
        """Show the state of this provider no more: there is none."""
        for gauge in (
            self.native_in_flight,
            self.native_in_flight_limit,
            self.credentials_ok,
            self.breaker_state,
            self.bulkhead_in_flight,
            self.bulkhead_waiting,
            self.bulkhead_limit,
        ):
            gauge.remove_by_labels({"provider": name})

    def exposition(self) -> bytes:
        """All values in the Prometheus text format."""
        return generate_latest(self.registry)
