"""One folder per provider API; ``registry`` finds them."""

DISTRIBUTION = "runtime-gateway"
"""Distinguishes this package from others of the same name; ``gateway.ports.distribution`` looks for it."""
