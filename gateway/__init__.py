"""runtime-gateway: one domain model, one HTTP API and one set of errors over every provider of agent runtimes."""

__version__ = "0.1.0"
