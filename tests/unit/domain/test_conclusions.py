"""What findings about a create prove (docs/creates.md), without a fake: every case is data."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from gateway.domain.conclusions import (
    GIVE_UP,
    NO_TRAITS,
    REPLAY_AGE,
    Conclusion,
    ConflictAbout,
    CreateTraits,
    Deduplication,
    Findings,
    Matches,
    PriorKnowledge,
    Proof,
    TargetMatch,
    Verdict,
    backoff,
    conclude,
    refusal_of,
)
from gateway.domain.intents import Actor, Intent, IntentAttempt, IntentState, Look

DURABLE = CreateTraits(Deduplication.BY_NAME, is_free=True, key_ttl=3600.0, marks=False)
BROWSERS = CreateTraits(Deduplication.BY_KEY, is_free=False, key_ttl=3600.0, marks=True)
BCTRL = CreateTraits(Deduplication.NONE, is_free=False, key_ttl=3600.0, marks=False)
ALL = [DURABLE, BROWSERS, BCTRL]
W = 300.0
SENT = 1000.0
FIRST, AFTER_ABSENT, AFTER_UNKNOWN = PriorKnowledge

NONE_SEEN = Matches()
ONE_OWN = Matches(1, live=True, may_be_own=True, seen=True)
TWO_OWN = Matches(2, live=True, may_be_own=True, seen=True)
NAMESAKE = Matches(0, live=True, may_be_own=True, seen=True)
FOREIGN = Matches(0, live=True, may_be_own=False, seen=True)
STOPPED = Matches(0, live=False, may_be_own=False, seen=True)


def intent(state: IntentState = IntentState.UNKNOWN, *, looks: int = 0, **fields: Any) -> Intent:
    """An intent whose only attempt was sent at ``SENT``."""
    made = fields.pop("made", None)
    known: dict[str, Any] = {
        "id": "in_1",
        "principal": "alice",
        "key": "k",
        "namespace": "[]",
        "pinned": False,
        "provider": "one",
        "scope": "home",
        "kind": "browser",
        "name": "box",
        "operation": "create",
        "digest": b"",
        "digest_version": "1",
        "target": "t",
        "state": state,
        "epoch": 1,
        "holder": None,
        "lease_until": None,
        "due_at": None,
        "attempts": (IntentAttempt(1, "t", SENT, SENT, made=made),),
        "looks": tuple(Look(SENT + number, ()) for number in range(looks)),
        "created_at": SENT,
        "updated_at": SENT,
    }
    return Intent(**{**known, **fields})


def after_send(traits: CreateTraits, proof: Proof, **known: Any) -> Verdict:
    findings = Findings(traits=traits, proof=proof, **known)
    return conclude(findings, actor=Actor.HOLDER, intent=intent(IntentState.OPEN)).verdict


def about_unknown(actor: Actor, now: float = SENT, of: Intent | None = None, **known: Any) -> Conclusion:
    findings = Findings(**{"traits": BCTRL, **known})
    return conclude(findings, actor=actor, intent=of or intent(), now=now, wait_out=W)


@pytest.mark.parametrize("traits", ALL)
@pytest.mark.parametrize(
    ("proof", "prior", "verdict"),
    [
        (Proof.NOTHING_MADE, FIRST, Verdict.NOTHING_MADE),
        (Proof.NOTHING_MADE, AFTER_ABSENT, Verdict.ABSENT),
        (Proof.NOTHING_MADE, AFTER_UNKNOWN, Verdict.UNKNOWN),
        *((proof, prior, Verdict.UNKNOWN) for proof in (Proof.MADE, Proof.NONE) for prior in PriorKnowledge),
        *((Proof.CONFLICT, prior, Verdict.FIND_BY_NAME) for prior in PriorKnowledge),
        *((Proof.ANOTHER_ANSWER, prior, Verdict.FIND_BY_NAME) for prior in PriorKnowledge),
        (Proof.REFUSED_FOR_NOW, AFTER_UNKNOWN, Verdict.UNKNOWN),
    ],
)
def test_the_end_of_a_send_proves_this_by_itself(
    traits: CreateTraits, proof: Proof, prior: PriorKnowledge, verdict: Verdict
) -> None:
    assert after_send(traits, proof, prior=prior) is verdict


@pytest.mark.parametrize("prior", [FIRST, AFTER_ABSENT])
def test_a_refusal_for_now_is_looked_after_unless_the_name_deduplicates(prior: PriorKnowledge) -> None:
    assert after_send(DURABLE, Proof.REFUSED_FOR_NOW, prior=prior) is Verdict.ABSENT
    for traits in (BROWSERS, BCTRL):
        assert after_send(traits, Proof.REFUSED_FOR_NOW, prior=prior) is Verdict.FIND_BY_NAME
        for matches in (NONE_SEEN, NAMESAKE, STOPPED):
            assert after_send(traits, Proof.REFUSED_FOR_NOW, prior=prior, matches=matches) is Verdict.ABSENT


@pytest.mark.parametrize("proof", [Proof.CONFLICT, Proof.ANOTHER_ANSWER, Proof.REFUSED_FOR_NOW])
def test_a_failed_look_up_proves_nothing(proof: Proof) -> None:
    for traits, prior in product([BROWSERS, BCTRL], [FIRST, AFTER_ABSENT]):
        assert after_send(traits, proof, prior=prior, lookup_failed=True) is Verdict.UNKNOWN


@pytest.mark.parametrize("proof", [Proof.CONFLICT, Proof.ANOTHER_ANSWER, Proof.REFUSED_FOR_NOW])
@pytest.mark.parametrize("prior", PriorKnowledge)
def test_an_own_runtime_is_the_creates_whatever_the_send_ended_with(proof: Proof, prior: PriorKnowledge) -> None:
    if (proof, prior) == (Proof.REFUSED_FOR_NOW, AFTER_UNKNOWN):
        return  # is not looked up
    for traits in (BROWSERS, BCTRL):
        assert after_send(traits, proof, prior=prior, matches=ONE_OWN) is Verdict.DONE


def test_several_own_runtimes_are_surplus_with_a_mark_or_a_unique_name_and_prove_nothing_without() -> None:
    for traits, verdict in ((DURABLE, Verdict.DONE), (BROWSERS, Verdict.DONE), (BCTRL, Verdict.UNKNOWN)):
        assert after_send(traits, Proof.CONFLICT, matches=TWO_OWN) is verdict


@pytest.mark.parametrize(
    ("conflict", "matches", "prior", "verdict"),
    [
        (ConflictAbout.NAME, NONE_SEEN, FIRST, Verdict.UNKNOWN),
        (ConflictAbout.NAME, STOPPED, FIRST, Verdict.REFUSED),
        (ConflictAbout.NAME, STOPPED, AFTER_UNKNOWN, Verdict.UNKNOWN),
        (ConflictAbout.NAME, NAMESAKE, FIRST, Verdict.EXISTED),
        (ConflictAbout.NAME, FOREIGN, FIRST, Verdict.EXISTED),
        (ConflictAbout.NAME, NAMESAKE, AFTER_UNKNOWN, Verdict.EXISTED),
        (ConflictAbout.OTHER, NONE_SEEN, FIRST, Verdict.ABSENT),
        (ConflictAbout.OTHER, STOPPED, AFTER_ABSENT, Verdict.ABSENT),
        (ConflictAbout.OTHER, NONE_SEEN, AFTER_UNKNOWN, Verdict.UNKNOWN),
        (ConflictAbout.OTHER, NAMESAKE, FIRST, Verdict.EXISTED),
        *((ConflictAbout.UNCLEAR, matches, FIRST, Verdict.UNKNOWN) for matches in (NONE_SEEN, NAMESAKE, STOPPED)),
    ],
)
def test_a_conflict_without_an_own_runtime(
    conflict: ConflictAbout, matches: Matches, prior: PriorKnowledge, verdict: Verdict
) -> None:
    for traits in ALL:
        assert after_send(traits, Proof.CONFLICT, conflict=conflict, matches=matches, prior=prior) is verdict


def test_a_dialect_leaves_a_runtime_of_the_name_to_the_provider() -> None:
    known = {"conflict": ConflictAbout.NAME, "matches": NAMESAKE}
    assert after_send(BROWSERS, Proof.CONFLICT, is_judged=False, **known) is Verdict.REFUSED


def test_another_answer_proves_that_a_namesake_was_there_only_where_names_deduplicate() -> None:
    assert after_send(DURABLE, Proof.ANOTHER_ANSWER, matches=NAMESAKE) is Verdict.EXISTED
    assert after_send(DURABLE, Proof.ANOTHER_ANSWER, matches=FOREIGN) is Verdict.UNKNOWN
    for traits, matches in product([BROWSERS, BCTRL], [NAMESAKE, NONE_SEEN, STOPPED]):
        assert after_send(traits, Proof.ANOTHER_ANSWER, matches=matches) is Verdict.UNKNOWN


def test_before_a_send_the_name_is_looked_up_and_taken_or_free() -> None:
    def verdict(prior: PriorKnowledge, matches: Matches | None) -> Verdict:
        findings = Findings(traits=BCTRL, prior=prior, matches=matches)
        return conclude(findings, actor=Actor.HOLDER, intent=intent(IntentState.OPEN)).verdict

    assert verdict(FIRST, None) is Verdict.FIND_BY_NAME
    assert verdict(FIRST, NONE_SEEN) is verdict(FIRST, STOPPED) is verdict(AFTER_UNKNOWN, FOREIGN) is Verdict.SEND
    assert verdict(FIRST, ONE_OWN) is verdict(AFTER_ABSENT, NAMESAKE) is Verdict.EXISTED
    assert verdict(AFTER_ABSENT, ONE_OWN) is verdict(AFTER_UNKNOWN, ONE_OWN) is Verdict.DONE


@pytest.mark.parametrize("traits", ALL)
@pytest.mark.parametrize("actor", [Actor.WAITING_CALLER, Actor.RECONCILER])
def test_an_unknown_create_is_sent_again_only_where_the_provider_deduplicates(
    traits: CreateTraits, actor: Actor
) -> None:
    """Within the life of its key, to the same target, with readable bytes; by the reconciler only if it is free."""
    allowed = traits.deduplication is not Deduplication.NONE and (actor is Actor.WAITING_CALLER or traits.is_free)
    expected = Verdict.RESEND if allowed else Verdict.FIND_BY_NAME
    assert about_unknown(actor, traits=traits, now=SENT + REPLAY_AGE).verdict is expected
    for hindered in (
        {"now": SENT + REPLAY_AGE + 1},
        {"target": TargetMatch.SAME_NAMES},
        {"is_readable": False},
        {"traits": replace(traits, key_ttl=10.0), "now": SENT + 11.0},
    ):
        assert about_unknown(actor, **{"traits": traits, **hindered}).verdict is Verdict.FIND_BY_NAME


@pytest.mark.parametrize("actor", [Actor.WAITING_CALLER, Actor.RECONCILER])
def test_an_unknown_create_is_done_by_one_match_or_by_its_mark(actor: Actor) -> None:
    assert about_unknown(actor, matches=ONE_OWN) == Conclusion(Verdict.DONE, "adopted")
    assert about_unknown(actor, traits=BROWSERS, matches=TWO_OWN) == Conclusion(Verdict.DONE)


def test_a_waiting_caller_concludes_nothing_from_what_is_missing() -> None:
    late = SENT + W + 1
    for known in ({"matches": NONE_SEEN}, {"matches": TWO_OWN}, {"target": TargetMatch.GONE}):
        assert about_unknown(Actor.WAITING_CALLER, late, intent(looks=5), **known).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("of", "known", "reason"),
    [
        (intent(looks=5), {"matches": TWO_OWN}, "several"),
        (intent(looks=5), {"matches": NONE_SEEN, "is_readable": False}, "unreadable"),
        (intent(looks=5, made=True), {"matches": NONE_SEEN}, "made_but_not_found"),
        (intent(looks=5), {"matches": NONE_SEEN, "target": TargetMatch.SAME_NAMES}, "target_changed"),
        (intent(looks=5), {"traits": NO_TRAITS, "target": TargetMatch.GONE}, "target_changed"),
    ],
)
def test_the_reconciler_parks_what_only_an_operator_can_decide(of: Intent, known: dict[str, Any], reason: str) -> None:
    assert about_unknown(Actor.RECONCILER, SENT + W + 1, of, **known) == Conclusion(Verdict.PARKED, reason)


def test_a_create_that_is_not_found_within_a_day_is_parked() -> None:
    late = about_unknown(Actor.RECONCILER, SENT + GIVE_UP + 1, intent(looks=5), matches=NONE_SEEN)
    assert late == Conclusion(Verdict.PARKED, "too_old")


def test_a_create_is_absent_after_two_look_ups_of_which_the_last_is_later_than_the_wait_out() -> None:
    def verdict(now: float, looks: int) -> Verdict:
        return about_unknown(Actor.RECONCILER, now, intent(looks=looks), matches=NONE_SEEN).verdict

    assert verdict(SENT + W + 0.1, 1) is Verdict.ABSENT
    assert verdict(SENT + W + 0.1, 0) is Verdict.LOOK_AGAIN
    assert verdict(SENT + W, 1) is verdict(SENT + W - 1, 9) is Verdict.LOOK_AGAIN


def test_the_next_look_up_is_no_later_than_the_end_of_the_wait_out() -> None:
    for looks, passed in product(range(12), (0.0, 1.0, 100.0, 299.9)):
        later = about_unknown(Actor.RECONCILER, SENT + passed, intent(looks=looks), matches=NONE_SEEN)
        assert later.verdict is Verdict.LOOK_AGAIN
        assert 0 < later.after <= W - passed + 0.1


def test_a_target_that_is_not_configured_is_waited_for_during_the_wait_out() -> None:
    """Another replica may have loaded settings that this one is about to load."""
    known: dict[str, Any] = {"traits": NO_TRAITS, "target": TargetMatch.GONE}
    assert about_unknown(Actor.RECONCILER, SENT + 10, **known) == Conclusion(Verdict.LOOK_AGAIN, after=60.0)
    assert about_unknown(Actor.RECONCILER, SENT + W - 1, **known) == Conclusion(Verdict.LOOK_AGAIN, after=1.1)


SETTLED = [IntentState.ABSENT, IntentState.REFUSED, IntentState.DONE]


@pytest.mark.parametrize("state", [*SETTLED, IntentState.PARKED])
def test_late_evidence_makes_a_create_done_unless_another_create_may_own_it(state: IntentState) -> None:
    of = intent(state, settled_at=None if state is IntentState.PARKED else SENT)
    done = about_unknown(Actor.RECONCILER, SENT + 10, of, matches=ONE_OWN)
    assert done == Conclusion(Verdict.DONE, "adopted")
    contested = about_unknown(Actor.RECONCILER, SENT + 10, of, matches=ONE_OWN, is_contested=True)
    assert contested == Conclusion(Verdict.LOOK_AGAIN, after=W)
    several = about_unknown(Actor.RECONCILER, SENT + 10, of, matches=TWO_OWN)
    assert several.verdict is (Verdict.DONE if state is IntentState.DONE else Verdict.LOOK_AGAIN)
    assert about_unknown(Actor.RECONCILER, SENT + 10, of, traits=BROWSERS, matches=TWO_OWN).verdict is Verdict.DONE
    assert about_unknown(Actor.RECONCILER, SENT + 10, of).verdict is Verdict.FIND_BY_NAME


def test_late_evidence_is_looked_for_during_a_day_and_not_for_a_create_whose_every_attempt_is_known() -> None:
    absent = intent(IntentState.ABSENT, settled_at=SENT)
    assert about_unknown(Actor.RECONCILER, SENT + 1, absent, matches=NONE_SEEN).after == W
    assert about_unknown(Actor.RECONCILER, SENT + 1000, absent, matches=NONE_SEEN).after == 1000
    assert about_unknown(Actor.RECONCILER, SENT + GIVE_UP + 1, absent, matches=NONE_SEEN).verdict is Verdict.FORGET
    for made, verdict in ((True, Verdict.FORGET), (None, Verdict.LOOK_AGAIN)):
        done = intent(IntentState.DONE, settled_at=SENT, made=made)
        assert about_unknown(Actor.RECONCILER, SENT + 1, done, matches=NONE_SEEN).verdict is verdict


def test_after_an_ambiguous_send_only_the_providers_own_refusal_is_conclusive() -> None:
    for prior, by_provider in product(PriorKnowledge, (True, False)):
        ambiguous = prior is AFTER_UNKNOWN and not by_provider
        expected = IntentState.UNKNOWN if ambiguous else IntentState.REFUSED
        assert refusal_of(prior, by_provider=by_provider) is expected


def test_look_ups_become_rarer_up_to_a_minute_and_never_longer_than_the_wait_out() -> None:
    assert [backoff(looks, 300) for looks in range(7)] == [2, 4, 8, 16, 32, 60, 60]
    assert max(backoff(looks, 4) for looks in range(20)) <= 4
