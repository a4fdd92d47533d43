"""The state of a ledger: keys, records, logs and salts ("State" of docs/formats.md)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any

from . import merkle
from .codec import (
    U64,
    Codec,
    Hash,
    Key,
    Reader,
    encode,
    fixed,
    layout,
    list_of,
    option_of,
    sha256,
    short,
    tagged_hash,
    uint,
)
from .layouts import EffectLeaf
from .policy import read_codings, read_period
from .transaction import ConsentTerms, Provision


def bytes_of(length: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(length, "big") + data


def encode_list(values: Sequence[bytes]) -> bytes:
    return struct.pack(">H", len(values)) + b"".join(values)


def encode_period(period: Any) -> bytes:
    found = read_period(period)
    return b"\0" if found is None else struct.pack(">BQQ", 1, found.start, found.end)


def encode_codings(codings: Sequence[Any]) -> bytes:
    return encode_list([bytes_of(1, c.system) + bytes_of(1, c.code) for c in read_codings(codings)])


def encode_provision(provision: Provision) -> bytes:
    return b"".join(
        (
            bytes([provision.effect]),
            encode_period(provision.period),
            encode_list([bytes([actor.role]) + actor.account for actor in provision.actors]),
            encode_list([bytes_of(1, purpose) for purpose in provision.purposes]),
            encode_list([bytes([action]) for action in provision.actions]),
            encode_codings(provision.classes),
            encode_codings(provision.labels),
            encode_period(provision.data_period),
            encode_list([encode_provision(inner) for inner in provision.provisions]),
        )
    )


def encode_terms(terms: ConsentTerms) -> bytes:
    """Layout 0x13."""
    provisions = encode_list([encode_provision(provision) for provision in terms.provisions])
    return b"\x13\x01" + bytes([terms.default_effect]) + encode_period(terms.period) + provisions


def terms_hash(terms: ConsentTerms, salt: bytes) -> bytes:
    return sha256(encode_terms(terms), salt)


class Kind(IntEnum):
    ACCOUNT = 1
    CONSENT = 2
    SUBJECT_CONSENTS = 3
    SUBJECT_ACCESSES = 4
    ACTOR = 5
    REVOCATION_CODE = 6


def not_read(reader: Reader) -> Any:
    raise NotImplementedError("records are kept in memory, and only written to be hashed")


RANGE = Codec(not_read, lambda value: struct.pack(">Q", value.size) + encode_list(value.peaks))
TERMS = Codec(not_read, lambda terms: bytes_of(4, encode_terms(terms)))
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


@layout(0x23)
@dataclass(frozen=True)
class SubjectConsents:
    log: Range = merkle.Range()
    active: Annotated[tuple[ActiveConsent, ...], ACTIVE_SET] = ()

    def digest(self) -> bytes:
        return tagged_hash(0x29, ACTIVE_SET.write(self.active))


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

    def get(self, kind: Kind, id: bytes) -> Any:
        return self.records.get(state_key(kind, id))

    def put(self, kind: Kind, id: bytes, record: Any, seed: bytes) -> None:
        key = state_key(kind, id)
        self.records[key] = record
        self.written[key] = (value_salt(seed, key), encode(record))

    def effects(self) -> list[bytes]:
        """The leaves of the effects tree of what was written since the last `seal`."""
        hashes = {key_hash(key): value_hash(*value) for key, value in self.written.items()}
        return [encode(EffectLeaf(key, hashes[key])) for key in sorted(hashes)]

    def seal(self) -> None:
        self.written.clear()
