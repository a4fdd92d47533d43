#!/usr/bin/env python3
"""Makes decisions, consents and histories out of an invented ledger, for tests: sound ones, and altered ones.

The ledger is executed by `assent_formats.execution`; what proofs of its states are made of is kept on the way.
For each access there is a decision file, for each consent a consent file at many moments, for each subject and
recipient a history of many periods, each from every state that reaches so far. The other cases are wrong in one
place, in a file, in a state for which the prover vouched, or in a ledger that was executed wrongly.

    forge_state.py DIR    writes the cases as a corpus for run_corpus.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import forge as forging
from assent_formats import execution, files, layouts, merkle, note, state
from assent_formats.codec import U64_MAX, decode, encode, sha256
from assent_formats.execution import Executed, Ledger
from assent_formats.layouts import (
    BatchHeader,
    ActiveTerms,
    AnotherKey,
    CitesNothing,
    ConsentFile,
    DecisionFile,
    HistoryFile,
    HistoryItem,
    LoggedTransaction,
    LogRecord,
    LogSlice,
    MomentKind,
    NoRequest,
    NothingThere,
    OpenedRecord,
    OutcomeKind,
    OutcomeLeaf,
    Present,
    Reason,
    ShownAccess,
    SignedHeader,
    StateRoot,
    Whose,
)
from assent_formats.state import AccessLogLeaf, ActorLogLeaf, ConsentLogLeaf, Kind
from assent_formats.statetree import StateTree
from assent_formats.terms import encode_terms
from assent_formats.transaction import read_body
from forge import CREATED, HOUR_MS, VALIDATOR_SEEDS, VALIDATORS, message, scope
from forge_evidence import (
    CHAIN,
    CLINIC,
    GRANT,
    MANIFEST,
    MANIFEST_BYTES,
    NOBODY,
    PATIENT,
    SENSITIVITY,
    VERIFIED,
    Case,
    account,
    checkpoint,
    coding,
    id_of,
    opened,
    record_of,
    sign_header,
    transaction,
    write_corpus,
)

OTHER, LONER = (bytes([byte]) * 32 for byte in (0x24, 0x25))
WEEK = MANIFEST.max_validity_ms
PSY = coding(SENSITIVITY, "PSY")


def request(
    sender: bytes, salt: int, *subjects: bytes, expires: int = CREATED + HOUR_MS, purpose: str = "TREAT"
) -> LoggedTransaction:
    asked = *((1, account(subject)) for subject in subjects), (2, scope(purpose=purpose))
    return transaction(sender, (19, message(*asked)), salt, expires)


def access(
    request_id: bytes, salt: int, *more: tuple[int, Any], purpose: str = "TREAT", expires: int = CREATED + HOUR_MS
) -> LoggedTransaction:
    read = message((1, request_id), (2, account(PATIENT)), (3, scope(b"\x33" * 32, purpose, *more)))
    return transaction(CLINIC, (20, read), salt, expires)


ASK = request(CLINIC, 30, PATIENT, NOBODY, LONER)
ASK_TWO = request(CLINIC, 31, PATIENT)
ASK_DENIED = request(CLINIC, 32, PATIENT, purpose="HRESCH")
ASK_OTHER = request(OTHER, 33, PATIENT)
RECORD = access(id_of(ASK), 34)
DEFAULT_PERMIT = transaction(PATIENT, (17, message((1, message((1, 1))))), 35)
DAY, LATER = CREATED + 25 * HOUR_MS, CREATED + WEEK + HOUR_MS

# The groups of each batch: the time, and the transactions.
STORY: tuple[tuple[tuple[int, tuple[LoggedTransaction, ...]], ...], ...] = (
    ((CREATED, (opened(PATIENT, 1, 1), opened(CLINIC, 2, 2), opened(OTHER, 2, 40), opened(LONER, 1, 41))),),
    (
        (CREATED + 1_000, (request(CLINIC, 42, PATIENT), GRANT)),
        (CREATED + 2_000, (ASK, ASK_DENIED, ASK_OTHER)),
        (
            CREATED + 3_000,
            (
                RECORD,
                access(id_of(ASK_TWO), 43),  # before it was asked
                access(id_of(ASK_OTHER), 44),
                access(id_of(RECORD), 45),
                access(id_of(ASK_DENIED), 46, purpose="HRESCH"),
                access(b"\x99" * 32, 47),
                access(id_of(ASK), 48, (5, PSY)),
            ),
        ),
    ),
    (
        (CREATED + 4_000, (DEFAULT_PERMIT, ASK_TWO, request(CLINIC, 49, PATIENT, purpose="HRESCH"))),
        (CREATED + 4_000, (access(id_of(ASK_TWO), 50), access(id_of(ASK_TWO), 51, purpose="ETREAT"))),
    ),
    (
        (DAY, (access(id_of(ASK_TWO), 52, expires=DAY + HOUR_MS),)),
        (
            DAY,
            (
                transaction(None, (18, message((2, b"\x45" * 32))), 53, DAY + HOUR_MS),
                transaction(PATIENT, (18, message((1, id_of(DEFAULT_PERMIT)))), 54, DAY + HOUR_MS),
                request(CLINIC, 55, PATIENT, expires=DAY + HOUR_MS),
            ),
        ),
    ),
    (
        (CREATED + 4_000 + WEEK, (access(id_of(ASK_TWO), 56, expires=LATER),)),
        (CREATED + 4_001 + WEEK, (access(id_of(ASK_TWO), 57, expires=LATER),)),
        (LATER, (transaction(NOBODY, (16, message((1, 3))), 58, LATER + 1),)),
    ),
)


@dataclass
class Kept:
    """The state after a batch, and what is there to open of it."""

    batch: int
    header: SignedHeader
    end: int  # the first sequence that it does not reach
    time: int
    tree: StateTree
    values: dict[bytes, tuple[bytes, bytes]]

    def record(self, kind: Kind, id: bytes) -> Any:
        value = self.values.get(state.state_key(kind, id))
        return None if value is None else decode(state.RECORDS[kind], value[1])

    def opened(self, kind: Kind, id: bytes) -> OpenedRecord:
        key = state.state_key(kind, id)
        siblings, leaf = self.tree.way(state.key_hash(key))
        terminal: layouts.Terminal = NothingThere()
        if key in self.values:
            terminal = Present(*self.values[key])
        elif leaf is not None:
            terminal = AnotherKey(leaf.key_hash, leaf.value_hash)
        return OpenedRecord(key, siblings, terminal)


class Keeping(Ledger):
    """A ledger that keeps what proofs of its states are made of."""

    def __init__(self) -> None:
        super().__init__(MANIFEST, CHAIN)
        self.states: list[Kept] = []
        self.values: dict[bytes, tuple[bytes, bytes]] = {}
        self.logs: dict[bytes, tuple[bytes, ...]] = {sha256(): ()}  # by their roots
        self.outcomes: dict[bytes, tuple[bytes, bytes]] = {}  # leaf and detail, by the leaf's hash
        self.transactions: dict[bytes, LoggedTransaction] = {}
        self.active: dict[bytes, tuple[state.ActiveConsent, ...]] = {state.active_digest(()): ()}  # by the digest

    def execute_record(self, data: bytes) -> list[Executed]:
        append = merkle.Range.append

        def kept(before: merkle.Range, leaf: bytes) -> merkle.Range:
            after = append(before, leaf)
            self.logs[after.root()] = (*self.logs[before.root()], leaf)
            return after

        with mock.patch.object(merkle.Range, "append", kept):
            executed = super().execute_record(data)
        for one, logged in zip(executed, decode(LogRecord, data).transactions):
            self.transactions[one.entry.transaction_id] = logged
            self.outcomes |= {merkle.leaf_hash(leaf): (leaf, detail) for leaf, detail in zip(one.leaves, one.details)}
        return executed

    def write_logs(self, *given: Any) -> None:
        super().write_logs(*given)
        for record in self.state.records.values():
            if isinstance(record, state.SubjectConsents):
                self.active[record.digest()] = record.active

    def seal(self) -> bytes:
        self.values |= self.state.written
        last = self.open.last
        assert last is not None
        header = super().seal()
        signed = sign_header(header)
        kept = Kept(len(self.states), signed, self.sequence, last.time, self.state.tree, dict(self.values))
        self.states.append(kept)
        return header


def make_ledger(story: Sequence[Sequence[tuple[int, Sequence[LoggedTransaction]]]] = STORY) -> Keeping:
    ledger = Keeping()
    for groups in story:
        for number, (time, transactions) in enumerate(groups):
            # Bit 1: this batch ends here. Bit 2: the operator confirmed the step of time.
            flags = 2 + (number == len(groups) - 1)
            ledger.execute_record(encode(record_of(ledger, transactions, False, time=time, flags=flags)))
        ledger.seal()
    return ledger


@dataclass
class Maker:
    """Makes files out of a ledger's states."""

    ledger: Keeping
    history: list[bytes] = field(default_factory=list)  # batch records

    def __post_init__(self) -> None:
        self.history = self.history or list(self.ledger.history)

    def state_root(self, batch: int, cosigned_by: Sequence[int] = (), size: int | None = None) -> StateRoot:
        leaves = [merkle.leaf_hash(record) for record in self.history[:size]]
        text = checkpoint(len(leaves), merkle.root(leaves))
        for number in cosigned_by:
            signed = note.Checkpoint(CHAIN, len(leaves), merkle.root(leaves)).text
            text += forging.cosignature(VALIDATORS[number], VALIDATOR_SEEDS[number], signed)
        path = tuple(merkle.inclusion_path(leaves, batch))
        return StateRoot(self.ledger.states[batch].header, self.history[batch], path, text)

    def log(self, kind: Kind, id: bytes, batch: int) -> tuple[bytes, ...]:
        record = self.ledger.states[batch].record(kind, id)
        return () if record is None else self.ledger.logs[record.log.root()]

    def slice(self, log: Sequence[bytes], start: int, end: int) -> LogSlice:
        hashes = [merkle.leaf_hash(leaf) for leaf in log]
        return LogSlice(start, tuple(log[start:end]), tuple(merkle.range_proof(hashes, start, end)))

    def shown(self, log: Sequence[bytes], index: int) -> ShownAccess:
        leaf = decode(AccessLogLeaf, log[index])
        return ShownAccess(self.slice(log, index, index + 1), self.ledger.outcomes[leaf.decision_leaf_hash][0])

    def cited(self, log: Sequence[bytes], index: int) -> ShownAccess | NoRequest:
        """The request that a record cites, or all accesses in which it could be."""
        leaves = [decode(AccessLogLeaf, leaf) for leaf in log[: index + 1]]
        record = leaves[index]
        read = read_body(self.ledger.transactions[record.transaction_id].body, CHAIN).record_access
        assert read is not None
        begin = record.time - WEEK
        start = next(place for place, leaf in enumerate(leaves) if leaf.time >= begin)
        named = [place for place, leaf in enumerate(leaves[:index]) if leaf.transaction_id == read.request_id]
        shown = None
        for place in named:
            data = self.ledger.outcomes[leaves[place].decision_leaf_hash][0]
            outcome, own = decode(OutcomeLeaf, data), decode(OutcomeLeaf, self.shown(log, index).decision)
            assert outcome.question is not None and own.question is not None
            is_request = outcome.kind in (OutcomeKind.ACCESS_PERMITTED, OutcomeKind.ACCESS_DENIED)
            if place >= start:
                if is_request and outcome.question.recipient == own.question.recipient:
                    return self.shown(log, place)
                shown = data
        return NoRequest(self.slice(log, max(start - 1, 0), index + 1), shown)

    def decision(self, subject: bytes, index: int, batch: int = -1, **changes: Any) -> DecisionFile:
        batch = range(len(self.ledger.states))[batch]
        kept = self.ledger.states[batch]
        log = self.log(Kind.SUBJECT_ACCESSES, subject, batch)
        leaf = decode(AccessLogLeaf, log[index])
        decision, detail = self.ledger.outcomes[leaf.decision_leaf_hash]
        logged = self.ledger.transactions[leaf.transaction_id]
        body = read_body(logged.body, CHAIN)
        alone = body.request_access is None or len(body.request_access.subjects) == 1
        size = leaf.consent_log_size
        consents = self.log(Kind.SUBJECT_CONSENTS, subject, batch)
        start, end = max(size - 1, 0), min(size + 1, len(consents))
        digest = decode(ConsentLogLeaf, consents[size - 1]).active_digest if size else state.active_digest(())
        made = DecisionFile(
            manifest=MANIFEST_BYTES,
            state=self.state_root(batch),
            transaction=logged if alone else None,
            accesses=kept.opened(Kind.SUBJECT_ACCESSES, subject),
            access=self.shown(log, index),
            detail=detail,
            consents=kept.opened(Kind.SUBJECT_CONSENTS, subject),
            around=self.slice(consents, start, end) if start < end else None,
            active=tuple(map(self.terms, (one.consent for one in self.ledger.active[digest]))),
            account=None if size else kept.opened(Kind.ACCOUNT, subject),
            cited=CitesNothing() if body.request_access else self.cited(log, index),
        )
        return replace(made, **changes)

    def terms(self, consent: bytes) -> ActiveTerms:
        record = self.ledger.states[-1].record(Kind.CONSENT, consent)
        return ActiveTerms(consent, record.salt, encode_terms(record.terms))

    def consent(self, id: bytes, kind: MomentKind, moment: int, batch: int = -1, **changes: Any) -> ConsentFile:
        batch = range(len(self.ledger.states))[batch]
        opened_record = self.ledger.states[batch].opened(Kind.CONSENT, id)
        made = ConsentFile(MANIFEST_BYTES, self.state_root(batch), id, kind, moment, opened_record)
        return replace(made, **changes)

    def item(self, index: int, leaf: bytes, whose: Whose, within: bool) -> HistoryItem:
        cls: Any = AccessLogLeaf if whose == Whose.SUBJECT else ActorLogLeaf
        decision, detail = self.ledger.outcomes[decode(cls, leaf).decision_leaf_hash]
        shown = detail if within and whose == Whose.SUBJECT else None
        return HistoryItem(index, leaf, decision if within else None, shown)

    def history_of(
        self, whose: Whose, id: bytes, start: int = 0, end: int = U64_MAX, batch: int = -1, **changes: Any
    ) -> HistoryFile:
        batch = range(len(self.ledger.states))[batch]
        kind = Kind.SUBJECT_ACCESSES if whose == Whose.SUBJECT else Kind.ACTOR
        log = self.log(kind, id, batch)
        times = [int.from_bytes(leaf[10:18], "big") for leaf in log]
        # One more on each side, where there is one.
        low = max(sum(time < start for time in times) - 1, 0)
        high = min(sum(time < end for time in times) + 1, len(log))
        items = tuple(self.item(index, log[index], whose, start <= times[index] < end) for index in range(low, high))
        path = self.slice(log, low, high).path if items else ()
        opened_log = self.ledger.states[batch].opened(kind, id)
        made = HistoryFile(MANIFEST_BYTES, self.state_root(batch), whose, id, start, end, opened_log, items, path)
        return replace(made, **changes)


