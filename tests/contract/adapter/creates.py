"""The part of the adapter contract about the create promise: what is sent, what a look-up by name finds, what a refusal
proves (``docs/creates.md``)."""

from functools import partial
from itertools import product
from typing import Any, Final

from gateway.domain.errors import AlreadyExists, GatewayError, UnsupportedFeature
from gateway.domain.runtime import ENCODER, Runtime
from gateway.domain.values import Kind, Operation, State
from gateway.ports.provider import Created, Deduplication, Seen, SupportsReset, SupportsStop, WireCreate
from gateway.ports.transport import (
    Call,
    Transport,
    TransportFailure,
    UpstreamRequest,
    UpstreamResponse,
    WrappingTransport,
)
from tests.contract.adapter.failures import PAGE, READS
from tests.contract.adapter.subject import Subject, expecting

_MARKER: Final = "marker-of-one-create-81f3"
_KEY: Final = "key-of-one-create-5c07"
_NO_PROOF: Final = frozenset({402, 408, 409, 429})


class CreateContract:
    """A create is written once and sent as written; afterwards a look-up by name finds what it made, or raises."""

    async def test_a_minimal_create_of_every_kind_in_creates_is_accepted(self, subject: Subject) -> None:
        """``check_create`` accepts it, and the provider makes a runtime of that kind."""
        adapter = subject.adapter
        assert adapter.creates
        for kind in subject.created_kinds:
            request = subject.source.minimal_create(kind, f"a-{kind}")
            adapter.check_create(request)
            created = await adapter.create(request, subject.scope, subject.call())
            assert (created.runtime.kind, created.runtime.name) == (kind, f"a-{kind}")

    async def test_a_create_of_every_other_kind_is_refused_without_a_call(self, subject: Subject) -> None:
        """The error points at ``kind``. This includes kinds that the provider lists and does not create."""
        for kind in sorted(frozenset(Kind) - subject.adapter.creates):
            with expecting(UnsupportedFeature, f"a create of a {kind} was accepted") as caught:
                subject.adapter.check_create(subject.source.another_create(kind, "one"))
            assert [error.pointer for error in caught[0].errors] == ["#/kind"]
        assert subject.sent() == 0

    async def test_writing_a_create_is_pure(self, subject: Subject) -> None:
        """A request gives the same bytes each time, from every adapter with the same settings, without a call."""
        fresh = subject.make()
        for kind, marker in product(subject.created_kinds, (None, _MARKER)):
            request = subject.create_request("one", kind)
            first = subject.adapter.wire_create(request, subject.scope, marker=marker)
            assert first == subject.adapter.wire_create(request, subject.scope, marker=marker)
            assert first == fresh.wire_create(subject.create_request("one", kind), subject.scope, marker=marker)
            assert not [secret for secret in request.secret_values() if secret in repr(first)]
        assert subject.sent() == 0

    async def test_a_create_is_sent_as_written(self, subject: Subject) -> None:
        """Byte for byte, also if an older version wrote it; with the idempotency key if the provider knows keys."""
        requests: list[UpstreamRequest] = []
        adapter = subject.make(wrap=partial(_Recorder, requests))
        wire = adapter.wire_create(subject.create_request("one"), subject.scope, marker=_MARKER)
        older = WireCreate(wire.body + b"\n", wire.query)
        await adapter.send_create(older, subject.scope, subject.call(), idempotency_key=_KEY)
        (sent,) = requests
        assert (sent.operation, sent.body, tuple(sent.query)) == (Operation.CREATE, older.body, older.query)
        by_key = adapter.deduplication is Deduplication.BY_KEY
        assert list(sent.headers.values()).count(_KEY) == by_key
        assert subject.emulator.creates == 1

    async def test_a_create_without_a_key_sends_none(self, subject: Subject) -> None:
        """The header for idempotency keys is absent."""
        requests: list[UpstreamRequest] = []
        adapter = subject.make(wrap=partial(_Recorder, requests))
        wire = adapter.wire_create(subject.create_request("one"), subject.scope)
        await adapter.send_create(wire, subject.scope, subject.call())
        assert "idempotency-key" not in {name.lower() for name in requests[0].headers}

    async def test_a_marker_is_read_back_by_a_look_up_and_shown_nowhere_else(self, subject: Subject) -> None:
        """An adapter without ``marks_creates`` does not send it, and its look-ups return none."""
        adapter = subject.adapter
        wire = adapter.wire_create(subject.create_request("one"), subject.scope, marker=_MARKER)
        created = await adapter.send_create(wire, subject.scope, subject.call())
        carried = _MARKER.encode() in wire.body
        assert carried == adapter.marks_creates
        (seen,) = await adapter.find_with_markers(subject.scope, "one", subject.call())
        assert seen.marker == (_MARKER if carried else None)
        assert [made.marker for made in subject.emulator.made()] == [_MARKER if carried else None]
        for runtime in (created.runtime, seen.runtime, await _got(subject, created)):
            assert _MARKER.encode() not in ENCODER.encode(runtime)
        assert _MARKER.encode() not in (created.native or b"")

    async def test_a_create_without_a_marker_has_none(self, subject: Subject) -> None:
        """The same applies to runtimes that other clients made."""
        await subject.create("one")
        (seen,) = await subject.adapter.find_with_markers(subject.scope, "one", subject.call())
        assert seen.marker is None

    async def test_an_answer_to_another_create_is_not_taken_for_its_own(self, subject: Subject) -> None:
        """Whether or not the create was committed, name or scope shows that the answer belongs to another create."""
        adapter, scope = subject.adapter, await subject.adapter.canonical_scope(subject.scope, subject.call())
        await subject.create("another")
        parts = [{"part": part} for part in subject.emulator.members if part != "id"]
        rules = [
            {"fault": fault + when, **more}
            for fault, mores in (("other_answer", [{}]), ("other_name", parts))
            for more in mores
            for when in ("", "_after")
        ]
        for number, rule in enumerate(rules):
            subject.fault(**rule, operation="create", times=1)
            request = subject.create_request(f"one-{number}")
            created = await adapter.create(request, subject.scope, subject.call())
            assert subject.emulator.faults.fired[rule["fault"]], f"{rule} did not fire"
            assert not adapter.answers_create(created.runtime, f"one-{number}", scope), f"{rule} was taken for the own"
            own = [made.id for made in subject.emulator.made() if made.name == f"one-{number}"]
            assert len(own) == rule["fault"].endswith("_after")
        created = await adapter.create(subject.create_request("last"), subject.scope, subject.call())
        assert adapter.answers_create(created.runtime, "last", scope)

    async def test_a_look_up_finds_every_runtime_of_the_name(self, subject: Subject) -> None:
        """This includes a second one, which a provider may make of one request, and none of another name."""
        await subject.create("another")
        subject.fault(operation="create", fault="commit_twice", times=1)
        created = await subject.adapter.create(subject.create_request("one"), subject.scope, subject.call())
        made = {made.id for made in subject.emulator.made() if made.name == "one"}
        assert len(made) == 2
        seen = [seen.runtime.provider_id for seen in await _look_up(subject)]
        if subject.adapter.deduplication is Deduplication.BY_NAME:
            assert set(seen) <= made, "a provider that deduplicates by name may show one of them"
        else:
            assert sorted(seen) == sorted(made)
        assert created.runtime.provider_id in made

    async def test_a_look_up_finds_a_stopped_runtime_with_its_state(self, subject: Subject) -> None:
        """The name of a stopped runtime does not look free."""
        adapter = subject.adapter
        ref = adapter.reference(await subject.create_running("one"))
        if isinstance(adapter, SupportsStop):
            ended = await adapter.stop(ref, subject.call())
        else:
            assert isinstance(adapter, SupportsReset)
            ended = await adapter.reset(ref, subject.call())
        (seen,) = await _look_up(subject)
        assert (seen.runtime.id, seen.runtime.state) == (ended.id, ended.state)
        assert seen.runtime.state is not State.RUNNING
        assert seen.runtime.created_at

    async def test_a_failed_look_up_raises(self, subject: Subject) -> None:
        """An empty result would be a proof of absence; no failure is one."""
        for rule, _ in READS:
            subject.fault(**rule)
            with expecting(Exception, f"a look-up with {rule} returned as if there were no runtime") as caught:
                await _look_up(subject)
            assert isinstance(caught[0], GatewayError | TransportFailure)

    async def test_a_status_in_definitive_rejections_counts_in_the_providers_own_envelope_only(
        self, subject: Subject
    ) -> None:
        """The same status proves nothing on a proxy's page, and none may come after a commit."""
        adapter = subject.adapter
        assert adapter.definitive_rejections
        assert not [
            status for status in adapter.definitive_rejections if status in _NO_PROOF or not 400 <= status < 500
        ]
        for status in sorted(adapter.definitive_rejections):
            subject.emulator.reset()
            assert await self._refused(subject, fault="status", status=status)
            assert not await self._refused(subject, fault="status", status=status, **PAGE)
            assert subject.emulator.creates == 0
            assert not await self._refused(subject, fault="html", status=status)
            assert subject.emulator.creates == 1

    async def test_own_envelope_is_true_for_the_providers_errors_and_false_for_web_pages(
        self, subject: Subject
    ) -> None:
        """Whatever the status."""
        for status in (402, 408, 409, 429, 500, 502, 503, 504):
            assert await self._refused(subject, fault="status", status=status)
            assert not await self._refused(subject, fault="status", status=status, **PAGE)

    async def _refused(self, subject: Subject, **rule: Any) -> bool:
        """Return whether the failure of a create with this fault is in the provider's own envelope."""
        subject.fault(**rule)
        failure = (await subject.failure(Operation.CREATE)).failure
        assert failure is not None
        assert failure.status == rule["status"]
        return failure.own_envelope

    async def test_a_409_of_a_create_is_already_exists(self, subject: Subject) -> None:
        """The error keeps the provider's status and envelope."""
        subject.fault(fault="status", status=409)
        error = await subject.failure(Operation.CREATE)
        assert type(error) is AlreadyExists
        assert error.failure is not None
        assert (error.failure.status, error.failure.own_envelope) == (409, True)

    async def test_account_and_canonical_scope_do_not_depend_on_the_settings(self, subject: Subject) -> None:
        """A pinned and an open provider return the same, using reads only."""
        pinned, opened = subject.make(pinned=True), subject.make(pinned=False)
        canonical = await pinned.canonical_scope(subject.scope, subject.call())
        assert canonical == await opened.canonical_scope(subject.scope, subject.call())
        assert canonical == await opened.canonical_scope(canonical, subject.call())
        assert await pinned.account(subject.call()) == await opened.account(subject.call())
        assert {entry.method for entry in subject.emulator.requests.received()} <= {"GET"}


async def _look_up(subject: Subject) -> list[Seen]:
    return list(await subject.adapter.find_with_markers(subject.scope, "one", subject.call()))


async def _got(subject: Subject, created: Created) -> Runtime:
    return await subject.adapter.get(subject.adapter.reference(created.runtime), subject.call())


class _Recorder(WrappingTransport):
    """Appends the requests that are sent through it to a list."""

    def __init__(self, sent: list[UpstreamRequest], inner: Transport) -> None:
        super().__init__(inner)
        self._sent = sent

    async def send(self, request: UpstreamRequest, call: Call) -> UpstreamResponse:
        self._sent.append(request)
        return await self.inner.send(request, call)
