"""Logs and metrics of the gateway. The names of all events and metrics are defined here."""
