"""The config of a durable runtime: bounds are reported with pointers, unknown keys as warnings, the document is
kept."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.config import RuntimeConfig, unknown_keys
from gateway.domain.errors import FieldError, ValidationFailed
from gateway.domain.validation import validate

UUID = "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"version": "v1"}, "#/version"),
    ({"version": None}, "#/version"),
    ({"build": None}, "#/build"),
    ({"build": {"profile": ""}}, "#/build/profile"),
    ({"build": {"profile": 1}}, "#/build/profile"),
    ({"build": {"provider": "podman"}}, "#/build/provider"),
    ({"build": {"source": {"kind": ""}}}, "#/build/source/kind"),
    ({"build": {"source": {"ref": ""}}}, "#/build/source/ref"),
    ({"build": {"source": "builtin"}}, "#/build/source"),
    ({"capabilities": {}}, "#/capabilities"),
    ({"capabilities": [{}]}, "#/capabilities/0/name"),
    ({"capabilities": [{"name": ""}]}, "#/capabilities/0/name"),
    ({"capabilities": [{"name": "a"}, {"name": "b", "version": ""}]}, "#/capabilities/1/version"),
    ({"capabilities": [{"name": "a", "enabled": "yes"}]}, "#/capabilities/0/enabled"),
    ({"capabilities": [{"name": "a", "enabled": None}]}, "#/capabilities/0/enabled"),
    ({"defaults": {"agent": ""}}, "#/defaults/agent"),
    ({"defaults": {"capability": ""}}, "#/defaults/capability"),
    ({"defaults": {"model": ""}}, "#/defaults/model"),
    ({"defaults": {"system_prompt": 7}}, "#/defaults/system_prompt"),
    ({"metadata": {"labels": {"team": 1}}}, "#/metadata/labels/team"),
    ({"metadata": {"labels": None}}, "#/metadata/labels"),
    ({"resources": {"cpu_cores": 0}}, "#/resources/cpu_cores"),
    ({"resources": {"cpu_cores": 33}}, "#/resources/cpu_cores"),
    ({"resources": {"cpu_cores": 1.5}}, "#/resources/cpu_cores"),
    ({"resources": {"cpu_cores": True}}, "#/resources/cpu_cores"),
    ({"resources": {"cpu_cores": "2"}}, "#/resources/cpu_cores"),
    ({"resources": {"memory_mb": "2048"}}, "#/resources/memory_mb"),
    ({"resources": {"memory_mb": None}}, "#/resources/memory_mb"),
    ({"runtime_server": {"env": {"A/B": 1}}}, "#/runtime_server/env/A~1B"),
    ({"runtime_server": {"env": []}}, "#/runtime_server/env"),
    ({"sandbox": {"exposed_ports": [80, 0]}}, "#/sandbox/exposed_ports/1"),
    ({"sandbox": {"exposed_ports": [65536]}}, "#/sandbox/exposed_ports/0"),
    ({"sandbox": {"timeout_seconds": "60"}}, "#/sandbox/timeout_seconds"),
    ({"sandbox": {"workspace_mount": 1}}, "#/sandbox/workspace_mount"),
    ({"sandbox": {"egress": {}}}, "#/sandbox/egress/allow"),
    ({"sandbox": {"egress": {"allow": ["a.test"] * 51}}}, "#/sandbox/egress/allow"),
    *(
        ({"sandbox": {"egress": {"allow": [target]}}}, "#/sandbox/egress/allow/0")
        for target in (
            "",
            "*",
            "localhost",
            "*.com*",
            "https://a.test",
            "a.test/path",
            "a.test:443",
            "10.0.0.1/8",
            "tcp://a.test",
            "tcp://a.test:0",
            "tcp://a.test:65536",
            "tcp://*.a.test:443",
            "a..test",
            "-a.test",
            f"{'a' * 64}.test",
        )
    ),
    ({"secrets": {"secret_ids": ["not-a-uuid"]}}, "#/secrets/secret_ids/0"),
    ({"secrets": {"secret_ids": None}}, "#/secrets/secret_ids"),
]


@pytest.mark.parametrize(("document", "where"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_bad_field_is_refused_at_its_pointer(document: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        validate(RuntimeConfig, document)
    assert [fault.pointer for fault in caught.value.errors] == [where]


ACCEPTED: list[dict[str, Any]] = [
    {},
    {"version": "v2"},
    {"build": {"profile": "p", "provider": "opensandbox", "source": {"kind": "git", "ref": "main"}}},
    {"capabilities": [{"name": "a", "version": None}, {"name": "b", "version": "1", "enabled": False}]},
    {"defaults": {"agent": None, "capability": None, "model": None, "system_prompt": ""}},
    {"resources": {"cpu_cores": 1, "memory_mb": -1}},
    {"resources": {"cpu_cores": 32.0}},
    {"sandbox": {"exposed_ports": [1, 65535], "timeout_seconds": None, "egress": None}},
    {"sandbox": {"timeout_seconds": 0, "egress": {"allow": []}}},
    {
        "sandbox": {
            "egress": {
                "allow": [
                    "a.test",
                    "*.A.Test",
                    "10.0.0.0/8",
                    "10.1.2.3",
                    "::1",
                    "tcp://a.test:443",
                    "tcp://[::1]:22",
                    "tcp://10.0.0.1:1",
                ]
            }
        }
    },
    {"secrets": {"secret_ids": [UUID, UUID.upper()]}},
]


@pytest.mark.parametrize("document", ACCEPTED, ids=lambda value: str(value)[:60])
def test_limit_values_are_accepted_and_the_document_is_kept(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    assert validate(RuntimeConfig, document).document == before


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(ValidationFailed) as caught:
        validate(RuntimeConfig, {"version": "v3", "resources": {"cpu_cores": 99}}, at=("config",))
    assert {fault.pointer for fault in caught.value.errors} == {"#/config/version", "#/config/resources/cpu_cores"}
    assert "and 1 more" in caught.value.detail


def test_unknown_keys_are_accepted_at_every_level_with_a_warning() -> None:
    document = {
        "x": 1,
        "build": {"cache": True, "source": {"depth": 1}},
        "capabilities": [{"name": "a"}, {"name": "b", "pin/ned": True}],
        "runtime_server": {"env": {"FREE": "text"}},
        "sandbox": {"egress": {"allow": [], "deny": []}},
    }
    config = validate(RuntimeConfig, document)
    assert config.document == document
    assert {warning.pointer for warning in unknown_keys(config)} == {
        "#/config/x",
        "#/config/build/cache",
        "#/config/build/source/depth",
        "#/config/capabilities/1/pin~1ned",
        "#/config/sandbox/egress/deny",
    }


def test_a_config_of_known_keys_has_no_warnings() -> None:
    assert unknown_keys(validate(RuntimeConfig, {"metadata": {"labels": {"any": "label"}}})) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(list(RuntimeConfig.model_fields)) | st.text(max_size=6), JSON, max_size=5))
def test_any_document_is_kept_verbatim_or_refused_with_pointers(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    faults: Sequence[FieldError] = ()
    try:
        assert validate(RuntimeConfig, document, at=("config",)).document == before
    except ValidationFailed as refused:
        faults = refused.errors
    assert all(fault.pointer is not None and fault.pointer.startswith("#/config") for fault in faults)
    assert document == before


def test_environment_values_are_secrets_and_are_not_in_the_repr() -> None:
    config = validate(RuntimeConfig, {"runtime_server": {"env": {"A": "hunter2", "B": "swordfish"}}})
    assert sorted(config.secret_values()) == ["hunter2", "swordfish"]
    assert "hunter2" not in f"{config!r} {config}"


def test_a_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(ValidationFailed) as caught:
        validate(RuntimeConfig, {"runtime_server": {"env": {"A": ["hunter2"]}}})
    assert "hunter2" not in str(caught.value) + str(caught.value.errors)
