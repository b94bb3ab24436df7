"""When a breaker opens and closes, by a clock that is moved by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ports.policies import BreakerSettings
from gateway.upstream.policies.breaker import Circuit, State
from tests.unit.services.fakes import FakeClock

SETTINGS = BreakerSettings(share=0.5, minimum=4, window=10, rest=1, max_rest=4, probes=2)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def circuit(clock: FakeClock) -> Circuit:
    return Circuit(SETTINGS, clock)


def fail(circuit: Circuit, times: int = 1) -> None:
    for _ in range(times):
        assert circuit.enter() is None
        circuit.failed(circuit.generation)


def succeed(circuit: Circuit, times: int = 1) -> None:
    for _ in range(times):
        assert circuit.enter() is None
        circuit.succeeded(circuit.generation)


def test_it_opens_once_enough_calls_failed(circuit: Circuit) -> None:
    fail(circuit, 3)
    assert circuit.state is State.CLOSED
    fail(circuit)
    assert circuit.state is State.OPEN
    assert circuit.enter() == circuit.refuses_for() == 1


def test_it_stays_closed_while_a_smaller_share_fails(circuit: Circuit) -> None:
    fail(circuit)
    succeed(circuit, 4)
    fail(circuit, 2)
    assert circuit.state is State.CLOSED
    fail(circuit)
    assert circuit.state is State.OPEN


def test_failures_of_an_earlier_window_do_not_count(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit, 3)
    clock.time += SETTINGS.window
    fail(circuit, 3)
    assert circuit.state is State.CLOSED


def test_successes_before_the_first_failure_do_not_hide_it(circuit: Circuit) -> None:
    succeed(circuit, 1000)
    fail(circuit, 2)
    succeed(circuit)
    fail(circuit)
    assert circuit.state is State.OPEN


def test_an_outage_after_one_failure_under_heavy_traffic_opens_it(circuit: Circuit) -> None:
    fail(circuit)
    succeed(circuit, 10_000)
    fail(circuit, 3)
    assert circuit.state is State.CLOSED
    fail(circuit)
    assert circuit.state is State.OPEN


def test_consecutive_failures_count_wherever_the_window_started(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit)
    succeed(circuit, 100)
    clock.time += SETTINGS.window - 0.1
    fail(circuit, 2)
    clock.time += 0.2
    fail(circuit)
    assert circuit.state is State.CLOSED
    fail(circuit)
    assert circuit.state is State.OPEN


def test_the_window_moves_and_drops_old_successes(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit)
    succeed(circuit, 1000)
    clock.time += SETTINGS.window / 2
    fail(circuit, 2)
    clock.time += SETTINGS.window / 2
    succeed(circuit)
    assert circuit.state is State.CLOSED
    fail(circuit)
    assert circuit.state is State.OPEN


def test_consecutive_failures_that_are_far_apart_do_not_open_it(circuit: Circuit, clock: FakeClock) -> None:
    for _ in range(50):
        fail(circuit)
        clock.time += 0.35 * SETTINGS.window
    assert circuit.state is State.CLOSED


def test_after_the_open_time_a_limited_number_of_probes_pass(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit, 4)
    clock.time += 0.5
    assert circuit.enter() == 0.5
    clock.time += 0.5
    assert circuit.refuses_for() is None
    assert [circuit.enter(), circuit.enter(), circuit.enter()] == [None, None, 1]
    assert circuit.state is State.HALF_OPEN


def test_a_successful_probe_closes_it_and_resets_the_open_time(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit, 4)
    clock.time += 1
    fail(circuit)
    clock.time += 2
    succeed(circuit)
    assert circuit.state is State.CLOSED
    fail(circuit, 3)
    assert circuit.state is State.CLOSED
    fail(circuit)
    assert circuit.refuses_for() == 1


def test_the_open_time_doubles_up_to_max_rest(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit, 4)
    rests = []
    for _ in range(4):
        rests.append(circuit.refuses_for())
        clock.time += rests[-1] or 0
        fail(circuit)
    assert rests == [1, 2, 4, 4]


def test_a_call_of_an_earlier_generation_does_not_count(circuit: Circuit, clock: FakeClock) -> None:
    before = circuit.generation
    fail(circuit, 4)
    circuit.succeeded(before)
    assert circuit.state is State.OPEN
    clock.time += 1
    assert circuit.enter() is None
    circuit.failed(before)
    circuit.succeeded(before)
    assert circuit.state is State.HALF_OPEN
    circuit.succeeded(circuit.generation)
    for _ in range(10):
        circuit.failed(before)
    assert circuit.state is State.CLOSED


def test_an_inconclusive_probe_allows_another(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit, 4)
    clock.time += 1
    assert [circuit.enter(), circuit.enter()] == [None, None]
    circuit.leave(circuit.generation)
    assert [circuit.enter(), circuit.enter()] == [None, 1]


def test_hanging_probes_do_not_block_new_ones(circuit: Circuit, clock: FakeClock) -> None:
    fail(circuit, 4)
    clock.time += 1
    assert [circuit.enter(), circuit.enter(), circuit.enter()] == [None, None, 1]
    clock.time += 1
    succeed(circuit)
    assert circuit.state is State.CLOSED


def test_every_change_of_state_is_reported(circuit: Circuit, clock: FakeClock) -> None:
    told: list[State] = []
    circuit.changed = told.append
    fail(circuit, 4)
    clock.time += 1
    succeed(circuit)
    assert told == [State.OPEN, State.HALF_OPEN, State.CLOSED]


outcomes = st.lists(
    st.tuples(st.sampled_from(["failed", "succeeded", "leave"]), st.integers(1, 20), st.floats(0, 8)), max_size=60
)
some_settings = st.builds(
    BreakerSettings, share=st.sampled_from([0.1, 0.5, 0.9, 1.0]), minimum=st.integers(1, 8), window=st.just(10.0)
)


def lead(circuit: Circuit, clock: FakeClock, past: list[tuple[str, int, float]]) -> None:
    """Sequential calls, with a pause after each group."""
    for outcome, times, pause in past:
        for _ in range(times):
            if circuit.enter() is None:
                getattr(circuit, outcome)(circuit.generation)
        clock.time += pause


@given(settings=some_settings, past=outcomes, data=st.data())
def test_enough_consecutive_failures_open_it_after_any_history(
    settings: BreakerSettings, past: list[tuple[str, int, float]], data: st.DataObject
) -> None:
    clock = FakeClock()
    circuit = Circuit(settings, clock)
    lead(circuit, clock, past)
    longest = 0.99 * settings.window / settings.minimum
    for _ in range(settings.minimum):
        clock.time += data.draw(st.floats(0, longest))
        if circuit.enter() is None:
            circuit.failed(circuit.generation)
    assert circuit.state is State.OPEN


@given(settings=some_settings, past=outcomes)
def test_it_opens_only_for_the_configured_share_or_streak_within_a_window(
    settings: BreakerSettings, past: list[tuple[str, int, float]]
) -> None:
    clock = FakeClock()
    circuit = Circuit(settings, clock)
    ended: list[tuple[float, bool]] = []
    opened: list[bool] = []

    def changed(state: State) -> None:
        if state is not State.OPEN:
            ended.clear()
        elif ended:  # else it was a probe that failed
            recent = [failed for at, failed in ended if at > clock.time - settings.window]
            shares = [recent[first:] for first, failed in enumerate(recent) if failed]
            opened.append(
                any(len(part) >= settings.minimum and sum(part) >= settings.share * len(part) for part in shares)
            )

    circuit.changed = changed
    for outcome, times, pause in past:
        for _ in range(times):
            if circuit.enter() is None:
                if circuit.state is State.CLOSED and outcome != "leave":
                    ended.append((clock.time, outcome == "failed"))
                getattr(circuit, outcome)(circuit.generation)
        clock.time += pause
    assert all(opened)


@given(st.lists(st.tuples(st.sampled_from(["enter", "failed", "succeeded", "leave"]), st.floats(0, 5)), max_size=60))
def test_after_any_history_a_call_passes_within_max_rest(steps: list[tuple[str, float]]) -> None:
    clock = FakeClock()
    circuit = Circuit(SETTINGS, clock)
    eras = [circuit.generation]
    for step, seconds in steps:
        clock.time += seconds
        if step == "enter":
            refused = circuit.enter()
            assert refused is None or 0 < refused <= SETTINGS.max_rest
            eras.append(circuit.generation)
        else:
            getattr(circuit, step)(eras[len(steps) % len(eras)] if seconds > 2 else eras[-1])
    clock.time += SETTINGS.max_rest
    succeed(circuit)
    assert circuit.state is State.CLOSED