LEDGER = make_ledger()
MAKE = Maker(LEDGER)
BATCHES = range(len(STORY))
ACCOUNTS = tuple(map(account, (PATIENT, CLINIC, OTHER, LONER, NOBODY)))
SUBJECT = ACCOUNTS[0]
MAGICS = {
    DecisionFile: files.DECISION_MAGIC,
    ConsentFile: files.CONSENT_MAGIC,
    HistoryFile: files.HISTORY_MAGIC,
}
Content = DecisionFile | ConsentFile | HistoryFile
WrongCase = tuple[str, Any, str]  # a name, a file, and what is to be found


def write(content: Content) -> bytes:
    return files.write_file(content, MAGICS[type(content)])


def number_of(subject: bytes, transaction_id: bytes) -> int:
    """The index of a transaction in a subject's access log."""
    log = MAKE.log(Kind.SUBJECT_ACCESSES, subject, -1)
    return [decode(AccessLogLeaf, leaf).transaction_id for leaf in log].index(transaction_id)


def sound_decisions() -> Iterator[tuple[str, Content]]:
    for number, id in enumerate(ACCOUNTS):
        for batch in BATCHES:
            for index in range(len(MAKE.log(Kind.SUBJECT_ACCESSES, id, batch))):
                yield f"decision-{number}-{index}-{batch}", MAKE.decision(id, index, batch)


