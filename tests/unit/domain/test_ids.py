"""Public runtime ids: every formatted id can be parsed, and any other text is not found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import NotFound
from gateway.domain.ids import b64url, b64url_bytes, bytes_from_b64url, format_runtime_id, from_b64url, parse_runtime_id

PROVIDERS = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)
REFERENCES = st.from_regex(r"[A-Za-z0-9_~-]{1,200}", fullmatch=True)


@given(PROVIDERS, REFERENCES)
def test_an_id_splits_into_provider_and_reference(provider: str, reference: str) -> None:
    assert parse_runtime_id(format_runtime_id(provider, reference)) == (provider, reference)


@given(st.binary(max_size=300))
def test_bytes_survive_the_encoding_and_need_no_escaping_in_an_id(raw: bytes) -> None:
    text = b64url_bytes(raw)
    assert bytes_from_b64url(text) == raw
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=200))
def test_free_text_survives_the_encoding(text: str) -> None:
    assert from_b64url(b64url(text)) == text


@given(st.one_of(st.text(max_size=60), st.text("AQgw-_=~+/ \n", max_size=12)))
def test_only_output_of_the_encoder_is_decoded(text: str) -> None:
    """So a runtime has exactly one id."""
    try:
        decoded = bytes_from_b64url(text)
    except ValueError:
        return
    assert b64url_bytes(decoded) == text


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[a-z0-9-]{1,41}\.[\w~ -]{0,20}")))
def test_any_text_that_is_not_an_id_is_not_found(text: str) -> None:
    try:
        provider, reference = parse_runtime_id(text)
    except NotFound:
        return
    assert format_runtime_id(provider, reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "noprovider",
        "A.b",
        "a b.c",
        "a.b c",
        "a.b\n",
        "a.b\0",
        "a/b.c",
        "ä.b",
        f"{'a' * 41}.b",
        "a.é",
    ],
)
def test_malformed_ids_are_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        parse_runtime_id(text)


def test_an_id_has_room_for_long_workspaces_and_aliases_of_any_script() -> None:
    reference = "~".join([b64url("💻" * 200), b64url("é" * 300), "2489e9ad-2ee2-4e00-89ec-32d5f69181c0"])
    assert parse_runtime_id(f"open.{reference}") == ("open", reference)
