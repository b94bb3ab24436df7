"""Query parameters."""

from urllib.parse import quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.queries import LIST_PARAMETERS, QueryParameter, parse_list_query, refuse_query
from gateway.domain.errors import InvalidRequest
from gateway.domain.pages import ListFilter
from gateway.domain.values import State
from gateway.services.listing import ListQuery


def test_an_empty_query_lists_everything_with_a_limit_of_50() -> None:
    assert parse_list_query("") == ListQuery(filter=ListFilter(), limit=50)


def test_every_parameter_is_parsed() -> None:
    raw = urlencode(
        {
            "kind": "durable,browser",
            "provider": "a-1",
            "scope": "acme/research",
            "state": "running",
            "name": "x",
            "project": "Pro ject",
            "owner": "me",
            "label": "team=shop",
            "fields": "-actions,-cost",
            "partial": "deny",
            "limit": "007",
            "cursor": "abc",
        }
    )
    assert parse_list_query(raw) == ListQuery(
        filter=ListFilter(
            kinds=frozenset({"durable", "browser"}), states=frozenset({State.RUNNING}), name="x", project="Pro ject"
        ),
        providers=frozenset({"a-1"}),
        scopes=frozenset({"acme/research"}),
        limit=7,
        cursor="abc",
        partial=False,
        owner="me",
        labels=frozenset({("team", "shop")}),
        without=frozenset({"actions", "cost"}),
    )


def test_lists_may_be_repeated_and_joined_by_commas() -> None:
    assert parse_list_query("state=idle&state=paused,running").filter.states == {
        State.IDLE,
        State.PAUSED,
        State.RUNNING,
    }


def test_labels_may_be_repeated_and_contain_any_text_after_the_first_equals_sign() -> None:
    raw = "label=team=shop&label=url%3Dhttp%3A%2F%2Fa%3Fb%3Dc%2Cd&label=empty="
    assert parse_list_query(raw).labels == {("team", "shop"), ("url", "http://a?b=c,d"), ("empty", "")}


@pytest.mark.parametrize(
    ("raw", "parameter", "code"),
    [
        ("nope=1", "nope", "unknown_parameter"),
        ("Kind=durable", "Kind", "unknown_parameter"),
        ("=1", "", "unknown_parameter"),
        ("kind=", "kind", "invalid"),
        ("kind=durable,", "kind", "invalid"),
        ("kind=house", "kind", "invalid"),
        ("state=gone", "state", "invalid"),
        ("provider=UP", "provider", "invalid"),
        ("name=", "name", "invalid"),
        ("name=" + "x" * 1001, "name", "invalid"),
        ("name=a&name=b", "name", "repeated"),
        ("project=", "project", "invalid"),
        ("project=%00", "project", "invalid"),
        ("scope=" + "s" * 201, "scope", "invalid"),
        ("owner=a%20b", "owner", "invalid"),
        ("label=team", "label", "invalid"),
        ("label==shop", "label", "invalid"),
        ("label=", "label", "invalid"),
        ("label=k%3D" + "x" * 1000, "label", "invalid"),
        ("fields=actions", "fields", "invalid"),
        ("fields=-id", "fields", "invalid"),
        ("fields=-nope", "fields", "invalid"),
        ("fields=-state", "fields", "invalid"),
        ("partial=yes", "partial", "invalid"),
        ("limit=0", "limit", "invalid"),
        ("limit=101", "limit", "invalid"),
        ("limit=-1", "limit", "invalid"),
        ("limit=5.0", "limit", "invalid"),
        ("limit=%D9%A3", "limit", "invalid"),
        ("limit", "limit", "invalid"),
        ("limit=5&limit=5", "limit", "repeated"),
        ("cursor=", "cursor", "invalid"),
        ("name=%ff", "name", "invalid"),
    ],
)
def test_a_bad_parameter_is_named(raw: str, parameter: str, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_list_query(raw)
    (fault,) = caught.value.errors
    assert (fault.parameter, fault.code) == (parameter, code)


@pytest.mark.parametrize("name", ["Checkout Bot #1", "-x", "x\n", "a,b", "\N{SNOWMAN}/../%41", "\0", "x" * 1000])
def test_any_name_can_be_looked_for(name: str) -> None:
    assert parse_list_query(f"name={quote_plus(name)}").filter.name == name


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(InvalidRequest, match="and 2 more") as caught:
        parse_list_query("limit=0&nope=1&kind=x")
    assert [fault.parameter for fault in caught.value.errors] == ["limit", "nope", "kind"]


def test_a_call_without_parameters_refuses_any_parameter() -> None:
    with pytest.raises(InvalidRequest) as caught:
        refuse_query("verbose=1")
    assert caught.value.errors[0].parameter == "verbose"
    refuse_query("&")


def outcome(raw: str) -> ListQuery | InvalidRequest:
    try:
        return parse_list_query(raw)
    except InvalidRequest as error:
        return error


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=80))
def test_an_arbitrary_query_is_parsed_or_refused(raw: str) -> None:
    result = outcome(raw)
    assert result.errors if isinstance(result, InvalidRequest) else 1 <= result.limit <= 100


@given(st.sampled_from(LIST_PARAMETERS), st.text(max_size=30))
def test_an_arbitrary_value_is_accepted_or_reported(parameter: QueryParameter, value: str) -> None:
    result = outcome(f"{parameter.name}={quote_plus(value, errors='replace')}")
    if isinstance(result, InvalidRequest):
        assert [fault.parameter for fault in result.errors] == [parameter.name]
