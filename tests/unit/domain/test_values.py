"""What counts as a UUID: the 36-character form in either case, one per text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.values import are_uuids, is_uuid

ONE = "2489e9ad-2ee2-4e00-8ec9-32d5f69181c0"


@given(st.lists(st.uuids().map(str)))
def test_any_number_of_uuids_is_accepted_in_either_case(texts: list[str]) -> None:
    assert are_uuids(texts)
    assert are_uuids([text.upper() for text in texts])


@pytest.mark.parametrize(
    "text",
    [
        *("", ONE[:-1], f"{ONE}0", f" {ONE}", f"{ONE}\n", f"\n{ONE}", f"{ONE}\n{ONE}", ONE.replace("-", "")),
        *(ONE.replace("2", other) for other in ("x", "é", "\ud800", "-", "\0")),
        *("x" * 36, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
    ],
)
def test_a_text_of_another_form_is_refused_alone_and_among_uuids(text: str) -> None:
    assert not is_uuid(text)
    assert not are_uuids([ONE, text])
    assert not are_uuids([text, ONE])
    assert not are_uuids([text, text])


def test_two_uuids_in_one_text_do_not_replace_a_missing_one() -> None:
    assert not are_uuids([f"{ONE}\n{ONE}", ""])
    assert not are_uuids(["", f"{ONE}\n{ONE}"])
