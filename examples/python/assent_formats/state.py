"""The state of a ledger: keys, records, logs and salts ("State" of docs/formats.md)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any

from . import merkle
from .codec import (
    U64,
    Codec,
    FormatError,
    Hash,
    Key,
    Reader,
    encode,
    fixed,
    layout,
    list_of,
    long,
    option_of,
    short,
    tagged_hash,
    uint,
)
from .layouts import EffectLeaf
from .statetree import StateTree
from .terms import encode_terms, read_terms
from .transaction import ConsentTerms


class Kind(IntEnum):
    ACCOUNT = 1
    CONSENT = 2
    SUBJECT_CONSENTS = 3
    SUBJECT_ACCESSES = 4
    ACTOR = 5
    REVOCATION_CODE = 6


def read_range(reader: Reader) -> merkle.Range:
    size, peaks = SIZE.read(reader), PEAKS.read(reader)
    if len(peaks) != size.bit_count():
        raise FormatError(f"{size.bit_count()} peaks of a tree of {size} expected, {len(peaks)} found")
    return merkle.Range(size, peaks)


SIZE, PEAKS = uint(8), list_of(Hash, 64)
RANGE = Codec(read_range, lambda value: SIZE.write(value.size) + PEAKS.write(value.peaks))
LONG_TERMS = long(196_608)
TERMS = Codec(
    lambda reader: read_terms(LONG_TERMS.read(reader)),
    lambda terms: LONG_TERMS.write(encode_terms(terms)),
)
Range = Annotated[merkle.Range, RANGE]


@dataclass(frozen=True)
class AccountKey:
    scheme: Annotated[int, uint(1, 1, 1)]
    public_key: Key


@layout(0x21)
@dataclass(frozen=True)
class Account:
    kind: Annotated[int, uint(1, 1, 5)]
    opened_sequence: U64
    keys: Annotated[tuple[AccountKey, ...], list_of(AccountKey, 16)]


@dataclass(frozen=True)
class Moment:
    sequence: U64
    time: U64


@layout(0x22)
@dataclass(frozen=True)
class Consent:
    subject: Hash
    granted: Moment
    revoked: Annotated[Moment | None, option_of(Moment)]
    revocation_code_hash: Annotated[bytes | None, option_of(fixed(32))]
    source_hash: Annotated[bytes | None, option_of(fixed(32))]
    salt: Annotated[bytes, short()]
    terms: Annotated[ConsentTerms, TERMS]


@dataclass(frozen=True)
class ActiveConsent:
    consent: Hash
    terms_hash: Hash


ACTIVE_SET = list_of(ActiveConsent, 32)


def active_digest(active: tuple[ActiveConsent, ...]) -> bytes:
    return tagged_hash(0x29, ACTIVE_SET.write(active))


@layout(0x23)
@dataclass(frozen=True)
class SubjectConsents:
    log: Range = merkle.Range()
    active: Annotated[tuple[ActiveConsent, ...], ACTIVE_SET] = ()

    def check(self) -> None:
        consents = [one.consent for one in self.active]
        if any(a >= b for a, b in zip(consents, consents[1:])):
            raise FormatError("active consents in ascending order of their ids expected")

    def digest(self) -> bytes:
        return active_digest(self.active)


@layout(0x24)
@dataclass(frozen=True)
class SubjectAccesses:
    log: Range = merkle.Range()


@layout(0x25)
@dataclass(frozen=True)
class Actor:
    log: Range = merkle.Range()


@layout(0x2E)
@dataclass(frozen=True)
class RevocationCode:
    consent: Hash


@layout(0x26)
@dataclass(frozen=True)
class ConsentLogLeaf:
    sequence: U64
    time: U64
    entry_leaf_hash: Hash
    active_digest: Hash


@layout(0x27)
@dataclass(frozen=True)
class AccessLogLeaf:
    sequence: U64
    time: U64
    transaction_id: Hash
    decision_leaf_hash: Hash
    consent_log_size: U64


@layout(0x28)
@dataclass(frozen=True)
class ActorLogLeaf:
    sequence: U64
    time: U64
    transaction_id: Hash
    decision_leaf_hash: Hash


RECORDS: dict[Kind, Any] = {
    Kind.ACCOUNT: Account,
    Kind.CONSENT: Consent,
    Kind.SUBJECT_CONSENTS: SubjectConsents,
    Kind.SUBJECT_ACCESSES: SubjectAccesses,
    Kind.ACTOR: Actor,
    Kind.REVOCATION_CODE: RevocationCode,
}


def state_key(kind: Kind, id: bytes) -> bytes:
    return bytes([kind]) + id


def key_hash(key: bytes) -> bytes:
    return tagged_hash(0x1F, key)


def value_hash(salt: bytes, record: bytes) -> bytes:
    return tagged_hash(0x20, salt, record)


def value_salt(seed: bytes, key: bytes) -> bytes:
    return tagged_hash(0x2B, seed, b"\x01", key)


def detail_salt(seed: bytes, transaction_id: bytes, index: int) -> bytes:
    return tagged_hash(0x2B, seed, b"\x02", transaction_id, struct.pack(">H", index))


@dataclass
class State:
    """All records, and what the batch that is being executed wrote: salt and encoded record by key."""

    records: dict[bytes, Any] = field(default_factory=dict)
    written: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    tree: StateTree = StateTree()

    def get(self, kind: Kind, id: bytes) -> Any:
        return self.records.get(state_key(kind, id))

    def put(self, kind: Kind, id: bytes, record: Any, seed: bytes) -> None:
        key = state_key(kind, id)
        self.records[key] = record
        self.written[key] = (value_salt(seed, key), encode(record))

    def seal(self) -> bytes:
        """Takes what was written since the last `seal` into the state tree; the root of the effects tree."""
        hashes = {key_hash(key): value_hash(*value) for key, value in self.written.items()}
        for key, value in hashes.items():
            self.tree = self.tree.put(key, value)
        self.written.clear()
        return effects_root(sorted(hashes.items()))


def effects_root(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    return merkle.root_of([encode(EffectLeaf(key, value)) for key, value in pairs])
