"""Callers that wait for a runtime to change, or for a create or start (docs/api.md#waiting)."""