MOMENTS = (
    (MomentKind.END_OF_STATE, 0),
    *((MomentKind.TIME, CREATED + after) for after in (0, 999, 1_000, 3_999, 4_000, 25 * HOUR_MS - 1, 25 * HOUR_MS)),
    *((MomentKind.SEQUENCE, sequence) for sequence in (0, 4, 5, 16, 17, 22, 23)),
)


def is_reached(kind: MomentKind, moment: int, batch: int) -> bool:
    kept = LEDGER.states[batch]
    return kind == MomentKind.END_OF_STATE or moment < (kept.time if kind == MomentKind.TIME else kept.end)


def consents() -> Iterator[WrongCase]:
    for number, id in enumerate((id_of(GRANT), id_of(DEFAULT_PERMIT), b"\x77" * 32)):
        for batch in BATCHES:
            for kind, moment in MOMENTS:
                expect = VERIFIED if is_reached(kind, moment, batch) else "moment-not-reached"
                name = f"consent-{number}-{kind.name.lower()}-{moment}-{batch}"
                yield name, MAKE.consent(id, kind, moment, batch), expect


PERIODS = tuple(
    (start, end)
    for start in (0, CREATED + 1_000, CREATED + 1_001, CREATED + 3_000, CREATED + 4_001, DAY + 1)
    for end in (CREATED, CREATED + 2_000, CREATED + 2_001, CREATED + 3_001, DAY, U64_MAX)
    if start < end
)


def sound_histories() -> Iterator[tuple[str, Content]]:
    for number, id in enumerate(ACCOUNTS):
        for whose in Whose:
            for batch in BATCHES:
                for start, end in (
                    PERIODS if (number, batch) in ((0, 3), (1, 3), (2, 1)) else PERIODS[:1] + PERIODS[-1:]
                ):
                    name = f"history-{whose.name.lower()}-{number}-{batch}-{start}-{end}"
                    yield name, MAKE.history_of(whose, id, start, end, batch)


def flipped(data: bytes, place: int = -1) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def edited(cls: Any, data: bytes, **changes: Any) -> bytes:
    return encode(replace(decode(cls, data), **changes))


