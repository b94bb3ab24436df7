"""Members that are not in the model are shown without secrets."""

import pytest

from gateway.ports.redaction import MAX_DEPTH, is_secret, without_secrets


@pytest.mark.parametrize("name", ["token", "sandboxToken", "client_secret", "proxyPassword", "Credentials", "api_key"])
def test_a_member_with_a_secret_name_is_removed_at_any_depth(name: str) -> None:
    assert without_secrets({"a": [{name: "canary", "b": {name: {"x": "canary"}, "c": 1}}]}) == {"a": [{"b": {"c": 1}}]}


@pytest.mark.parametrize(("name", "value"), [("aiTokensTotal", 7), ("hasPassword", True), ("token", None)])
def test_numbers_flags_and_null_are_not_secrets(name: str, value: object) -> None:
    assert not is_secret(name, value)
    assert without_secrets({name: value}) == {name: value}


def test_user_and_password_are_removed_from_urls() -> None:
    shown = without_secrets({"proxy": "http://shop:canary@proxy.test:3128/a@b"})
    assert shown == {"proxy": "http://proxy.test:3128/a@b"}


def test_a_value_nested_too_deeply_is_refused() -> None:
    value: object = {}
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert without_secrets(value) == value
    with pytest.raises(RecursionError):
        without_secrets([value])
