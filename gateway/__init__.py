"""runtime-gateway: one domain model, one HTTP API and one set of errors for every provider of agent runtimes."""

__version__ = "0.1.0"

DISTRIBUTION = "runtime-gateway"
"""Distinguishes this package from others of the same name; ``gateway.ports.distribution`` looks for it."""