def states(good: Content) -> Iterator[WrongCase]:
    """What is the same for all three: the batch, its record, the checkpoint and the cosignatures."""

    def made(**changes: Any) -> Content:
        return replace(good, state=replace(good.state, **changes))

    found = good.state
    header, record = found.header, found.record
    yield "header", made(header=replace(header, header=header.header + b"\0")), "header"
    for name, change in (
        ("header-chain", {"chain_id": bytes(32)}),
        ("header-key", {"key_id": bytes(32)}),
        ("header-ruleset", {"ruleset": 2}),
    ):
        wrong = sign_header(edited(layouts.BatchHeader, header.header, **change))
        yield name, made(header=wrong), name
    yield "unsigned", made(header=replace(header, signature=bytes(64))), "header-signature"
    yield "tree-kind", made(record=record[:-1] + b"\0"), "tree-kind"
    yield "tree-kind-2", made(record=record[:-1] + b"\2"), "tree-kind"
    yield "record-layout", made(record=b"\x1b" + record[1:]), "batch-record"
    yield "record-layout-and-tree-kind", made(record=b"\x1b" + record[1:-1] + b"\0"), "tree-kind"
    yield "other-record", made(record=MAKE.history[0]), "batch-record-header"
    yield "other-state", made(record=edited(layouts.BatchRecord, record, state_root=bytes(32))), "batch-inclusion"
    yield "other-path", made(path=(*found.path, bytes(32))), "batch-inclusion"
    yield "checkpoint", made(checkpoint=found.checkpoint[:-1]), "checkpoint"
    forged = checkpoint(len(MAKE.history), sha256(b"other"), forging.SEQUENCER_SEED)
    yield "forged-checkpoint", made(checkpoint=forged), "checkpoint"
    older = MAKE.state_root(0, size=1).checkpoint
    yield "older-checkpoint", made(checkpoint=older), "batch-inclusion"
    yield "later-state", replace(good, state=MAKE.state_root(0)), "state-proof"
    yield "manifest", replace(good, manifest=b""), "manifest"


def of_opened(good: OpenedRecord) -> Iterator[tuple[str, OpenedRecord, str]]:
    assert isinstance(good.terminal, Present)
    yield "other-key", replace(good, key=flipped(good.key)), "state-key"
    yield "other-kind", replace(good, key=flipped(good.key, 0)), "state-key"
    yield "other-salt", replace(good, terminal=replace(good.terminal, salt=bytes(32))), "state-proof"
    yield "other-value", replace(good, terminal=replace(good.terminal, record=b"")), "state-proof"
    yield "nothing-there", replace(good, terminal=NothingThere()), "state-proof"
    yield "another-key", replace(good, terminal=AnotherKey(bytes(32), bytes(32))), "state-proof"
    key, value = state.key_hash(good.key), state.value_hash(good.terminal.salt, good.terminal.record)
    yield "its-own-key-as-another", replace(good, terminal=AnotherKey(key, value)), "state-proof"
    yield "sibling-less", replace(good, siblings=good.siblings[:-1]), "state-proof"
    yield "sibling-more", replace(good, siblings=(*good.siblings, bytes(32))), "state-proof"
    yield "no-siblings", replace(good, siblings=()), "state-proof"
    for place, sibling in enumerate(good.siblings):
        if sibling is not None:
            without = (*good.siblings[:place], None, *good.siblings[place + 1 :])
            yield f"no-sibling-{place}", replace(good, siblings=without), "state-proof"


def of_slice(good: LogSlice) -> Iterator[tuple[str, LogSlice, str]]:
    yield "other-leaf", replace(good, leaves=(flipped(good.leaves[0]), *good.leaves[1:])), "log-root"
    yield "unreadable-leaf", replace(good, leaves=(good.leaves[0][:-1], *good.leaves[1:])), "log-root"
    yield "path-longer", replace(good, path=(*good.path, bytes(32))), "log-root"
    yield "path-shorter", replace(good, path=good.path[:-1]), "log-root"


