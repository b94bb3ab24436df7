"""Names of owned runtimes at their provider."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import ValidationFailed
from gateway.domain.ownership import (
    MAX_OWNED_NAME,
    inward,
    outward,
    refuse_suffix,
    suffix_in,
    suffix_of,
    without_suffixes,
)
from gateway.domain.values import NAME_PATTERN

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)


def test_suffix_is_derived_from_the_name_of_the_owner_alone() -> None:
    assert suffix_of("shop") == ".rgw-rwiaduzmnjy"
    assert suffix_of("shop") != suffix_of("Shop")


@given(NAMES.filter(lambda name: len(name) <= MAX_OWNED_NAME), st.text(min_size=1))
def test_name_at_the_provider_has_the_form_of_a_name_and_leads_back(name: str, owner: str) -> None:
    there = inward(name, owner)
    assert len(there) <= 100
    assert suffix_in(there) == suffix_of(owner)
    assert outward(there) == name
    with pytest.raises(ValidationFailed):
        refuse_suffix(there)


@given(NAMES)
def test_name_without_a_suffix_stays_as_it_is(name: str) -> None:
    if suffix_in(name) is None:
        assert outward(name) == name
        refuse_suffix(name)


@pytest.mark.parametrize(
    "name", [None, "", "a", ".rgw-aaaaaaaaaaa", "a.rgw-aaaaaaaaaa", "a.rgw-aaaaaaaaaa1", "a.rgw-AAAAAAAAAAA", "a.rgw-"]
)
def test_text_that_is_no_owned_name_has_no_suffix(name: str | None) -> None:
    assert suffix_in(name) is None
    assert outward(name) == name


def test_name_that_is_too_long_for_the_suffix_is_refused() -> None:
    assert inward("a" * MAX_OWNED_NAME, "shop")
    with pytest.raises(ValidationFailed) as refused:
        inward("a" * (MAX_OWNED_NAME + 1), "shop")
    assert refused.value.errors[0].pointer == "#/name"


def test_suffixes_are_removed_from_the_texts_of_a_provider() -> None:
    there = inward("agent", "shop")
    assert without_suffixes(f"The runtime '{there}' exists; see {there}.") == "The runtime 'agent' exists; see agent."
    assert without_suffixes("nothing to remove: .rgw-") == "nothing to remove: .rgw-"
