"""Inbound HTTP: the route table and its handlers, problems, the OpenAPI document, the documentation, the server."""

from gateway.api.application import create_admin, create_api
from gateway.http.limits import HttpLimits

__all__ = ["HttpLimits", "create_admin", "create_api"]