def wrong_decisions() -> Iterator[WrongCase]:
    ask = number_of(SUBJECT, id_of(ASK_TWO))
    good = MAKE.decision(SUBJECT, ask)
    yield from states(good)
    for part in ("accesses", "consents"):
        for name, changed, expect in of_opened(getattr(good, part)):
            edit: dict[str, Any] = {part: changed}
            yield f"{part}-{name}", replace(good, **edit), expect
    for name, slice, expect in of_slice(good.access.slice):
        yield f"access-{name}", replace(good, access=replace(good.access, slice=slice)), expect
    assert good.around is not None
    for name, slice, expect in of_slice(good.around):
        yield f"around-{name}", replace(good, around=slice), expect
    other = MAKE.decision(SUBJECT, ask + 1)

    def access_with(**changes: Any) -> DecisionFile:
        return replace(good, access=replace(good.access, **changes))

    yield "access-elsewhere", access_with(slice=replace(good.access.slice, start=ask + 1)), "log-root"
    yield "access-past-the-end", access_with(slice=replace(good.access.slice, start=U64_MAX)), "log-root"
    yield "access-empty", access_with(slice=replace(good.access.slice, leaves=())), "log-root"
    yield (
        "access-twice",
        access_with(slice=replace(good.access.slice, leaves=good.access.slice.leaves * 2)),
        "unreadable",
    )
    yield "decision-of-another", access_with(decision=other.access.decision), "decision-leaf"
    yield "decision-unreadable", access_with(decision=b""), "outcome-leaf"
    for name, change in (
        ("kind", {"kind": OutcomeKind.ACCESS_DENIED, "permit_until": 0}),
        ("permit", {"permit_until": U64_MAX}),
        ("obligations", {"obligations": (layouts.Obligation((), (), (), None),)}),
    ):
        yield (
            f"decision-{name}",
            access_with(decision=edited(OutcomeLeaf, good.access.decision, **change)),
            "decision-leaf",
        )
    yield "access-of-another", replace(good, access=other.access), "transaction-id"
    elsewhere = MAKE.decision(ACCOUNTS[3], 0)
    yield "access-of-another-subject", replace(good, access=elsewhere.access), "state-key"
    yield "accesses-of-another-subject", replace(good, accesses=elsewhere.accesses), "state-key"
    yield "consents-of-another-subject", replace(good, consents=elsewhere.consents), "state-key"
    before = LEDGER.states[2]
    yield (
        "accesses-of-an-earlier-state",
        replace(good, accesses=before.opened(Kind.SUBJECT_ACCESSES, SUBJECT)),
        "state-proof",
    )
    yield (
        "consents-of-an-earlier-state",
        replace(good, consents=before.opened(Kind.SUBJECT_CONSENTS, SUBJECT)),
        "state-proof",
    )

    logged = good.transaction
    assert logged is not None
    yield "without-transaction", replace(good, transaction=None), VERIFIED
    yield "transaction-unreadable", replace(good, transaction=replace(logged, body=b"")), "transaction"
    yield "transaction-unsigned", replace(good, transaction=replace(logged, authorizations=())), "sender-signature"
    yield "transaction-of-another", replace(good, transaction=other.transaction), "transaction-id"
    several = MAKE.decision(SUBJECT, number_of(SUBJECT, id_of(ASK)))
    yield "transaction-of-several", replace(several, transaction=LEDGER.transactions[id_of(ASK)]), "decision"

    yield "around-left-out", replace(good, around=None), "consent-log"
    log = MAKE.log(Kind.SUBJECT_CONSENTS, SUBJECT, -1)
    for start, end in ((0, 1), (0, 2), (1, 2), (2, 3), (2, 4), (3, 4)):
        found = MAKE.slice(log, start, end)
        if found != good.around:
            yield f"around-{start}-{end}", replace(good, around=found), "consent-log"
    yield "around-too-many", replace(good, around=MAKE.slice(log, 1, 4)), "unreadable"
    yield "around-empty", replace(good, around=replace(good.around, leaves=())), "consent-log"
    first, second = good.active
    for name, active in (
        ("none", ()),
        ("dropped", (first,)),
        ("another-dropped", (second,)),
        ("swapped", (second, first)),
        ("twice", (first, second, second)),
        ("other-id", (replace(first, consent=bytes(32)), second)),
        ("other-salt", (replace(first, salt=b"x" * 16), second)),
        ("other-terms", (replace(first, terms=second.terms), second)),
    ):
        yield f"active-{name}", replace(good, active=active), "active-consents"
    for name, terms in (
        ("empty", b""),
        ("surplus", first.terms + b"\0"),
        ("layout", b"\x14" + first.terms[1:]),
        ("effect", first.terms[:2] + b"\3" + first.terms[3:]),
    ):
        yield f"terms-{name}", replace(good, active=(replace(first, terms=terms), second)), "state-record"
    account_record = LEDGER.states[-1].opened(Kind.ACCOUNT, SUBJECT)
    yield "account-not-asked-for", replace(good, account=account_record), "decision"
    yield "detail-unreadable", replace(good, detail=good.detail + b"\0"), "detail"
    yield "detail-of-another", replace(good, detail=other.detail), "detail"
    yield (
        "request-that-cites",
        replace(good, cited=MAKE.shown(MAKE.log(Kind.SUBJECT_ACCESSES, SUBJECT, -1), 0)),
        "cited-request",
    )

    # Nobody had consented to anything.
    for place in (3, 4):
        early = MAKE.decision(ACCOUNTS[place], 0)
        name = "known" if place == 3 else "unknown"
        yield f"{name}-account-left-out", replace(early, account=None), "decision"
        yield f"{name}-account-of-another", replace(early, account=account_record), "state-key"
        assert early.account is not None
        assert isinstance(early.account.terminal, Present)  # also of the one that was opened later
        absent = replace(early.account, terminal=NothingThere())
        yield f"{name}-account-denied", replace(early, account=absent), "state-proof"
        yield f"{name}-around", replace(early, around=good.around), "consent-log"
        yield f"{name}-active", replace(early, active=good.active), "active-consents"
    first_of_all = MAKE.decision(SUBJECT, 0)
    yield "before-any-consent-around-left-out", replace(first_of_all, around=None), "consent-log"
    # What is absent was never there.
    nobody = MAKE.decision(ACCOUNTS[4], 0, 1)
    assert nobody.account is not None
    yield (
        "absent-sibling-less",
        replace(nobody, account=replace(nobody.account, siblings=nobody.account.siblings[:-1])),
        "state-proof",
    )
    yield (
        "absent-empty-sibling",
        replace(nobody, account=replace(nobody.account, siblings=(*nobody.account.siblings, None))),
        "state-proof",
    )


def wrong_citations() -> Iterator[WrongCase]:
    log = MAKE.log(Kind.SUBJECT_ACCESSES, SUBJECT, -1)
    leaves = [decode(AccessLogLeaf, leaf) for leaf in log]
    place = number_of(SUBJECT, id_of(RECORD))
    good = MAKE.decision(SUBJECT, place)
    asked = good.cited
    assert isinstance(asked, ShownAccess)

    def hidden(index: int, start: int = 0, decision: bytes | None = None) -> NoRequest:
        return NoRequest(MAKE.slice(log, start, index + 1), decision)

    yield "nothing", replace(good, cited=CitesNothing()), "cited-request"
    yield "hidden", replace(good, cited=hidden(place)), "cited-request"
    yield "hidden-with-decision", replace(good, cited=hidden(place, 0, asked.decision)), "cited-request"
    yield "hidden-by-a-start", replace(good, cited=hidden(place, 3)), "cited-request"
    yield "hidden-by-an-end", replace(good, cited=hidden(place - 1)), "cited-request"
    yield (
        "another-request",
        replace(good, cited=MAKE.shown(log, number_of(SUBJECT, id_of(ASK_DENIED)))),
        "cited-request",
    )
    yield (
        "a-request-of-another",
        replace(good, cited=MAKE.shown(log, number_of(SUBJECT, id_of(ASK_OTHER)))),
        "cited-request",
    )
    yield "a-record", replace(good, cited=MAKE.shown(log, place)), "cited-request"
    for name, slice, expect in of_slice(asked.slice):
        yield f"request-{name}", replace(good, cited=replace(asked, slice=slice)), expect
    permit = edited(OutcomeLeaf, asked.decision, permit_until=U64_MAX)
    yield "other-permit", replace(good, cited=replace(asked, decision=permit)), "decision-leaf"
    yield "unreadable-permit", replace(good, cited=replace(asked, decision=b"")), "outcome-leaf"
    yield "record-without-transaction", replace(good, transaction=None), "decision"

    none = MAKE.decision(SUBJECT, place + 1)  # it cites a request that comes later
    later = number_of(SUBJECT, id_of(ASK_TWO))
    yield "later-request", replace(none, cited=MAKE.shown(log, later)), "cited-request"
    assert isinstance(none.cited, NoRequest)
    yield "decision-of-none", replace(none, cited=replace(none.cited, decision=asked.decision)), "cited-request"
    for name, slice, expect in of_slice(none.cited.slice):
        yield f"none-{name}", replace(none, cited=replace(none.cited, slice=slice)), expect
    yield "none-shortened", replace(none, cited=hidden(place + 1, 1)), "cited-request"
    yield "none-beyond-the-record", replace(none, cited=hidden(place + 2)), "cited-request"
    empty = replace(none.cited, slice=replace(none.cited.slice, leaves=()))
    yield "none-empty", replace(none, cited=empty), "log-root"

    foreign = MAKE.decision(SUBJECT, place + 2)  # it cites another's request
    assert isinstance(foreign.cited, NoRequest)
    yield "foreign-decision-left-out", replace(foreign, cited=replace(foreign.cited, decision=None)), "cited-request"
    yield (
        "foreign-decision-changed",
        replace(foreign, cited=replace(foreign.cited, decision=asked.decision)),
        "decision-leaf",
    )

    last = len(log) - 1
    on_the_edge, after_it = MAKE.decision(SUBJECT, last - 1), MAKE.decision(SUBJECT, last)
    assert isinstance(on_the_edge.cited, ShownAccess) and isinstance(after_it.cited, NoRequest)
    yield "expired-request", replace(after_it, cited=on_the_edge.cited), VERIFIED
    yield "all-of-the-log", replace(after_it, cited=hidden(last)), VERIFIED
    start = after_it.cited.slice.start
    yield "window-cut", replace(after_it, cited=hidden(last, start + 1)), "cited-request"
    assert leaves[start].time < leaves[last].time - WEEK <= leaves[start + 1].time


