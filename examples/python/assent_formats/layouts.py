"""The binary layouts of docs/formats.md that clients and verifiers meet, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any

from .codec import (
    U16,
    U32,
    U64,
    U64_MAX,
    Codec,
    FormatError,
    Hash,
    Key,
    Reader,
    Signature,
    fixed,
    layout,
    list_of,
    long,
    option_of,
    short,
    structure,
    tagged_hash,
    text,
    uint,
)

WEEK_MS = 604_800_000
# The end of the year 9999, in milliseconds.
MAX_TIME = 253_402_300_799_999
ENTRY_BYTES = 114
RECORD_BYTES = 67
STATE_TREE = 1  # the tree kind of a batch record

# Parts of files. What is inside them is read by the checks.
Part = Annotated[bytes, long(1_024)]
Path = Annotated[tuple[bytes, ...], list_of(Hash, 64)]
RangeProof = Annotated[tuple[bytes, ...], list_of(Hash, 128)]
LogLeaf = Annotated[bytes, long(255)]
OutcomePart = Annotated[bytes, long(1 << 20)]
CheckpointText = Annotated[str, text(long(16_384))]
Anchors = Annotated[tuple[bytes, ...], list_of(long(10_000), 200_000, uint(4))]
BaseHeaders = Annotated[tuple[bytes, ...], list_of(fixed(80), 2_016)]


def check_code(value: str, limit: int) -> None:
    """What a transaction may name as a code, or as the system of one."""
    if not 1 <= len(value.encode()) <= limit:
        raise FormatError(f"a code of 1 to {limit} bytes expected, {len(value.encode())} found")
    if any(c.isspace() or ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in value):
        raise FormatError(f"a code without white space and control characters expected, {value!r} found")


@dataclass(frozen=True)
class Coding:
    system: Annotated[str, text(short(128))]
    code: Annotated[str, text(short(64))]

    def check(self) -> None:
        check_code(self.system, 128)
        check_code(self.code, 64)


@dataclass(frozen=True)
class Period:
    start: U64
    end: U64

    def check(self) -> None:
        if self.end <= self.start:
            raise FormatError(f"a period that ends after its start expected, {self.start} to {self.end} found")


@dataclass(frozen=True)
class Authorization:
    scheme: Annotated[int, uint(1, 1, 1)]
    public_key: Key
    signature: Signature


AUTHORIZATIONS = list_of(Authorization, 1, uint(1))


def authorizations_hash(authorizations: tuple[Authorization, ...]) -> bytes:
    return tagged_hash(0x12, AUTHORIZATIONS.write(authorizations))


class OutcomeKind(IntEnum):
    ACCOUNT_OPENED = 1
    CONSENT_GRANTED = 2
    CONSENT_REVOKED = 3
    REVOCATION_WITHOUT_EFFECT = 4
    ACCESS_PERMITTED = 5
    ACCESS_DENIED = 6
    ACCESS_COVERED = 7
    ACCESS_UNCOVERED = 8


def number_of(enum: type[IntEnum]) -> Codec:
    """One byte that has to be a number of the enumeration."""

    def read(reader) -> IntEnum:
        value = reader.uint(1)
        try:
            return enum(value)
        except ValueError as error:
            raise FormatError(f"a number of {enum.__name__} expected, {value} found") from error

    return Codec(read, lambda value: bytes([value]))


@dataclass(frozen=True)
class Obligation:
    purposes: Annotated[tuple[str, ...], list_of(text(short(64)), 16)]
    classes: Annotated[tuple[Coding, ...], list_of(Coding, 8)]
    labels: Annotated[tuple[Coding, ...], list_of(Coding, 8)]
    data_period: Annotated[Period | None, option_of(Period)]

    def check(self) -> None:
        for purpose in self.purposes:
            check_code(purpose, 64)


@dataclass(frozen=True)
class Question:
    """Who asked, or read, and what: the scope of a transaction, written into its outcome."""

    recipient: Hash
    custodian: Hash
    purpose: Annotated[str, text(short())]
    action: Annotated[int, uint(1, 1, 5)]
    classes: Annotated[tuple[Coding, ...], list_of(Coding, 8)]
    labels: Annotated[tuple[Coding, ...], list_of(Coding, 8)]
    data_period: Annotated[Period | None, option_of(Period)]
    acting_person: Annotated[bytes | None, option_of(Hash)]

    def check(self) -> None:
        if not self.classes:
            raise FormatError("a question about at least one class expected")


@layout(0x14)
@dataclass(frozen=True)
class OutcomeLeaf:
    kind: Annotated[OutcomeKind, number_of(OutcomeKind)]
    object: Hash
    question: Annotated[Question | None, option_of(Question)]
    permit_until: U64
    obligations: Annotated[tuple[Obligation, ...], list_of(Obligation, 32)]
    detail_hash: Hash


class Reason(IntEnum):
    NO_DECISION = 0
    PERMITTED_BY_PROVISION = 1
    PERMITTED_BY_DEFAULT = 2
    DENIED_BY_PROVISION = 3
    DENIED_BY_DEFAULT = 4
    NONE_APPLICABLE = 5
    NO_CONSENT = 6
    UNKNOWN_SUBJECT = 7
    TOO_MANY_OBLIGATIONS = 8
    NO_SUCH_REQUEST = 9
    REQUEST_DENIED = 10
    PERMIT_EXPIRED = 11
    BEYOND_THE_REQUEST = 12


@dataclass(frozen=True)
class Decider:
    consent: Hash
    path: Annotated[tuple[int, ...], list_of(U16, 4)]


@dataclass(frozen=True)
class Verdict:
    consent: Hash
    verdict: Annotated[int, uint(1, 0, 2)]  # silent, permit, deny


@layout(0x15)
@dataclass(frozen=True)
class Detail:
    salt: Hash
    consent_log_size: U64
    reason: Annotated[Reason, number_of(Reason)]
    combining_rule: Annotated[int, uint(1, 1, 1)]
    decider: Annotated[Decider | None, option_of(Decider)]
    verdicts: Annotated[tuple[Verdict, ...], list_of(Verdict, 32)]

    def check(self) -> None:
        consents = [verdict.consent for verdict in self.verdicts]
        if any(a >= b for a, b in zip(consents, consents[1:])):
            raise FormatError("verdicts in ascending order of their consents expected")


@layout(0x16)
@dataclass(frozen=True)
class Entry:
    sequence: U64
    time: U64
    transaction_id: Hash
    authorizations_hash: Hash
    outcome_root: Hash


@layout(0x17)
@dataclass(frozen=True)
class Receipt:
    chain_id: Hash
    key_id: Hash
    epoch: U64
    batch_number: U64
    deadline: U64
    entry: Annotated[Entry, Entry.layout]  # type: ignore[attr-defined]


@layout(0x18)
@dataclass(frozen=True)
class GroupStatement:
    chain_id: Hash
    position: U64
    count: U32
    root: Hash


class RefusalReason(IntEnum):
    EXPIRED = 1
    EXPIRY_TOO_FAR = 2
    UNKNOWN_ACCOUNT = 3
    ACCOUNT_EXISTS = 4
    TOO_MANY_CONSENTS = 5
    REVOCATION_CODE_TAKEN = 6
    UNKNOWN_REVOCATION_CODE = 7
    UNKNOWN_CODE = 8
    DUPLICATE = 9


@layout(0x19)
@dataclass(frozen=True)
class Refusal:
    chain_id: Hash
    key_id: Hash
    transaction_id: Hash
    reason: Annotated[RefusalReason, number_of(RefusalReason)]
    sequence: U64
    time: U64


@layout(0x1A)
@dataclass(frozen=True)
class BatchHeader:
    chain_id: Hash
    epoch: U64
    ruleset: U32
    number: U64
    first_sequence: U64
    entry_count: Annotated[int, uint(4, 1)]
    entries_root: Hash
    effects_root: Hash
    log_root: Hash
    previous_hash: Hash
    time: U64
    base_height: U32
    base_hash: Hash
    key_id: Hash


@layout(0x1B)
@dataclass(frozen=True)
class EffectLeaf:
    key_hash: Hash
    value_hash: Hash


@layout(0x1C)
@dataclass(frozen=True)
class BatchRecord:
    header_hash: Hash
    state_root: Hash
    tree_kind: Annotated[int, uint(1, STATE_TREE, STATE_TREE)]


@layout(0x1D)
@dataclass(frozen=True)
class Manifest:
    nonce: Hash
    created: U64
    sequencer_key: Key
    prover_key: Key
    base_network: Annotated[str, text(short())]
    base_genesis_hash: Hash
    first_anchor_txid: Hash
    first_anchor_vout: U32
    ruleset: U32
    ruleset_hash: Hash
    max_validity_ms: U64
    permit_validity_ms: U64
    max_time_step_ms: U64
    max_seal_delay_ms: U64
    max_batch_entries: U32
    max_batch_bytes: U32

    def check(self) -> None:
        for name, least, most in (
            ("max_validity_ms", 1, WEEK_MS),
            ("permit_validity_ms", 1, self.max_validity_ms),
            ("max_time_step_ms", 1, WEEK_MS),
            ("max_seal_delay_ms", 1, WEEK_MS),
            ("max_batch_entries", 1, 65_536),
            ("max_batch_bytes", 131_072, 33_554_432),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise FormatError(f"{name}: {least} to {most} expected, {value} found")


@dataclass(frozen=True)
class LoggedTransaction:
    body: Annotated[bytes, long(65_536)]
    authorizations: Annotated[tuple[Authorization, ...], AUTHORIZATIONS]


@layout(0x2A)
@dataclass(frozen=True)
class LogRecord:
    position: U64
    epoch: U64
    time: U64
    flags: Annotated[int, uint(1, 0, 3)]
    seed: Hash
    base_height: U32
    base_hash: Hash
    base_median_time: U32  # seconds
    transactions: Annotated[tuple[LoggedTransaction, ...], list_of(LoggedTransaction, 4_096)]

    @property
    def seals(self) -> bool:
        return bool(self.flags & 1)

    @property
    def step_is_confirmed(self) -> bool:
        return bool(self.flags & 2)


@layout(0x30)
@dataclass(frozen=True)
class Bundle:
    """What a proof file carries. Its parts are read one by one by the checks."""

    manifest: Part
    body: Annotated[bytes, long(65_536)]
    authorizations: Annotated[tuple[Authorization, ...], AUTHORIZATIONS]
    entry: Annotated[bytes, fixed(ENTRY_BYTES)]
    outcome_leaves: Annotated[tuple[bytes, ...], list_of(long(1 << 20), 32)]
    details: Annotated[tuple[bytes, ...], list_of(long(1 << 20), 32)]
    entry_path: Path
    header: Part
    header_signature: Signature
    batch_record: Annotated[bytes, fixed(RECORD_BYTES)]
    history_path: Path
    checkpoint: CheckpointText
    anchors: Anchors
    block_index: U32
    block_path: Path
    headers: BaseHeaders


@dataclass(frozen=True)
class SignedReceipt:
    receipt: Part
    group_statement: Part
    index: U32
    path: Path
    signature: Signature


@dataclass(frozen=True)
class SignedHeader:
    header: Part
    signature: Signature


@dataclass(frozen=True)
class CheckpointClaim:
    """A root for which the prover vouched by signing a checkpoint."""

    checkpoint: CheckpointText


@dataclass(frozen=True)
class AnchorChain:
    """A root for which the prover vouched by anchoring it."""

    anchors: Anchors
    block_index: U32
    block_path: Path
    headers: BaseHeaders


RootClaim = CheckpointClaim | AnchorChain


def choice(what: str, *classes: type, first: int = 1) -> Codec:
    """A number from `first` on, and the fields of the class of that number."""

    def read(reader: Reader) -> Any:
        number = reader.uint(1)
        if not first <= number < first + len(classes):
            raise FormatError(f"{what} {first} to {first + len(classes) - 1} expected, {number} found")
        return structures[number - first].read(reader)

    def write(value: Any) -> bytes:
        number = classes.index(type(value))
        return bytes([first + number]) + structures[number].write(value)

    structures = [structure(cls) for cls in classes]
    return Codec(read, write)


Claim = Annotated[RootClaim, choice("a root claim of kind", CheckpointClaim, AnchorChain)]


@dataclass(frozen=True)
class RecordProof:
    claim: Claim
    record: Annotated[bytes, long(268)]
    path: Path


@dataclass(frozen=True)
class StateRoot:
    """A batch, and that the prover vouched for the state after it."""

    header: SignedHeader
    record: Annotated[bytes, fixed(RECORD_BYTES)]
    path: Path
    checkpoint: CheckpointText


@dataclass(frozen=True)
class Present:
    """The way in the state tree ends with the key, which has this record."""

    salt: Hash
    record: Annotated[bytes, long(196_608)]


@dataclass(frozen=True)
class NothingThere:
    """The way ends with an empty subtree."""


@dataclass(frozen=True)
class AnotherKey:
    """The way ends with another key, alone in its subtree."""

    key_hash: Hash
    value_hash: Hash


Terminal = Present | NothingThere | AnotherKey
TERMINAL = choice("a terminal of kind", Present, NothingThere, AnotherKey)
MAX_DEPTH = 256


def read_siblings(reader: Reader) -> tuple[bytes | None, ...]:
    depth = reader.uint(2)
    if depth > MAX_DEPTH:
        raise FormatError(f"a depth of at most {MAX_DEPTH} expected, {depth} found")
    size = -(-depth // 8)
    bits = f"{reader.uint(size):0{8 * size}b}" if size else ""
    if "1" in bits[depth:]:
        raise FormatError("a bitmap that is filled up with zeros expected")
    return tuple(reader.take(32) if bit == "1" else None for bit in bits[:depth])


def write_siblings(siblings: tuple[bytes | None, ...]) -> bytes:
    size = -(-len(siblings) // 8)
    bits = "".join("0" if sibling is None else "1" for sibling in siblings).ljust(8 * size, "0")
    bitmap = int(bits or "0", 2).to_bytes(size, "big")
    return len(siblings).to_bytes(2, "big") + bitmap + b"".join(sibling or b"" for sibling in siblings)


@dataclass(frozen=True)
class OpenedRecord:
    """What the state has under a key: the way to it from the root, with a sibling or none at each depth."""

    key: Annotated[bytes, fixed(33)]
    siblings: Annotated[tuple[bytes | None, ...], Codec(read_siblings, write_siblings)]
    terminal: Annotated[Terminal, TERMINAL]


@dataclass(frozen=True)
class LogSlice:
    """Consecutive leaves of a log."""

    start: U64
    leaves: Annotated[tuple[bytes, ...], list_of(LogLeaf, 2**16 - 1)]
    path: RangeProof


def slice_of(most: int) -> Codec:
    """A slice of at most so many leaves; that there are as many as it takes is left to the checks."""

    def read(reader: Reader) -> LogSlice:
        value = inner.read(reader)
        if len(value.leaves) > most:
            raise FormatError(f"at most {most} leaves of a log expected, {len(value.leaves)} found")
        return value

    inner = structure(LogSlice)
    return Codec(read, inner.write)


@layout(0x33)
@dataclass(frozen=True)
class Batch:
    header: Part
    signature: Annotated[bytes, long(64)]
    log_records: Annotated[tuple[bytes, ...], list_of(long(33_555_456), 65_537, uint(4))]
    entries: Annotated[tuple[bytes, ...], list_of(long(ENTRY_BYTES), 65_536, uint(4))]

    def check(self) -> None:
        if len(self.signature) != 64:
            raise FormatError(f"a signature of 64 bytes expected, {len(self.signature)} found")


MAX_BATCH_BYTES = 100_663_296


@layout(0x34)
@dataclass(frozen=True)
class ExportedBatches:
    manifest: Part
    first: U64
    batches: Annotated[tuple[bytes, ...], list_of(long(MAX_BATCH_BYTES), 65_536, uint(4))]


@layout(0x35)
@dataclass(frozen=True)
class Consistency:
    manifest: Part
    older: CheckpointText
    newer: CheckpointText
    path: Path


@layout(0x36)
@dataclass(frozen=True)
class ReceiptFile:
    manifest: Part
    receipt: SignedReceipt


@dataclass(frozen=True)
class ShownAccess:
    """A leaf of an access log, and the decision that it commits to."""

    slice: Annotated[LogSlice, slice_of(1)]
    decision: OutcomePart


@dataclass(frozen=True)
class CitesNothing:
    """The decision is that of a request."""


@dataclass(frozen=True)
class NoRequest:
    """All accesses in which the cited request could be; one that has its id and is none, opened."""

    slice: Annotated[LogSlice, slice_of(4_096)]
    decision: Annotated[bytes | None, option_of(OutcomePart)]


CITED = choice("a cited request of kind", CitesNothing, ShownAccess, NoRequest, first=0)


@dataclass(frozen=True)
class ActiveTerms:
    consent: Hash
    salt: Annotated[bytes, short()]
    terms: Annotated[bytes, long(196_608)]


@layout(0x37)
@dataclass(frozen=True)
class DecisionFile:
    manifest: Part
    state: StateRoot
    transaction: Annotated[LoggedTransaction | None, option_of(LoggedTransaction)]
    accesses: OpenedRecord
    access: ShownAccess
    detail: OutcomePart
    consents: OpenedRecord
    around: Annotated[LogSlice | None, option_of(slice_of(2))]
    active: Annotated[tuple[ActiveTerms, ...], list_of(ActiveTerms, 32)]
    account: Annotated[OpenedRecord | None, option_of(OpenedRecord)]
    cited: Annotated[CitesNothing | ShownAccess | NoRequest, CITED]


class MomentKind(IntEnum):
    END_OF_STATE = 0
    TIME = 1
    SEQUENCE = 2


@layout(0x38)
@dataclass(frozen=True)
class ConsentFile:
    manifest: Part
    state: StateRoot
    consent: Hash
    moment_kind: Annotated[MomentKind, number_of(MomentKind)]
    moment: U64
    record: OpenedRecord

    def check(self) -> None:
        most = {MomentKind.END_OF_STATE: 0, MomentKind.TIME: MAX_TIME}.get(self.moment_kind, U64_MAX)
        if self.moment > most:
            raise FormatError(f"a moment of at most {most} expected, {self.moment} found")


class Whose(IntEnum):
    SUBJECT = 1
    RECIPIENT = 2


@dataclass(frozen=True)
class HistoryItem:
    index: U64
    leaf: LogLeaf
    decision: Annotated[bytes | None, option_of(OutcomePart)]
    detail: Annotated[bytes | None, option_of(OutcomePart)]


@layout(0x39)
@dataclass(frozen=True)
class HistoryFile:
    manifest: Part
    state: StateRoot
    whose: Annotated[Whose, number_of(Whose)]
    account: Hash
    start: U64  # of the period, in milliseconds
    end: U64
    log: OpenedRecord
    items: Annotated[tuple[HistoryItem, ...], list_of(HistoryItem, 500_002, uint(4))]
    path: RangeProof


@dataclass(frozen=True)
class EntryContradictsReceipt:
    receipt: SignedReceipt
    header: SignedHeader
    entry: Annotated[bytes, fixed(ENTRY_BYTES)]
    path: Path


@dataclass(frozen=True)
class ReceiptsContradict:
    first: SignedReceipt
    second: SignedReceipt


@dataclass(frozen=True)
class HeadersContradict:
    first: SignedHeader
    second: SignedHeader


@dataclass(frozen=True)
class BatchContradictsReceipt:
    receipt: SignedReceipt
    header: SignedHeader


@dataclass(frozen=True)
class SealedWithoutEntry:
    receipt: SignedReceipt
    header: SignedHeader


@dataclass(frozen=True)
class WrongExecution:
    batches: Annotated[tuple[bytes, ...], list_of(long(MAX_BATCH_BYTES), 2**32 - 1, uint(4))]
    record: Annotated[RecordProof | None, option_of(RecordProof)]


@dataclass(frozen=True)
class RootsContradict:
    first: Claim
    second: Claim


@dataclass(frozen=True)
class HistoryRewritten:
    older: Claim
    newer: Claim
    full_path: Path


@dataclass(frozen=True)
class RecordsContradict:
    number: U64
    first: RecordProof
    second: RecordProof


@dataclass(frozen=True)
class WrongRecord:
    number: U64
    proof: RecordProof
    header: SignedHeader


@dataclass(frozen=True)
class Effect:
    key_hash: Hash
    value_hash: Hash


@dataclass(frozen=True)
class HeaderAndEffects:
    header: Part
    effects: Annotated[tuple[Effect, ...], list_of(Effect, 4_194_304, uint(4))]


@dataclass(frozen=True)
class WrongRoot:
    claim: Claim
    batches: Annotated[tuple[HeaderAndEffects, ...], list_of(HeaderAndEffects, 2**32 - 1, uint(4))]
    signature: Signature


EVIDENCE_KINDS = (
    EntryContradictsReceipt,
    ReceiptsContradict,
    HeadersContradict,
    BatchContradictsReceipt,
    SealedWithoutEntry,
    WrongExecution,
    RootsContradict,
    HistoryRewritten,
    RecordsContradict,
    WrongRecord,
    WrongRoot,
)


@layout(0x32)
@dataclass(frozen=True)
class Evidence:
    manifest: Part
    statements: Annotated[Any, choice("evidence of kind", *EVIDENCE_KINDS)]
