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
async def test_the_base_url_is_completed_as_by_the_providers_own_client(base_url, path):
    durable, transport = adapter(page(), base_url=base_url)
    await durable.check_credentials(CALL)
    assert transport.sent[0].path == path


async def test_the_token_goes_in_the_header_that_the_settings_name():
    durable, transport = adapter(page())
    await durable.check_credentials(CALL)
    assert transport.sent[0].headers == {"X-API-Key": TOKEN, "X-Dreadnode-Network": "public"}
    durable, transport = adapter(page(), auth="bearer", network="cluster")
    await durable.check_credentials(CALL)
    assert transport.sent[0].headers == {"Authorization": f"Bearer {TOKEN}", "X-Dreadnode-Network": "cluster"}


async def test_the_token_is_in_no_repr():
    durable, transport = adapter(page())
    await durable.check_credentials(CALL)
    assert TOKEN not in repr((durable, durable.settings, transport.sent[0]))


@pytest.mark.parametrize(
    "scope", ["acme", "acme/", "/research", "a/b/c", "a b/c", "acme/res.earch", "ä/b", "a/b\n", ""]
)
def test_a_scope_is_two_slugs(scope):
    with pytest.raises(ValidationError, match="org/workspace"):
        settings(scope=scope)
    with pytest.raises(ValueError, match="org/workspace"):
        adapter()[0].parse_scope(scope)


def test_a_good_scope_is_its_own_canonical_form():
    assert adapter()[0].parse_scope("Acme_1/re-search") == "Acme_1/re-search"


def test_a_pinned_providers_reference_is_the_uuid_in_either_case():
    durable, _ = adapter()
    assert durable.parse_reference(UUID.upper()) == RuntimeRef(SCOPE, UUID)
    assert durable.parse_reference(UUID) == RuntimeRef(SCOPE, UUID)


def test_an_open_providers_reference_carries_the_scope():
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
def test_any_other_reference_is_not_found(scope, reference):
    with pytest.raises(NotFound):
        adapter(scope=scope)[0].parse_reference(reference)


async def test_a_runtimes_id_leads_back_to_it_pinned_or_open():
    for scope in (SCOPE, None):
        durable, _ = adapter(answer(200, {"id": UUID.upper()}), scope=scope)
        runtime = await durable.get(RuntimeRef(SCOPE, UUID), CALL)
        provider, _, reference = runtime.id.partition(".")
        assert provider == "dn"
        assert durable.parse_reference(reference) == durable.reference(runtime) == RuntimeRef(SCOPE, UUID)


async def test_an_open_provider_checks_its_credentials_at_the_account():
    durable, transport = adapter(answer(200, {"id": "u"}), scope=None)
    await durable.check_credentials(CALL)
    assert (transport.sent[0].method, transport.sent[0].path) == ("GET", "/api/v1/user")


def test_the_plugin_is_named_as_its_folder_and_its_demo_is_valid():
    assert PLUGIN.api == "durable"
    demo = PLUGIN.demo
    assert settings(name=demo.provider, scope=demo.scope).scope == "acme/research"
    assert PLUGIN.personalities == {"key_uniqueness": ("workspace", "owner"), "get_by_key": ("yes", "no")}


def test_the_features_say_what_the_api_has_and_nothing_more():
    assert PLUGIN.adapter.features == {
        *("config", "capability_bindings", "start", "pause", "stop", "stop_discards_state", "reset", "keepalive"),
        *("connections", "create_idle", "display_name", "description", "project", "labels", "runtime_limit_seconds"),
        "config_v2",
    }