def with_state(make: Callable[[Kept], dict[bytes, tuple[bytes, bytes]]]) -> Maker:
    """Files of a ledger whose prover vouched for another last state."""
    ledger = make_ledger()
    kept = ledger.states[-1]
    for key, (salt, record) in make(kept).items():
        kept.values[key] = salt, record
        kept.tree = kept.tree.put(state.key_hash(key), state.value_hash(salt, record))
    header = ledger.headers[-1]
    return Maker(ledger, [*ledger.history[:-1], execution.batch_record(header, kept.tree.root())])


def wrong_states() -> Iterator[WrongCase]:
    """States that do not follow: the prover is believed, but for what the file itself shows."""

    def changed(kind: Kind, id: bytes, change: Callable[[bytes], bytes]) -> Maker:
        key = state.state_key(kind, id)
        return with_state(lambda kept: {key: (kept.values[key][0], change(kept.values[key][1]))})

    ask = number_of(SUBJECT, id_of(ASK_TWO))
    cut = changed(Kind.SUBJECT_ACCESSES, SUBJECT, lambda record: record + b"\0")
    sound = MAKE.decision(SUBJECT, ask)

    def of(maker: Maker) -> DecisionFile:
        kept = maker.ledger.states[-1]
        return replace(
            sound,
            state=maker.state_root(len(BATCHES) - 1),
            accesses=kept.opened(Kind.SUBJECT_ACCESSES, SUBJECT),
            consents=kept.opened(Kind.SUBJECT_CONSENTS, SUBJECT),
        )

    yield "accesses-unreadable", of(cut), "state-record"
    yield "consents-unreadable", of(changed(Kind.SUBJECT_CONSENTS, SUBJECT, lambda record: record[:-1])), "state-record"
    peaks = changed(Kind.SUBJECT_ACCESSES, SUBJECT, lambda record: record[:9] + b"\xff" + record[10:])
    yield "accesses-without-peaks", of(peaks), "state-record"
    fewer = with_state(
        lambda kept: {state.state_key(Kind.SUBJECT_CONSENTS, SUBJECT): (bytes(32), encode(state.SubjectConsents()))}
    )
    yield "consents-forgotten", of(fewer), "consent-log"
    grant = id_of(GRANT)
    for name, change in (
        ("unreadable", lambda record: record + b"\0"),
        ("unreadable-terms", lambda record: record[:-1]),
    ):
        maker = changed(Kind.CONSENT, grant, change)
        opened_record = maker.ledger.states[-1].opened(Kind.CONSENT, grant)
        file = MAKE.consent(grant, MomentKind.END_OF_STATE, 0)
        yield (
            f"consent-{name}",
            replace(file, state=maker.state_root(len(BATCHES) - 1), record=opened_record),
            "state-record",
        )


def wrong_executions() -> Iterator[WrongCase]:
    """Decisions that were wrong: the ledger was executed by other rules."""

    def made(**patches: Any) -> Maker:
        with mock.patch.multiple(execution, **patches):
            return Maker(make_ledger())

    request_of, record_of_access, relied = (
        execution.outcome_of_request,
        execution.outcome_of_record,
        execution.cannot_rely,
    )

    def all_permitted(decision: Any, *rest: Any) -> execution.Decided:
        return request_of(replace(decision, permitted=True), *rest)

    def all_denied(decision: Any, *rest: Any) -> execution.Decided:
        return request_of(replace(decision, permitted=False, obligations=()), *rest)

    def longer(*given: Any) -> execution.Decided:
        decided = request_of(*given)
        return replace(decided, permit_until=decided.permit_until + bool(decided.permit_until))

    def other_reason(*given: Any) -> execution.Decided:
        return replace(request_of(*given), reason=Reason.NONE_APPLICABLE)

    def obliged(*given: Any) -> execution.Decided:
        return replace(request_of(*given), obligations=(layouts.Obligation((), (), (), None),))

    def silent(*given: Any) -> execution.Decided:
        return replace(request_of(*given), verdicts=())

    def covered(decision: Any, *rest: Any) -> execution.Decided:
        return record_of_access(replace(decision, permitted=True, reason=Reason.PERMITTED_BY_DEFAULT), None, *rest[1:])

    permitted, denied = number_of(SUBJECT, id_of(ASK_TWO)), number_of(SUBJECT, id_of(ASK_DENIED))
    for name, outcome, index in (
        ("permitted", all_permitted, denied),
        ("denied", all_denied, permitted),
        ("permit-until", longer, permitted),
        ("reason", other_reason, permitted),
        ("obligations", obliged, permitted),
        ("verdicts", silent, permitted),
    ):
        yield name, made(outcome_of_request=outcome).decision(SUBJECT, index, 2), "wrong-decision"
    beyond = number_of(SUBJECT, id_of(RECORD)) + 1
    yield "covered", made(outcome_of_record=covered).decision(SUBJECT, beyond, 2), "wrong-decision"

    def never(*given: Any) -> Reason | None:
        return relied(*given) and Reason.BEYOND_THE_REQUEST

    yield "other-reason-of-record", made(cannot_rely=never).decision(SUBJECT, beyond, 2), "wrong-decision"


