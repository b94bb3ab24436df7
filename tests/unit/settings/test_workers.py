"""The settings of one of several workers."""

from pathlib import Path

import pytest

from gateway.app import provider_models
from gateway.settings import Settings, SettingsSource

FILE = """
version: 1
http: {max_requests_in_flight: 7, max_idle_connections_per_address: 2}
auth: none
providers:
  main:
    api: durable
    base_url: http://127.0.0.1:9
    token: a-token
    scope: acme/research
    policies: {read: {in_flight: 30, waiting: 0}, create: {in_flight: 2, waiting: 1}}
"""


def loaded(folder: Path, workers: int) -> Settings:
    file = folder / "gateway.yaml"
    file.write_text(FILE)
    return SettingsSource(file, provider_models(), workers=workers).load().settings


def test_bounds_of_what_is_in_flight_are_divided_and_never_become_0(tmp_path: Path) -> None:
    settings = loaded(tmp_path, 3)
    http, main = settings.http, settings.providers["main"]
    assert (http.max_requests_in_flight, http.max_connections, http.max_waiting) == (2, 666, 333)
    assert http.max_idle_connections_per_address == 1
    assert (settings.data.max_connections, settings.creates.settling_in_flight) == (666, 1)
    read, create = main.policies.read, main.policies.create
    assert (read.in_flight, read.waiting, create.in_flight, create.waiting) == (10, 0, 1, 1)
    assert (main.policies.start.in_flight, main.native.max_in_flight) == (10, 33)


@pytest.mark.parametrize("name", ["store", "cache", "audit", "log", "shutdown", "limits"])
def test_other_settings_are_those_of_the_file(name: str, tmp_path: Path) -> None:
    assert getattr(loaded(tmp_path, 3), name) == getattr(loaded(tmp_path, 1), name)


def test_one_worker_has_the_settings_of_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, 1)
    assert settings.http.max_requests_in_flight == 7
    assert settings.providers["main"].policies.read.in_flight == 30
