"""The adapters: one folder for each provider API. ``registry`` finds the folders."""

DISTRIBUTION = "runtime-gateway"
"""Distinguishes this package from others of the same name; ``gateway.ports.distribution`` looks for it."""