def wrong_consents() -> Iterator[WrongCase]:
    grant = id_of(GRANT)
    good = MAKE.consent(grant, MomentKind.END_OF_STATE, 0)
    yield from states(good)
    for name, changed, expect in of_opened(good.record):
        yield f"record-{name}", replace(good, record=changed), expect
    yield "other-consent", replace(good, consent=id_of(DEFAULT_PERMIT)), "state-key"
    earlier = LEDGER.states[2].opened(Kind.CONSENT, grant)
    yield "not-yet-revoked", replace(good, record=earlier), "state-proof"
    absent = MAKE.consent(b"\x77" * 32, MomentKind.END_OF_STATE, 0)
    yield "made-up", replace(absent, record=replace(absent.record, terminal=Present(bytes(32), b""))), "state-proof"
    yield "end-with-moment", replace(good, moment=1), "unreadable"
    yield "time-too-late", replace(good, moment_kind=MomentKind.TIME, moment=layouts.MAX_TIME + 1), "unreadable"
    yield "last-time", replace(good, moment_kind=MomentKind.TIME, moment=layouts.MAX_TIME), "moment-not-reached"
    yield "last-sequence", replace(good, moment_kind=MomentKind.SEQUENCE, moment=U64_MAX), "moment-not-reached"


def wrong_histories() -> Iterator[WrongCase]:
    good = MAKE.history_of(Whose.SUBJECT, SUBJECT)
    yield from states(good)
    for name, changed, expect in of_opened(good.log):
        yield f"log-{name}", replace(good, log=changed), expect
    items = good.items
    log = MAKE.log(Kind.SUBJECT_ACCESSES, SUBJECT, -1)
    count = len(items)

    def renumbered(found: Sequence[HistoryItem]) -> tuple[HistoryItem, ...]:
        return tuple(replace(item, index=index) for index, item in enumerate(found))

    def with_item(index: int, **changes: Any) -> HistoryFile:
        return replace(good, items=(*items[:index], replace(items[index], **changes), *items[index + 1 :]))

    for name, found, expect in (
        ("none", (), "history-gap"),
        ("without-first", items[1:], "history-gap"),
        ("without-last", items[:-1], "history-gap"),
        ("without-one", items[:4] + items[5:], "history-gap"),
        ("without-one-renumbered", renumbered(items[:4] + items[5:]), "history-gap"),
        ("twice", items[:5] + items[4:], "history-duplicate"),
        ("twice-renumbered", renumbered(items[:5] + items[4:]), "log-root"),
        ("swapped", items[:4] + items[5:3:-1] + items[6:], "history-order"),
        ("swapped-renumbered", renumbered(items[:3] + items[3:5][::-1] + items[5:]), "log-root"),
        ("reversed", items[::-1], "history-order"),
        ("and-more", (*items, replace(items[-1], index=count)), "log-root"),
        ("later-in-the-log", tuple(replace(item, index=item.index + 1) for item in items), "log-root"),
    ):
        yield f"items-{name}", replace(good, items=found), expect
    foreign = MAKE.history_of(Whose.SUBJECT, ACCOUNTS[3]).items[0]
    yield "foreign-item", with_item(2, leaf=foreign.leaf, decision=foreign.decision, detail=foreign.detail), "log-root"
    yield "leaf-unreadable", with_item(2, leaf=items[2].leaf + b"\0"), "log-root"
    yield "leaf-of-a-recipient", with_item(2, leaf=b"\x28" + items[2].leaf[1:-8]), "log-root"
    early = edited(AccessLogLeaf, items[5].leaf, time=CREATED)
    yield "time-falls", with_item(5, leaf=early), "log-root"
    yield "sequence-falls", with_item(5, leaf=edited(AccessLogLeaf, items[5].leaf, sequence=0)), "log-root"
    yield "leaf-changed", with_item(2, leaf=edited(AccessLogLeaf, items[2].leaf, transaction_id=bytes(32))), "log-root"
    yield "path-longer", replace(good, path=(bytes(32),)), "log-root"
    yield "decision-left-out", with_item(2, decision=None, detail=None), "period"
    yield "decision-of-another", with_item(2, decision=items[3].decision), "history-item"
    yield "decision-unreadable", with_item(2, decision=b""), "history-item"
    yield "detail-left-out", with_item(2, detail=None), "history-item"
    yield "detail-of-another", with_item(2, detail=items[3].detail), "history-item"
    yield "other-account", replace(good, account=ACCOUNTS[3]), "state-key"
    yield "as-recipient", replace(good, whose=Whose.RECIPIENT), "state-key"
    yield "period-reversed", replace(good, start=CREATED, end=CREATED), "period"
    yield "period-narrowed", replace(good, end=DAY), "period"
    yield "empty-log-with-path", replace(MAKE.history_of(Whose.SUBJECT, ACCOUNTS[1]), path=(bytes(32),)), "history-gap"
    yield "empty-log-with-item", replace(MAKE.history_of(Whose.SUBJECT, ACCOUNTS[1]), items=items[:1]), "history-gap"

    # Four accesses at 2000 ms and the like: one before and one after are shown without their decisions.
    middle = MAKE.history_of(Whose.SUBJECT, SUBJECT, CREATED + 2_000, CREATED + 3_000)
    inside = middle.items
    assert [item.decision is None for item in inside] == [True, False, False, False, True]

    def of_middle(low: int, high: int, **changes: Any) -> HistoryFile:
        path = tuple(merkle.range_proof([merkle.leaf_hash(leaf) for leaf in log], low, high))
        shown = {item.index: item for item in inside}
        found = tuple(shown.get(n) or HistoryItem(n, log[n], None, None) for n in range(low, high))
        return replace(middle, items=found, path=path, **changes)

    yield "middle", of_middle(0, 5), VERIFIED
    yield "middle-without-before", of_middle(1, 5), "history-gap"
    yield "middle-without-after", of_middle(0, 4), "history-gap"
    yield "middle-and-more-after", of_middle(0, 6), "period"
    late = MAKE.history_of(Whose.SUBJECT, SUBJECT, CREATED + 3_000, CREATED + 4_000)
    more = HistoryItem(late.items[0].index - 1, log[late.items[0].index - 1], None, None)
    yield "middle-and-more-before", replace(late, items=(more, *late.items)), "period"
    spare = replace(inside[0], detail=inside[1].detail)
    yield "detail-outside", replace(middle, items=(spare, *inside[1:])), "history-item"
    shown = replace(inside[0], decision=items[0].decision, detail=items[0].detail)
    yield "decision-outside", replace(middle, items=(shown, *inside[1:])), "period"

    # Nothing in the period: one before it and one after it.
    nothing = MAKE.history_of(Whose.SUBJECT, SUBJECT, CREATED + 5_000, CREATED + 6_000)
    assert len(nothing.items) == 2

    def of_nothing(low: int, high: int) -> HistoryFile:
        path = tuple(merkle.range_proof([merkle.leaf_hash(leaf) for leaf in log], low, high))
        found = tuple(HistoryItem(n, log[n], None, None) for n in range(low, high))
        return replace(nothing, items=found, path=path)

    place = nothing.items[0].index
    yield "nothing", of_nothing(place, place + 2), VERIFIED
    yield "nothing-but-before", of_nothing(place, place + 1), "history-gap"
    yield "nothing-but-after", of_nothing(place + 1, place + 2), "history-gap"
    yield "nothing-and-two-before", of_nothing(place - 1, place + 1), "history-gap"
    yield "nothing-and-two-after", of_nothing(place + 1, place + 3), "history-gap"
    yield "nothing-and-three", of_nothing(place - 1, place + 2), "period"
    before_all = replace(nothing, start=0, end=CREATED)
    for low, high, expect in ((0, 1, VERIFIED), (0, 2, "history-gap"), (1, 2, "history-gap")):
        edge = of_nothing(low, high)
        yield f"nothing-early-{low}-{high}", replace(before_all, items=edge.items, path=edge.path), expect
    late_period = replace(nothing, start=LATER, end=U64_MAX)
    for low, high, expect in (
        (count - 1, count, VERIFIED),
        (count - 2, count, "history-gap"),
        (count - 2, count - 1, "history-gap"),
    ):
        edge = of_nothing(low, high)
        yield (
            f"nothing-late-{count - low}-{count - high}",
            replace(late_period, items=edge.items, path=edge.path),
            expect,
        )

    recipient = MAKE.history_of(Whose.RECIPIENT, ACCOUNTS[1])
    first = recipient.items[0]
    with_detail = replace(first, detail=items[0].detail)
    yield "recipient-detail", replace(recipient, items=(with_detail, *recipient.items[1:])), "history-item"
    yield "recipient-as-subject", replace(recipient, whose=Whose.SUBJECT), "state-key"

    # A log into which the prover took what is not the account's.
    for whose, id, kind in (
        (Whose.SUBJECT, SUBJECT, Kind.SUBJECT_ACCESSES),
        (Whose.RECIPIENT, ACCOUNTS[2], Kind.ACTOR),
    ):
        other = MAKE.history_of(whose, ACCOUNTS[3] if whose == Whose.SUBJECT else ACCOUNTS[1])
        key = state.state_key(kind, id)
        taken = other.log.terminal
        assert isinstance(taken, Present)
        maker = with_state(lambda kept: {key: (taken.salt, taken.record)})
        opened_log = maker.ledger.states[-1].opened(kind, id)
        file = replace(other, account=id, log=opened_log, state=maker.state_root(len(BATCHES) - 1))
        yield f"foreign-{whose.name.lower()}", file, "history-foreign"


