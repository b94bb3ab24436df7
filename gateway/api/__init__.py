"""The API: route table, handlers, dialects, pass-through, OpenAPI document and documentation site."""

from gateway.api.application import create_admin, create_api

__all__ = ["create_admin", "create_api"]
