"""The public view: sealed ids, and texts without names."""

import pytest

from gateway.domain.errors import NotFound
from gateway.domain.public_view import PublicView

VIEW = PublicView(b"k" * 32, frozenset({"browsers-eu", "acme/research"}))
RUNTIME = "browsers-eu.YWdlbnQ~7d0c5a4e-93b1-4f0a-8c62-5e1b2a9f6d34"


def test_sealed_id_is_the_same_each_time_and_shows_nothing_of_the_id() -> None:
    sealed = VIEW.seal(RUNTIME)
    assert sealed == PublicView(b"k" * 32).seal(RUNTIME)
    assert sealed.startswith("pub_")
    assert VIEW.unseal(sealed) == RUNTIME
    assert sealed[:12] != VIEW.seal(RUNTIME + "0")[:12]


def test_another_key_opens_nothing() -> None:
    other = PublicView(b"o" * 32)
    assert other.seal(RUNTIME) != VIEW.seal(RUNTIME)
    with pytest.raises(NotFound):
        other.unseal(VIEW.seal(RUNTIME))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pub_",
        RUNTIME,
        f"pub_{RUNTIME}",
        VIEW.seal(RUNTIME)[:-1],
        VIEW.seal(RUNTIME) + "A",
        VIEW.seal(RUNTIME) + "=",
        VIEW.seal(RUNTIME).replace("pub_", "PUB_"),
        VIEW.seal(RUNTIME).removeprefix("pub_"),
        "pub_" + "A" * 9000,
        "pub_ü",
    ],
)
def test_anything_else_than_a_sealed_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        VIEW.unseal(text)


def test_longest_id_can_be_sealed() -> None:
    longest = "p" * 40 + "." + "r" * 4096
    assert VIEW.unseal(VIEW.seal(longest)) == longest


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The provider browsers-eu (bctrl) has no pause.", "general"),
        ("browsers-eu: acme", "general"),
        ("acme/research is not a scope.", "general"),
        ("The runtime is running; pause works from: idle.", None),
        ("old-browsers-eu2", None),
    ],
)
def test_text_with_a_hidden_word_is_replaced(text: str, shown: str | None) -> None:
    assert VIEW.text(text, "general") == (shown or text)
    assert PublicView(b"k" * 32).text(text, "general") == text


def test_views_of_one_key_are_equal() -> None:
    assert PublicView(b"k" * 32) == PublicView(b"k" * 32) != PublicView(b"l" * 32)
    assert "kkk" not in repr(VIEW)