def cosigned() -> Iterator[Case]:
    grant = id_of(GRANT)
    spelled = [str(validator) for validator in VALIDATORS]
    chain = {"chain": CHAIN.hex()}
    decision = MAKE.decision(SUBJECT, 0)
    history = MAKE.history_of(Whose.SUBJECT, SUBJECT)
    consent = MAKE.consent(grant, MomentKind.END_OF_STATE, 0)
    for content in (decision, history, consent):
        kind = MAGICS[type(content)].decode().strip().removeprefix("assent-")
        for by in ((), (0,), (1,), (0, 1), (0, 0), (1, 1, 0)):
            file = write(replace(content, state=MAKE.state_root(len(BATCHES) - 1, by)))
            for named in ((), (0,), (0, 1), (0, 0)):
                for wanted in range(3):
                    enough = len(set(by) & set(named)) >= wanted
                    pins = {**chain, "validators": [spelled[n] for n in named], "require": wanted}
                    name = (
                        f"cosigned-{kind}-by-{by}-of-{named}-{wanted}".replace("(", "")
                        .replace(")", "")
                        .replace(", ", "-")
                    )
                    yield Case(name.replace(",", ""), file, VERIFIED if enough else "cosignatures", pins)
    text = consent.state.checkpoint
    signed = text.split("\n\n")[0] + "\n"
    line = forging.cosignature(VALIDATORS[0], VALIDATOR_SEEDS[0], signed)
    other = forging.cosignature(VALIDATORS[0], VALIDATOR_SEEDS[1], signed)
    raw = note.unbase64(line.split(" ")[2].strip())

    def raw_line(data: bytes) -> str:
        return forging.note_line(VALIDATORS[0].name, data)

    for name, more, expect in (
        ("sound", line, VERIFIED),
        ("by-another-key", other, "checkpoint"),
        ("of-another-text", forging.cosignature(VALIDATORS[0], VALIDATOR_SEEDS[0], signed + "x"), "checkpoint"),
        ("at-another-time", raw_line(raw[:4] + bytes(8) + raw[12:]), "checkpoint"),
        ("cut-off", raw_line(raw[:-1]), "checkpoint"),
        ("surplus", raw_line(raw + b"\0"), "checkpoint"),
        ("key-hash-only", raw_line(raw[:5]), "checkpoint"),
        ("under-another-name", line.replace("validator-0", "validator-9"), "cosignatures"),
        ("with-another-key-hash", raw_line(bytes(4) + raw[4:]), "cosignatures"),
        ("good-and-bad", line + other, "checkpoint"),
        ("bad-and-good", other + line, "checkpoint"),
    ):
        file = write(replace(consent, state=replace(consent.state, checkpoint=text + more)))
        pins = {**chain, "validators": spelled[:1], "require": 1}
        yield Case(f"cosignature-{name}", file, expect, pins)
        # Nobody asked for it.
        yield Case(f"cosignature-{name}-not-named", file, VERIFIED)


def header_time(content: HistoryFile) -> int:
    return decode(BatchHeader, content.state.header.header).time


def cases() -> Iterator[Case]:
    for sound in (sound_decisions, sound_histories):
        for name, content in sound():
            # A period that begins after the state is none.
            late = isinstance(content, HistoryFile) and content.start > header_time(content)
            yield Case(name, write(content), "period" if late else VERIFIED)
    for name, file, expect in consents():
        yield Case(name, write(file), expect)
    wrong: tuple[tuple[str, Callable[[], Iterator[tuple[str, Any, str]]]], ...] = (
        ("decision", wrong_decisions),
        ("cited", wrong_citations),
        ("state", wrong_states),
        ("executed", wrong_executions),
        ("consent", wrong_consents),
        ("history", wrong_histories),
    )
    for kind, make in wrong:
        for name, content, expect in make():
            yield Case(f"{kind}-x-{name}", write(content), expect)
    yield from cosigned()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="folder to write to; made where it does not exist")
    write_corpus(parser.parse_args().folder, cases())


if __name__ == "__main__":
    main()
