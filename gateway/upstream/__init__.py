"""Outbound HTTP: the transport that reaches a provider, and the policies that wrap any transport."""
