"""The settings of a durable provider, and the scopes and references that it accepts."""

import pytest
from pydantic import ValidationError

from adapters.durable import PLUGIN
from gateway.domain.errors import NotFound
from gateway.domain.ids import RuntimeRef, b64url
from tests.unit.adapters.durable.fakes import OTHER, SCOPE, TOKEN, UUID, adapter, page, settings
from tests.unit.adapters.fakes import CALL, answer


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("http://h", "/api/v1/org/acme/ws/research/runtimes"),
        ("http://h/", "/api/v1/org/acme/ws/research/runtimes"),
        ("http://h/facade/dn", "/api/v1/org/acme/ws/research/runtimes"),
        ("http://h/api/v1", "/org/acme/ws/research/runtimes"),
        ("http://h/api/v1/", "/org/acme/ws/research/runtimes"),
        ("http://h/facade/api", "/org/acme/ws/research/runtimes"),
        ("http://api", "/api/v1/org/acme/ws/research/runtimes"),
    ],
)
async def test_base_url_is_completed_as_by_the_providers_client(base_url, path):
    durable, transport = adapter(page(), base_url=base_url)
    await durable.check_credentials(CALL)
    assert transport.sent[0].path == path


async def test_token_is_sent_in_the_header_chosen_by_auth():
    durable, transport = adapter(page())
    await durable.check_credentials(CALL)
    assert transport.sent[0].headers == {"X-API-Key": TOKEN, "X-Dreadnode-Network": "public"}
    durable, transport = adapter(page(), auth="bearer", network="cluster")
    await durable.check_credentials(CALL)
    assert transport.sent[0].headers == {"Authorization": f"Bearer {TOKEN}", "X-Dreadnode-Network": "cluster"}


async def test_token_is_not_in_any_repr():
    durable, transport = adapter(page())
    await durable.check_credentials(CALL)
    assert TOKEN not in repr((durable, durable.settings, transport.sent[0]))


@pytest.mark.parametrize(
    "scope", ["acme", "acme/", "/research", "a/b/c", "a b/c", "acme/res.earch", "ä/b", "a/b\n", ""]
)
def test_scope_that_is_not_two_slugs_is_refused(scope):
    with pytest.raises(ValidationError, match="org/workspace"):
        settings(scope=scope)
    with pytest.raises(ValueError, match="org/workspace"):
        adapter()[0].parse_scope(scope)


def test_valid_scope_is_returned_unchanged():
    assert adapter()[0].parse_scope("Acme_1/re-search") == "Acme_1/re-search"


def test_reference_of_a_pinned_provider_is_the_uuid_in_either_case():
    durable, _ = adapter()
    assert durable.parse_reference(UUID.upper()) == RuntimeRef(SCOPE, UUID)
    assert durable.parse_reference(UUID) == RuntimeRef(SCOPE, UUID)


def test_reference_of_an_open_provider_contains_the_scope():
    durable, _ = adapter(scope=None)
    assert durable.parse_reference(f"{b64url('org/ws')}~{UUID.upper()}") == RuntimeRef("org/ws", UUID)


@pytest.mark.parametrize(
    ("scope", "reference"),
    [
        (SCOPE, "agent"),
        (SCOPE, f"{b64url(SCOPE)}~{UUID}"),
        (SCOPE, UUID[:-1]),
        (SCOPE, UUID.replace("-", "")),
        (None, UUID),
        (None, f"~{UUID}"),
        (None, f"{b64url('no-slash')}~{UUID}"),
        (None, f"{b64url(SCOPE)}~{UUID}~{OTHER}"),
        (None, f"{b64url(SCOPE)}=~{UUID}"),
        (None, f"____~{UUID}"),
    ],
)
def test_malformed_reference_is_not_found(scope, reference):
    with pytest.raises(NotFound):
        adapter(scope=scope)[0].parse_reference(reference)


async def test_runtime_id_is_parsed_back_to_its_reference():
    for scope in (SCOPE, None):
        durable, _ = adapter(answer(200, {"id": UUID.upper()}), scope=scope)
        runtime = await durable.get(RuntimeRef(SCOPE, UUID), CALL)
        provider, _, reference = runtime.id.partition(".")
        assert provider == "dn"
        assert durable.parse_reference(reference) == durable.reference(runtime) == RuntimeRef(SCOPE, UUID)


async def test_open_provider_checks_credentials_with_the_user_route():
    durable, transport = adapter(answer(200, {"id": "u"}), scope=None)
    await durable.check_credentials(CALL)
    assert (transport.sent[0].method, transport.sent[0].path) == ("GET", "/api/v1/user")


def test_plugin_has_the_folders_name_and_a_valid_demo():
    assert PLUGIN.api == "durable"
    demo = PLUGIN.demo
    assert settings(name=demo.provider, scope=demo.scope).scope == "acme/research"
    assert PLUGIN.personalities == {"key_uniqueness": ("workspace", "owner"), "get_by_key": ("yes", "no")}


def test_features_are_exactly_those_of_the_api():
    assert PLUGIN.adapter.features == {
        *("config", "capability_bindings", "start", "pause", "stop", "stop_discards_state", "reset", "keepalive"),
        *("connections", "create_idle", "display_name", "description", "project", "labels", "runtime_limit_seconds"),
        "config_v2",
    }
