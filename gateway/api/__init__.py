"""Inbound HTTP: the route table and its handlers, problems, the OpenAPI document, the documentation, the server."""

from gateway.api.application import create_admin, create_api

__all__ = ["create_admin", "create_api"]
