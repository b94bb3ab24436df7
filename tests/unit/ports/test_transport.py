from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.domain.errors import NotFound
from gateway.ports.transport import path_segment


@pytest.mark.parametrize("text", ["", ".", "..", "../x", "x/..", "a/./b", "..\\x", "x/../../y"])
def test_text_that_would_change_the_path_is_refused(text: str):
    with pytest.raises(NotFound):
        path_segment(text)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("?x=#y", "%3Fx%3D%23y"),
        ("...", "..."),
        ("%2e%2e", "%252e%252e"),
        ("é", "%C3%A9"),
    ],
)
def test_other_text_is_one_encoded_segment(text: str, encoded: str):
    assert path_segment(text) == encoded


@given(st.text())
def test_a_segment_decodes_to_its_text_and_does_not_change_the_path(text: str):
    try:
        segment = path_segment(text)
    except (NotFound, UnicodeEncodeError):  # a lone surrogate cannot be encoded
        return
    assert unquote(segment, errors="strict") == text
    assert len(URL(f"http://host/v1/browsers/{segment}/start").raw_parts) == len(
        ("/", "v1", "browsers", "one", "start")
    )
