"""Assembles the samples of what providers have, for metrics."""

from collections.abc import AsyncIterator, Callable
from functools import partial

from aiohttp import web

from gateway.app.serving import in_background
from gateway.services import Services
from gateway.services.fleet import Fleet
from gateway.services.health import Lead
from gateway.services.usage_samples import UsageSamples
from gateway.settings import Settings
from gateway.telemetry.logs import Logger
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.signals import UsageSignals


def sampling(
    settings: Settings, fleet: Fleet, services: Services, lead: Lead, *, metrics: Metrics, logger: Logger
) -> list[Callable[[web.Application], AsyncIterator[None]]]:
    """Take samples from the lists of callers, and return the sweep as work in the background, if it is on."""
    samples = UsageSamples(fleet, services.listing, UsageSignals(metrics, logger))
    services.listing.on_whole, services.usage.on_whole = samples.listed, samples.take
    every = settings.usage.sweep_every
    return [] if every is None else [in_background(partial(samples.run, every, lead))]
