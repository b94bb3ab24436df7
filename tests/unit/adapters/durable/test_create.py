"""What a create sends, and how its response is interpreted."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.durable.mapping import create_body
from gateway.domain.errors import OutcomeUnknown, UnsupportedFeature, ValidationFailed
from gateway.domain.requests import CreateBrowser
from gateway.domain.validation import validate
from tests.unit.adapters.durable.fakes import SCOPE, UUID, W, adapter, create, failure, row
from tests.unit.adapters.fakes import CALL, answer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))
UNKNOWN = st.dictionaries(TEXTS.map(lambda name: "x" + name), JSON, max_size=2)


def _section(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of the known members, and with unknown ones."""
    return st.builds(lambda some, more: {**more, **some}, st.fixed_dictionaries({}, optional=known), UNKNOWN)


FILLED = TEXTS.filter(bool)
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=3)
CONFIGS = _section(
    version=st.just("v2"),
    build=_section(
        profile=FILLED, provider=st.sampled_from(["auto", "docker", "e2b"]), source=_section(kind=FILLED, ref=FILLED)
    ),
    capabilities=st.lists(
        st.builds(
            lambda name, more: {**more, "name": name},
            FILLED,
            _section(version=st.none() | FILLED, enabled=st.booleans()),
        ),
        max_size=2,
    ),
    defaults=_section(agent=st.none() | FILLED, system_prompt=st.none() | TEXTS),
    metadata=_section(labels=LABELS),
    resources=_section(cpu_cores=st.integers(1, 32) | st.just(4.0), memory_mb=st.integers()),
    runtime_server=_section(env=LABELS),
    sandbox=_section(
        exposed_ports=st.lists(st.integers(1, 65535), max_size=3),
        timeout_seconds=st.none() | st.integers(),
        workspace_mount=st.booleans(),
        egress=st.none() | st.fixed_dictionaries({"allow": st.lists(st.just("*.example.org"), max_size=2)}),
    ),
    secrets=_section(secret_ids=st.lists(st.just(UUID), max_size=2)),
)


@given(config=CONFIGS)
def test_config_is_sent_byte_for_byte_as_written(config):
    """No value is filled in, dropped, reordered or normalised; absent, null and empty stay different."""
    document = msgspec.json.encode(config)
    body = create_body(create(config=msgspec.json.decode(document)))
    assert body == b'{"key":"agent","config":' + document + b"}"


@given(config=CONFIGS, labels=LABELS)
def test_labels_change_only_the_labels_of_the_config(config, labels):
    config.get("metadata", {}).pop("labels", None)
    before = msgspec.json.encode(config)
    sent = msgspec.json.decode(create_body(create(config=config, labels=labels)))["config"]
    assert sent["metadata"].pop("labels") == labels
    if not sent["metadata"] and "metadata" not in config:
        del sent["metadata"]
    assert msgspec.json.encode(sent, order="deterministic") == msgspec.json.encode(
        msgspec.json.decode(before), order="deterministic"
    )
    assert msgspec.json.encode(config) == before, "the request itself was changed"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"display_name": "A"}, {"name": "A"}),
        ({"description": ""}, {"description": ""}),
        ({"project": None}, {"project": None}),
        ({"project": "shop"}, {"project": "shop"}),
        ({"runtime_limit_seconds": 60}, {"requested_runtime_limit_seconds": 60}),
        ({"config": None}, {"config": None}),
        ({"config": {}}, {"config": {}}),
        ({"labels": {}}, {"config": {"metadata": {"labels": {}}}}),
        ({"labels": {"a": "b"}, "config": None}, {"config": {"metadata": {"labels": {"a": "b"}}}}),
        ({"start": False, "if_exists": "fail", "provider": "dn", "scope": SCOPE}, {}),
    ],
)
async def test_create_sends_only_the_callers_fields(fields, expected):
    durable, transport = adapter(answer(201, row()))
    await durable.create(create(**fields), SCOPE, CALL)
    (sent,) = transport.sent
    assert (sent.method, sent.path, sent.query) == ("POST", W, ())
    assert msgspec.json.decode(sent.body) == {"key": "agent", **expected}


@pytest.mark.parametrize(
    ("status", "member", "created"),
    [
        (201, {}, True),
        (200, {}, False),
        (200, {"created": True}, True),
        (201, {"created": False}, False),
        (201, {"created": None}, True),
        (200, {"created": "yes"}, False),
    ],
)
async def test_created_is_read_from_the_body_else_from_the_status(status, member, created):
    durable, _ = adapter(answer(status, row(**member)))
    made = await durable.create(create(), SCOPE, CALL)
    assert made.created is created
    assert made.runtime.provider_data == {}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id": "not-a-uuid"}', b"\xff", b'{"id":[' * 90_000])
async def test_create_with_an_unreadable_success_body_is_outcome_unknown(body):
    durable, _ = adapter(answer(201, body))
    with pytest.raises(OutcomeUnknown) as caught:
        await durable.create(create(), SCOPE, CALL)
    assert caught.value.failure is not None
    assert caught.value.failure.status == 201


async def test_refused_create_points_to_the_gateways_field_names():
    items = [{"loc": ["body", "key"], "msg": "bad", "type": "string_too_long"}]
    durable, _ = adapter(failure(422, "validation_error", errors=items))
    with pytest.raises(ValidationFailed) as caught:
        await durable.create(create(), SCOPE, CALL)
    assert [field.pointer for field in caught.value.errors] == ["#/name"]


def test_each_provider_option_is_refused_at_its_pointer():
    durable, _ = adapter()
    with pytest.raises(ValidationFailed) as caught:
        durable.check_create(create(provider_options={"a/b": 1, "c": None}))
    assert [field.pointer for field in caught.value.errors] == ["#/provider_options/a~1b", "#/provider_options/c"]


def test_labels_that_differ_from_the_configs_labels_are_refused():
    durable, _ = adapter()
    durable.check_create(create(labels={"a": "b"}, config={"metadata": {"labels": {"a": "b"}}}))
    durable.check_create(create(labels={"a": "b"}, config={"metadata": {}}))
    durable.check_create(create(config={"metadata": {"labels": {"a": "b"}}}))
    with pytest.raises(ValidationFailed) as caught:
        durable.check_create(create(labels={}, config={"metadata": {"labels": {"a": "b"}}}))
    assert caught.value.errors[0].pointer == "#/labels"


def test_create_of_a_browser_is_an_unsupported_feature():
    durable, _ = adapter()
    with pytest.raises(UnsupportedFeature):
        durable.check_create(validate(CreateBrowser, {"kind": "browser", "name": "b"}))


async def test_invalid_unicode_and_deep_nesting_are_refused_before_sending():
    endless: list[Any] = []
    for _ in range(100_000):
        endless = [endless]
    for odd in ("\ud800", endless):
        durable, transport = adapter()
        request = create(config={})
        request.config.document["more"] = odd
        with pytest.raises(ValidationFailed) as caught:
            await durable.create(request, SCOPE, CALL)
        assert caught.value.errors[0].pointer == "#/config"
        assert transport.sent == []


@pytest.mark.parametrize("key", ["another", None])
async def test_create_response_with_another_key_does_not_answer_the_create(key: str | None) -> None:
    durable, _ = adapter(answer(201, row(key=key)))
    created = await durable.create(create(name="shop"), SCOPE, CALL)
    assert not durable.answers_create(created.runtime, "shop", SCOPE)
    assert durable.answers_create(created.runtime, "another", SCOPE) is (key == "another")
