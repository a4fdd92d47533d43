#!/usr/bin/env python3
"""Makes receipts, consistency proofs and evidence of every kind out of an invented ledger, for tests.

The ledger is a sound one of four batches, executed by `assent_formats.execution`. Each case puts statements
of it side by side, some of them forged with the keys of its sequencer and prover, and says what a verifier
has to find: evidence that holds, evidence that was tampered with, and honest statements that are presented
as contradictions.

    forge_evidence.py DIR    writes the cases as a corpus for run_corpus.py
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import forge as forging
from assent_formats import base, execution, files, layouts, merkle, names, note
from assent_formats.codec import decode, encode, sha256
from assent_formats.execution import Ledger, batch_record
from assent_formats.layouts import (
    AnchorChain,
    Authorization,
    Batch,
    BatchHeader,
    BatchRecord,
    CheckpointClaim,
    Entry,
    GroupStatement,
    LoggedTransaction,
    LogRecord,
    Receipt,
    RecordProof,
    SignedHeader,
    SignedReceipt,
)
from assent_formats.state import effects_root, key_hash, value_hash
from assent_formats.transaction import TransactionBody, read_body
from forge import CREATED, HOUR_MS, PROVER_SEED, SEQUENCER_SEED, message, scope, sign

VERIFIED = "verified"
MANIFEST = forging.default_manifest()
MANIFEST_BYTES = encode(MANIFEST)
CHAIN = sha256(MANIFEST_BYTES)
PATIENT, CLINIC, NOBODY = (bytes([byte]) * 32 for byte in (0x21, 0x22, 0x23))
SENSITIVITY = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


def account(seed: bytes) -> bytes:
    return names.account_id(forging.public_key(seed))


def transaction(
    seed: bytes | None, act: tuple[int, bytes], salt: int, expires: int = CREATED + HOUR_MS
) -> LoggedTransaction:
    start = [(1, CHAIN), (2, account(seed))] if seed else [(1, CHAIN)]
    body = message(*start, (3, bytes([salt]) * 16), (4, expires), act)
    if not seed:
        return LoggedTransaction(body, ())
    signature = sign(seed, names.transaction_id(body))
    return LoggedTransaction(body, (Authorization(names.ED25519, forging.public_key(seed), signature),))


def opened(seed: bytes, kind: int, salt: int) -> LoggedTransaction:
    return transaction(seed, (16, message((1, kind))), salt)


def id_of(logged: LoggedTransaction) -> bytes:
    return names.transaction_id(logged.body)


GRANT_TERMS = message(
    (
        3,
        message(
            (1, 1),
            (3, message((1, 1), (2, account(CLINIC)))),
            (4, "TREAT"),
            (9, message((1, 2), (7, message((1, SENSITIVITY), (2, "PSY"))))),
        ),
    )
)
GRANT = transaction(PATIENT, (17, message((1, GRANT_TERMS), (2, names.revocation_code_hash(b"\x45" * 32)))), 3)
ASK = transaction(CLINIC, (19, message((1, account(PATIENT)), (1, account(NOBODY)), (2, scope()))), 4)
RECORD = transaction(CLINIC, (20, message((1, id_of(ASK)), (2, account(PATIENT)), (3, scope()))), 5)
REVOKE = transaction(None, (18, message((2, b"\x45" * 32))), 6)
ASK_AGAIN = transaction(CLINIC, (19, message((1, account(PATIENT)), (2, scope()))), 7)
OPEN_LATE = opened(NOBODY, 3, 8)

# The transactions of the groups of each batch.
STORY: tuple[tuple[tuple[LoggedTransaction, ...], ...], ...] = (
    ((opened(PATIENT, 1, 1), opened(CLINIC, 2, 2)),),
    ((GRANT,), (ASK, RECORD)),
    ((REVOKE, ASK_AGAIN), ()),
    ((OPEN_LATE,),),
)


def record_of(ledger: Ledger, transactions: Sequence[LoggedTransaction], seals: bool, **changes: Any) -> LogRecord:
    position = ledger.position
    made = LogRecord(
        position=position,
        epoch=1,
        time=CREATED + 1_000 * position,
        flags=int(seals),
        seed=bytes([0xA0 + position]) * 32,
        base_height=100 + position,
        base_hash=bytes([0xB0 + position]) * 32,
        base_median_time=CREATED // 1000 - 3_600,
        transactions=tuple(transactions),
    )
    return replace(made, **changes)


def sign_header(header: bytes, seed: bytes = SEQUENCER_SEED) -> SignedHeader:
    return SignedHeader(header, sign(seed, sha256(header)))


def make_batch(ledger: Ledger, groups: Sequence[Sequence[LoggedTransaction]]) -> Batch:
    records = []
    for number, group in enumerate(groups):
        records.append(encode(record_of(ledger, group, number == len(groups) - 1)))
        ledger.execute_record(records[-1])
    entries = tuple(ledger.open.entries)
    header = ledger.seal()
    return Batch(header, sign_header(header).signature, tuple(records), entries)


def reseal(batch: Batch, **changes: Any) -> Batch:
    """The batch with another header, signed."""
    header = encode(replace(decode(BatchHeader, batch.header), **changes))
    return replace(batch, header=header, signature=sign_header(header).signature)


def with_records(batch: Batch, records: Sequence[bytes], **changes: Any) -> Batch:
    """The batch with other log records, to which its header commits."""
    return reseal(replace(batch, log_records=tuple(records)), log_root=merkle.root_of(records), **changes)


class Lenient(Ledger):
    """Executes what the rules refuse, so that nothing else is wrong with what comes of it."""

    def check_record(self, record: LogRecord) -> None:
        pass

    def check_transaction(self, logged: LoggedTransaction) -> TransactionBody:
        return read_body(logged.body, self.chain_id)


def made_leniently(before: Sequence[Batch], records: Sequence[LogRecord]) -> Batch:
    """A batch of these log records, whatever the rules say."""
    ledger = Lenient(MANIFEST, CHAIN)
    for batch in before:
        ledger.follow(batch)
    encoded = tuple(map(encode, records))
    with mock.patch.object(execution, "refuse_if", lambda condition, reason: None):
        for data in encoded:
            ledger.execute_record(data)
    entries = tuple(ledger.open.entries)
    header = ledger.seal()
    return Batch(header, sign_header(header).signature, encoded, entries)


class Keeping(Ledger):
    """A ledger that keeps the effects of its batches."""

    def __init__(self) -> None:
        super().__init__(MANIFEST, CHAIN)
        self.effects: list[tuple[layouts.Effect, ...]] = []

    def seal(self) -> bytes:
        hashes = {key_hash(key): value_hash(*value) for key, value in self.state.written.items()}
        self.effects.append(tuple(layouts.Effect(key, hashes[key]) for key in sorted(hashes)))
        return super().seal()


LEDGER = Keeping()
BATCHES = tuple(make_batch(LEDGER, groups) for groups in STORY)
RECORDS = tuple(LEDGER.history)
STATE_ROOTS = tuple(decode(BatchRecord, record).state_root for record in RECORDS)
LEAVES = tuple(map(merkle.leaf_hash, RECORDS))
ENTRIES = tuple(entry for batch in BATCHES for entry in batch.entries)
HEADERS = tuple(SignedHeader(batch.header, batch.signature) for batch in BATCHES)


def receipt_of(
    entry: bytes | Entry,
    batch: int,
    deadline: int | None = None,
    seed: bytes = SEQUENCER_SEED,
    statement_chain: bytes = CHAIN,
    **changes: Any,
) -> SignedReceipt:
    """A signed receipt, the second of a group of three."""
    found = decode(Entry, entry) if isinstance(entry, bytes) else entry
    late = found.time + MANIFEST.max_seal_delay_ms if deadline is None else deadline
    key_id = names.key_id(MANIFEST.sequencer_key)
    receipt = encode(replace(Receipt(CHAIN, key_id, 1, batch, late, found), **changes))
    hashes = [merkle.leaf_hash(data) for data in (b"one", receipt, b"three")]
    statement = encode(GroupStatement(statement_chain, 0, 3, merkle.root(hashes)))
    return SignedReceipt(receipt, statement, 1, tuple(merkle.inclusion_path(hashes, 1)), sign(seed, sha256(statement)))


def entry_of(place: int, **changes: Any) -> Entry:
    return replace(decode(Entry, ENTRIES[place]), **changes)


def checkpoint(size: int, root: bytes, seed: bytes = PROVER_SEED) -> str:
    made = note.Checkpoint(CHAIN, size, root)
    return f"{made.text}\n{note.signature_line(made.origin, MANIFEST.prover_key, sign(seed, made.text.encode()))}"


def claim(size: int, leaves: Sequence[bytes] = LEAVES, root: bytes | None = None) -> CheckpointClaim:
    return CheckpointClaim(checkpoint(size, merkle.root(leaves[:size]) if root is None else root))


def anchored(size: int, root: bytes | None = None, earlier: int = 0, **changes: Any) -> AnchorChain:
    """A chain of one or two anchors in a block with another transaction."""
    seal = base.OutPoint(MANIFEST.first_anchor_txid, MANIFEST.first_anchor_vout)
    anchors = []
    found = merkle.root(LEAVES[:size]) if root is None else root
    for number, covered in [(earlier, sha256(b"earlier"))] * bool(earlier) + [(size, found)]:
        payload = base.anchor_payload(CHAIN, number, covered)
        script = bytes([base.OP_RETURN, len(payload)]) + payload
        anchors.append(forging.RawTransaction((seal,), ((1_000, b"\x51"), (0, script))).encode())
        seal = base.OutPoint(base.double_sha256(anchors[-1]), 0)
    path = (sha256(b"other transaction"),)
    merkle_root = forging.fold(base.double_sha256(anchors[-1]), 0, path)
    header = forging.RawBlock(b"\x08" * 32, merkle_root, CREATED // 1000).encode()
    return replace(AnchorChain(tuple(anchors), 0, path, (header,)), **changes)


def proof(
    number: int, size: int = 4, record: bytes | None = None, seed: bytes = PROVER_SEED, leaves: Sequence[bytes] = LEAVES
) -> RecordProof:
    """That the prover vouched for a record, be it the batch's or another."""
    found = RECORDS[number] if record is None else record
    hashes = [*leaves[:number], merkle.leaf_hash(found), *leaves[number + 1 : size]]
    made = CheckpointClaim(checkpoint(size, merkle.root(hashes), seed))
    return RecordProof(made, found, tuple(merkle.inclusion_path(hashes, number)))


@dataclass(frozen=True)
class Case:
    """A file, and what a verifier that pins the chain has to find."""

    name: str
    data: bytes
    expect: str
    pins: dict[str, Any] | None = None


def evidence(statements: Any, manifest: bytes = MANIFEST_BYTES) -> bytes:
    return files.write_file(layouts.Evidence(manifest, statements), files.EVIDENCE_MAGIC)


def entry_path(batch: int, index: int) -> tuple[bytes, ...]:
    return tuple(merkle.inclusion_path([merkle.leaf_hash(entry) for entry in BATCHES[batch].entries], index))


def receipt_cases() -> Iterator[tuple[str, Any, str]]:
    good = receipt_of(ENTRIES[3], 1)
    statement = encode(GroupStatement(CHAIN, 0, 3, sha256(b"another root")))
    for name, receipt, expect in (
        ("sound", good, VERIFIED),
        ("wrong-index", replace(good, index=0), "receipt"),
        ("index-too-large", replace(good, index=3), "receipt"),
        ("short-path", replace(good, path=good.path[:1]), "receipt"),
        (
            "other-root",
            replace(good, group_statement=statement, signature=sign(SEQUENCER_SEED, sha256(statement))),
            "receipt",
        ),
        ("signed-by-prover", receipt_of(ENTRIES[3], 1, seed=PROVER_SEED), "receipt"),
        ("other-chain", receipt_of(ENTRIES[3], 1, chain_id=bytes(32)), "receipt"),
        ("group-of-other-chain", receipt_of(ENTRIES[3], 1, statement_chain=bytes(32)), "receipt"),
        ("other-key", receipt_of(ENTRIES[3], 1, key_id=bytes(32)), "receipt"),
        ("surplus", replace(good, receipt=good.receipt + b"\0"), "receipt"),
        ("statement-surplus", replace(good, group_statement=good.group_statement + b"\0"), "receipt"),
        ("empty", replace(good, receipt=b""), "receipt"),
    ):
        yield (
            f"receipt-{name}",
            files.write_file(layouts.ReceiptFile(MANIFEST_BYTES, receipt), files.RECEIPT_MAGIC),
            expect,
        )


def consistency_cases() -> Iterator[tuple[str, Any, str]]:
    def made(old: int, new: int, path: Sequence[bytes] | None = None, **changes: Any) -> bytes:
        found = merkle.consistency_path(LEAVES[:new], old) if path is None and old <= new else path or ()
        content = layouts.Consistency(MANIFEST_BYTES, claim(old).checkpoint, claim(new).checkpoint, tuple(found))
        return files.write_file(replace(content, **changes), files.CONSISTENCY_MAGIC)

    for old in range(5):
        for new in range(old, 5):
            yield f"consistency-{old}-{new}", made(old, new), VERIFIED
            yield (
                f"consistency-{old}-{new}-long",
                made(old, new, [*merkle.consistency_path(LEAVES[:new], old), bytes(32)]),
                "consistency",
            )
    yield "consistency-backwards", made(3, 2, ()), "consistency"
    yield "consistency-short", made(3, 4, merkle.consistency_path(LEAVES, 3)[:-1]), "consistency"
    yield "consistency-no-path", made(2, 4, ()), "consistency"
    yield "consistency-full-path", made(2, 4, merkle.full_path(LEAVES, 2)), "consistency"
    other = checkpoint(2, sha256(b"other"))
    yield "consistency-other-older", made(2, 4, older=other), "consistency"
    yield "consistency-other-newer", made(1, 2, newer=other), "consistency"
    yield "consistency-other-same-size", made(2, 2, older=other), "consistency"
    yield "consistency-zero-with-root", made(0, 4, older=checkpoint(0, sha256(b"x"))), "consistency"
    yield "consistency-zero-twice-with-root", made(0, 0, older=checkpoint(0, sha256(b"x"))), "consistency"
    yield "consistency-forged-older", made(2, 4, older=checkpoint(2, sha256(b"x"), SEQUENCER_SEED)), "checkpoint"
    yield "consistency-forged-newer", made(2, 4, newer=checkpoint(4, sha256(b"x"), SEQUENCER_SEED)), "checkpoint"


def kinds_1_to_5() -> Iterator[tuple[str, Any, str]]:
    same = "no-contradiction"
    wrong_entry = entry_of(3, outcome_root=sha256(b"other"))
    first = layouts.EntryContradictsReceipt(receipt_of(wrong_entry, 1), HEADERS[1], ENTRIES[3], entry_path(1, 1))
    forged_header = sign_header(BATCHES[1].header, PROVER_SEED)
    not_an_entry = b"\x17" + ENTRIES[3][1:]
    hashes = [merkle.leaf_hash(data) for data in (ENTRIES[2], not_an_entry, ENTRIES[4])]
    unreadable_header = sign_header(reseal(BATCHES[1], entries_root=merkle.root(hashes)).header)
    yield "1-entry", first, VERIFIED
    yield "1-other-deadline-is-the-same-entry", replace(first, receipt=receipt_of(ENTRIES[3], 1, 7)), same
    yield "1-honest", replace(first, receipt=receipt_of(ENTRIES[3], 1)), same
    yield "1-forged-receipt", replace(first, receipt=receipt_of(wrong_entry, 1, seed=PROVER_SEED)), "receipt"
    yield "1-forged-header", replace(first, header=forged_header), "header-signature"
    yield "1-other-batch", replace(first, header=HEADERS[2]), "sequence-range"
    yield "1-other-entry", replace(first, entry=ENTRIES[2]), "entry-inclusion"
    yield "1-other-path", replace(first, path=entry_path(1, 0)), "entry-inclusion"
    yield "1-made-up-entry", replace(first, entry=encode(wrong_entry)), "entry-inclusion"
    unreadable_path = tuple(merkle.inclusion_path(hashes, 1))
    yield (
        "1-unreadable-entry",
        replace(first, header=unreadable_header, entry=not_an_entry, path=unreadable_path),
        "entry",
    )

    good = receipt_of(ENTRIES[3], 1)
    yield "2-same-transaction", layouts.ReceiptsContradict(good, receipt_of(entry_of(3, sequence=9), 4)), VERIFIED
    yield "2-same-sequence", layouts.ReceiptsContradict(good, receipt_of(entry_of(4, sequence=3), 1)), VERIFIED
    yield "2-other-deadline", layouts.ReceiptsContradict(good, receipt_of(ENTRIES[3], 1, 7)), VERIFIED
    yield "2-other-epoch", layouts.ReceiptsContradict(good, receipt_of(ENTRIES[3], 1, epoch=2)), VERIFIED
    yield "2-honest", layouts.ReceiptsContradict(good, receipt_of(ENTRIES[4], 1)), same
    yield "2-same", layouts.ReceiptsContradict(good, good), same
    yield "2-forged-first", layouts.ReceiptsContradict(receipt_of(ENTRIES[3], 2, seed=PROVER_SEED), good), "receipt"
    yield "2-forged-second", layouts.ReceiptsContradict(good, receipt_of(ENTRIES[3], 2, seed=PROVER_SEED)), "receipt"

    other = sign_header(reseal(BATCHES[1], effects_root=sha256(b"x")).header)
    yield "3-headers", layouts.HeadersContradict(HEADERS[1], other), VERIFIED
    yield "3-honest", layouts.HeadersContradict(HEADERS[1], HEADERS[2]), same
    yield "3-same", layouts.HeadersContradict(HEADERS[1], HEADERS[1]), same
    yield (
        "3-forged",
        layouts.HeadersContradict(HEADERS[1], replace(other, signature=HEADERS[1].signature)),
        "header-signature",
    )
    for name, change in (("header-chain", {"chain_id": bytes(32)}), ("header-key", {"key_id": bytes(32)})):
        yield f"3-{name}", layouts.HeadersContradict(HEADERS[1], sign_header(reseal(BATCHES[1], **change).header)), name
    yield "3-unreadable", layouts.HeadersContradict(sign_header(b"x"), other), "header"
    yield (
        "3-no-entries",
        layouts.HeadersContradict(HEADERS[1], sign_header(reseal(BATCHES[1], entry_count=0).header)),
        "header",
    )

    yield "4-other-batch", layouts.BatchContradictsReceipt(receipt_of(ENTRIES[3], 2), HEADERS[1]), VERIFIED
    yield "4-not-in-batch", layouts.BatchContradictsReceipt(receipt_of(ENTRIES[3], 2), HEADERS[2]), VERIFIED
    yield "4-honest", layouts.BatchContradictsReceipt(receipt_of(ENTRIES[3], 1), HEADERS[1]), same
    yield "4-unrelated", layouts.BatchContradictsReceipt(receipt_of(ENTRIES[3], 1), HEADERS[2]), same
    yield (
        "4-largest-sequence",
        layouts.BatchContradictsReceipt(receipt_of(entry_of(3, sequence=2**64 - 1), 1), HEADERS[1]),
        VERIFIED,
    )
    yield (
        "4-forged-receipt",
        layouts.BatchContradictsReceipt(receipt_of(ENTRIES[3], 2, seed=PROVER_SEED), HEADERS[1]),
        "receipt",
    )
    yield (
        "4-forged-header",
        layouts.BatchContradictsReceipt(receipt_of(ENTRIES[3], 2), forged_header),
        "header-signature",
    )

    time = decode(BatchHeader, BATCHES[2].header).time
    late = receipt_of(entry_of(7), 3, time - 1)
    yield "5-late", layouts.SealedWithoutEntry(late, HEADERS[2]), VERIFIED
    yield "5-at-the-deadline", layouts.SealedWithoutEntry(receipt_of(entry_of(7), 3, time), HEADERS[2]), same
    yield "5-sealed", layouts.SealedWithoutEntry(receipt_of(entry_of(6), 2, 1), HEADERS[2]), same
    yield "5-sealed-before", layouts.SealedWithoutEntry(receipt_of(entry_of(1), 0, 1), HEADERS[2]), same
    yield (
        "5-forged-receipt",
        layouts.SealedWithoutEntry(receipt_of(entry_of(7), 3, time - 1, seed=PROVER_SEED), HEADERS[2]),
        "receipt",
    )
    largest = reseal(BATCHES[2], first_sequence=2**64 - 1, entry_count=2**32 - 1)
    yield "5-overflow", layouts.SealedWithoutEntry(late, sign_header(largest.header)), same


def wrong_executions() -> Iterator[tuple[str, Batch]]:
    """Batches 2 that the sequencer signed and that do not follow."""
    batch = BATCHES[2]
    first, last = (decode(LogRecord, data) for data in batch.log_records)

    def records(*changed: LogRecord) -> Batch:
        return made_leniently(BATCHES[:2], changed)

    header = decode(BatchHeader, batch.header)
    for name, value in (
        ("epoch", 2),
        ("ruleset", 2),
        ("first_sequence", 0),
        ("entry_count", 3),
        ("effects_root", bytes(32)),
        ("previous_hash", bytes(32)),
        ("time", header.time + 1),
        ("base_height", 0),
        ("base_hash", bytes(32)),
        ("key_id", bytes(32)),
    ):
        yield f"header-{name}", reseal(batch, **{name: value})
    swapped = batch.entries[::-1]
    yield "swapped-entries", reseal(replace(batch, entries=swapped), entries_root=merkle.root_of(swapped))
    fewer = batch.entries[:1]
    yield "missing-entry", reseal(replace(batch, entries=fewer), entries_root=merkle.root_of(fewer), entry_count=1)
    entry = replace(decode(Entry, batch.entries[1]), outcome_root=sha256(b"permitted"))
    changed = (batch.entries[0], encode(entry))
    yield "other-outcome", reseal(replace(batch, entries=changed), entries_root=merkle.root_of(changed))
    yield "unreadable-entry", reseal(replace(batch, entries=(b"x", b"")), entries_root=merkle.root_of([b"x", b""]))
    yield "unreadable-record", with_records(batch, [batch.log_records[0], batch.log_records[1] + b"\0"])
    yield "no-record", with_records(batch, [])
    reseeded = encode(replace(first, seed=bytes(32)))
    yield "other-seed", with_records(batch, [reseeded, batch.log_records[1]])
    yield "position", records(replace(first, position=9), last)
    yield "epoch-falls", records(replace(first, epoch=0), last)
    yield "epoch-falls-within", records(replace(first, epoch=2), last)
    yield "time-falls", records(replace(first, time=CREATED), last)
    yield "time-falls-within", records(first, replace(last, time=first.time - 1))
    late = first.time + HOUR_MS + 1
    yield "time-step", records(first, replace(last, time=late))
    yield (
        "time-step-with-old-block",
        records(first, replace(last, time=late, base_median_time=(late - HOUR_MS) // 1000 - 1)),
    )
    yield "time-step-confirmed-before", records(replace(first, flags=2), replace(last, time=late))
    yield "base-height-falls", records(first, replace(last, base_height=0))
    yield "median-after-time", records(first, replace(last, base_median_time=2**32 - 1))
    yield "not-sealing", records(first, replace(last, flags=0))
    yield "sealing-twice", records(replace(first, flags=1), last)
    yield "idle-record", records(replace(first, transactions=()), replace(last, transactions=first.transactions))
    yield "one-more-idle-record", records(first, replace(last, flags=0), replace(last, position=last.position + 1))

    def transactions(*logged: LoggedTransaction) -> Batch:
        return records(replace(first, transactions=logged), last)

    other_sender = replace(ASK_AGAIN, authorizations=OPEN_LATE.authorizations)
    broken = replace(ASK_AGAIN, authorizations=(replace(ASK_AGAIN.authorizations[0], signature=bytes(64)),))
    yield "sender-signature", transactions(REVOKE, broken)
    yield "other-sender", transactions(REVOKE, other_sender)
    yield "no-authorization", transactions(REVOKE, replace(ASK_AGAIN, authorizations=()))
    broken_body = encode(replace(first, transactions=(REVOKE, LoggedTransaction(b"x", ()))))
    yield "no-transaction", with_records(batch, [broken_body, batch.log_records[1]])
    yield "duplicate", transactions(REVOKE, ASK)
    yield "account-exists", transactions(REVOKE, opened(PATIENT, 1, 9))
    yield "expired", transactions(REVOKE, transaction(CLINIC, ASK_AGAIN_ACT, 9, first.time))
    yield (
        "expiry-too-far",
        transactions(REVOKE, transaction(CLINIC, ASK_AGAIN_ACT, 9, first.time + layouts.WEEK_MS + 1)),
    )
    yield "unknown-account", transactions(REVOKE, transaction(NOBODY, ASK_AGAIN_ACT, 9))
    unknown = (19, message((1, account(PATIENT)), (2, scope(purpose="NOSUCH"))))
    yield "unknown-code", transactions(REVOKE, transaction(CLINIC, unknown, 9))
    code = (18, message((2, b"\x46" * 32)))
    encoded = encode(replace(first, transactions=(transaction(None, code, 9), ASK_AGAIN)))
    yield "unknown-revocation-code", with_records(batch, [encoded, batch.log_records[1]])
    again = (17, message((1, GRANT_TERMS), (2, names.revocation_code_hash(b"\x45" * 32))))
    yield "revocation-code-taken", transactions(REVOKE, transaction(PATIENT, again, 9))
    unlabelled = message((1, 1), (3, message((1, 2), (7, message((1, SENSITIVITY), (2, "NOSUCH"))))))
    yield "unknown-label", transactions(REVOKE, transaction(PATIENT, (17, message((1, unlabelled))), 9))
    nested = message((3, message((1, 1), (9, message((1, 2), (4, "NOSUCH"))))))
    yield "unknown-nested-purpose", transactions(REVOKE, transaction(PATIENT, (17, message((1, nested))), 9))
    grants = [transaction(PATIENT, (17, message((1, message((1, 1))))), salt) for salt in range(10, 43)]
    yield "too-many-consents", transactions(REVOKE, *grants)


def coding(system: str, code: str) -> bytes:
    return message((1, system), (2, code))


def edges_of_the_policy() -> tuple[LoggedTransaction, ...]:
    """Grants, and accesses at the edges of their provisions."""
    types, here, there = "http://hl7.org/fhir/resource-types", coding("urn:here", "x"), coding("urn:there", "x")
    observation, condition, other = coding(types, "Observation"), coding(types, "Condition"), coding("urn:class", "c")
    salts = iter(range(100, 200))

    def grant(*provisions: bytes) -> LoggedTransaction:
        terms = message(*[(3, provision) for provision in provisions])
        return transaction(NOBODY, (17, message((1, terms))), next(salts))

    def asked(*more: tuple[int, int | bytes], purpose: str = "TREAT") -> bytes:
        return message((1, b"\x33" * 32), (2, purpose), (3, 2), *more)

    def request(scope: bytes) -> LoggedTransaction:
        return transaction(CLINIC, (19, message((1, account(NOBODY)), (2, scope))), next(salts))

    def record(of: LoggedTransaction, scope: bytes) -> LoggedTransaction:
        return transaction(CLINIC, (20, message((1, id_of(of)), (2, account(NOBODY)), (3, scope))), next(salts))

    def revoke(grant: LoggedTransaction) -> LoggedTransaction:
        return transaction(NOBODY, (18, message((1, id_of(grant)))), next(salts))

    def period(start: int, end: int) -> tuple[int, bytes]:
        return 6, message((1, start), (2, end))

    plain = request(asked((4, observation)))
    labelled = request(asked((4, observation), (5, there)))
    of_a_time = request(asked((4, observation), period(2_000, 3_000)))
    # Which of the denials comes first depends on the order of the questions.
    crossed = grant(
        message((1, 1)),
        message((1, 2), (6, observation), (7, there)),
        message((1, 2), (6, condition), (7, here)),
    )
    excepted = grant(
        message(
            (1, 1),
            (9, message((1, 2), (8, message((1, 1_000), (2, 2_000))))),
            (9, message((1, 2), (7, here))),
            (9, message((1, 2), (6, other), (7, here))),
            (9, message((1, 2), (7, here))),
        )
    )
    return (
        opened(NOBODY, 1, 99),
        crossed,
        request(asked((4, observation), (4, condition), (5, here), (5, there))),
        request(asked((4, condition), (4, observation), (5, there), (5, here))),
        revoke(crossed),
        excepted,
        plain,
        labelled,
        of_a_time,
        request(asked((4, observation), period(500, 1_000))),
        request(asked((4, observation), period(500, 1_001))),
        request(asked((4, observation), period(1_999, 3_000))),
        request(asked((4, observation), period(1_000, 2_000))),
        request(asked((4, observation), (5, here))),
        request(asked((4, other))),
        record(plain, asked((4, observation), (5, there))),
        record(plain, asked((4, observation), period(2_000, 3_000))),
        record(plain, asked((4, condition))),
        record(plain, asked((4, observation), purpose="ETREAT")),
        record(labelled, asked((4, observation))),
        record(labelled, asked((4, observation), (5, there))),
        record(labelled, asked((4, observation), (5, here))),
        record(of_a_time, asked((4, observation))),
        record(of_a_time, asked((4, observation), period(2_000, 2_500))),
        record(of_a_time, asked((4, observation), period(1_999, 3_000))),
    )


def right_executions() -> Iterator[tuple[str, Batch]]:
    """Batches 2 at the edges of what is allowed."""
    first, last = (decode(LogRecord, data) for data in BATCHES[2].log_records)

    def records(*changed: LogRecord) -> Batch:
        return made_leniently(BATCHES[:2], changed)

    late = first.time + HOUR_MS
    yield "time-stands-still", records(first, replace(last, time=first.time))
    yield "longest-time-step", records(first, replace(last, time=late))
    yield "confirmed-time-step", records(first, replace(last, time=late + 5 * HOUR_MS, flags=3))
    far = late + 5 * HOUR_MS
    yield "time-step-with-block", records(first, replace(last, time=far, base_median_time=(far - HOUR_MS) // 1000))
    yield "median-is-the-time", records(first, replace(last, base_median_time=last.time // 1000))
    yield "epoch-grows", records(first, replace(last, epoch=7))
    yield "same-height-other-block", records(first, replace(last, base_height=first.base_height, base_hash=bytes(32)))
    yield "one-record", records(replace(first, flags=1))
    end = transaction(CLINIC, ASK_AGAIN_ACT, 9, first.time + 1)
    far_end = transaction(CLINIC, ASK_AGAIN_ACT, 9, first.time + layouts.WEEK_MS)
    yield "expiries", records(replace(first, transactions=(end, far_end)), last)
    grants = [transaction(PATIENT, (17, message((1, message((1, 1))))), salt) for salt in range(10, 42)]
    yield "as-many-consents", records(replace(first, transactions=(REVOKE, *grants)), last)
    yield "accesses", records(replace(first, transactions=(RECORD_AGAIN, REVOKE, RECORD_LATE)), last)
    yield "policy", records(replace(first, flags=1, transactions=edges_of_the_policy()))
    # Covered, permit expired, and no such request any more.
    asked = decode(Entry, ENTRIES[3]).time
    for after in (MANIFEST.permit_validity_ms, MANIFEST.max_validity_ms):
        for time in (asked + after - 1, asked + after, asked + after + 1):
            act = (20, message((1, id_of(ASK)), (2, account(PATIENT)), (3, scope())))
            late_record = transaction(CLINIC, act, 9, time + HOUR_MS)
            name = f"record-{time - asked}-ms-after-the-request"
            yield name, records(replace(first, time=time, flags=3, transactions=(late_record,)))


RECORD_AGAIN, RECORD_LATE = (
    transaction(CLINIC, (20, message((1, id_of(ASK)), (2, account(PATIENT)), (3, scope()))), salt) for salt in (9, 10)
)
ASK_AGAIN_ACT = (19, message((1, account(PATIENT)), (2, scope())))


def kind_6() -> Iterator[tuple[str, Any, str]]:
    def made(*batches: Batch, record: RecordProof | None = None) -> layouts.WrongExecution:
        return layouts.WrongExecution(tuple(map(encode, batches)), record)

    for name, batch in wrong_executions():
        yield f"6-{name}", made(*BATCHES[:2], batch), VERIFIED
    for name, batch in right_executions():
        yield f"6-right-{name}", made(*BATCHES[:2], batch), "nothing-wrong"
    wrong = reseal(BATCHES[2], effects_root=bytes(32))
    first = reseal(BATCHES[0], effects_root=bytes(32))
    yield "6-first-batch", made(first), VERIFIED
    yield "6-first-batch-not-the-first-sequence", made(reseal(BATCHES[0], first_sequence=1)), VERIFIED
    vouched = proof(2, 4, batch_record(wrong.header, STATE_ROOTS[2]))
    yield "6-with-record", made(*BATCHES[:2], wrong, record=vouched), VERIFIED
    yield (
        "6-with-anchored-record",
        made(
            *BATCHES[:2],
            wrong,
            record=replace(vouched, claim=anchored(4, root=root_with(2, batch_record(wrong.header, STATE_ROOTS[2])))),
        ),
        VERIFIED,
    )
    yield "6-with-honest-record", made(*BATCHES[:2], wrong, record=proof(2)), "batch-record-header"
    yield (
        "6-with-record-of-other-number",
        made(*BATCHES[:2], wrong, record=proof(1, 4, batch_record(wrong.header, STATE_ROOTS[2]))),
        "batch-inclusion",
    )
    yield (
        "6-with-forged-record",
        made(*BATCHES[:2], wrong, record=proof(2, 4, batch_record(wrong.header, STATE_ROOTS[2]), seed=SEQUENCER_SEED)),
        "checkpoint",
    )
    for name, record, expect in (
        ("with-other-state", batch_record(wrong.header, bytes(32)), VERIFIED),
        ("with-other-tree", batch_record(wrong.header, STATE_ROOTS[2])[:-1] + b"\2", "tree-kind"),
        ("with-other-layout", b"\x1d" + batch_record(wrong.header, STATE_ROOTS[2])[1:], "batch-record"),
        ("with-short-record", batch_record(wrong.header, STATE_ROOTS[2])[:-1], "batch-record"),
        ("with-no-record", b"", "batch-record"),
    ):
        yield f"6-{name}", made(*BATCHES[:2], wrong, record=proof(2, 4, record)), expect
    for count in range(1, 5):
        yield f"6-honest-{count}", made(*BATCHES[:count]), "nothing-wrong"
        yield f"6-honest-{count}-with-record", made(*BATCHES[:count], record=proof(count - 1)), "nothing-wrong"
    yield "6-no-batches", made(), "nothing-wrong"
    yield "6-not-from-0", made(*BATCHES[1:3], wrong), "batches"
    yield "6-gap", made(BATCHES[0], BATCHES[2]), "batches"
    yield "6-twice", made(BATCHES[0], BATCHES[0]), "batches"
    yield "6-layout", layouts.WrongExecution((b"\x31" + encode(BATCHES[0])[1:],), None), "batches"
    yield "6-surplus", layouts.WrongExecution((encode(BATCHES[0]) + b"\0",), None), "batches"
    yield "6-empty", layouts.WrongExecution((b"",), None), "batches"
    forged = proof(2, 4, batch_record(wrong.header, STATE_ROOTS[2]), seed=SEQUENCER_SEED)
    yield "6-honest-with-forged-record", made(*BATCHES[:3], record=forged), "nothing-wrong"
    yield "6-earlier-with-forged-record", made(first, BATCHES[1], wrong, record=forged), "earlier-batch"
    yield "6-earlier-and-framed", made(first, BATCHES[1], replace(wrong, entries=())), "earlier-batch"
    yield "6-earlier", made(first, BATCHES[1]), "earlier-batch"
    yield "6-earlier-and-last", made(BATCHES[0], reseal(BATCHES[1], base_height=1), wrong), "earlier-batch"
    # Whoever sends the file changes what the sequencer did not sign.
    batch = BATCHES[2]
    for name, changed in (
        ("other-record", replace(batch, log_records=(batch.log_records[1], batch.log_records[0]))),
        ("no-records", replace(batch, log_records=())),
        ("other-entries", replace(batch, entries=batch.entries[::-1])),
        ("no-entries", replace(batch, entries=())),
        ("unsigned", replace(wrong, signature=batch.signature)),
        ("signed-by-prover", replace(wrong, signature=sign(PROVER_SEED, sha256(wrong.header)))),
        ("other-chain", reseal(batch, chain_id=bytes(32))),
        ("unreadable-header", replace(batch, header=b"x", signature=sign(SEQUENCER_SEED, sha256(b"x")))),
    ):
        yield f"6-framed-{name}", made(*BATCHES[:2], changed), "batches"
        yield f"6-framed-{name}-before", made(*BATCHES[:2], changed, BATCHES[3]), "batches"


def root_with(number: int, record: bytes, size: int = 4) -> bytes:
    return merkle.root([*LEAVES[:number], merkle.leaf_hash(record), *LEAVES[number + 1 : size]])


def kinds_7_to_11() -> Iterator[tuple[str, Any, str]]:
    same = "no-contradiction"
    other = sha256(b"another history")
    yield "7-checkpoints", layouts.RootsContradict(claim(3), claim(3, root=other)), VERIFIED
    yield "7-anchor-and-checkpoint", layouts.RootsContradict(anchored(3), claim(3, root=other)), VERIFIED
    yield "7-anchors", layouts.RootsContradict(anchored(3), anchored(3, other, earlier=2)), VERIFIED
    yield "7-honest", layouts.RootsContradict(claim(3), claim(4)), same
    yield "7-honest-anchored", layouts.RootsContradict(claim(3), anchored(3)), same
    yield "7-same", layouts.RootsContradict(claim(3), claim(3)), same
    forged = CheckpointClaim(checkpoint(3, other, SEQUENCER_SEED))
    yield "7-forged", layouts.RootsContradict(claim(3), forged), "checkpoint"
    yield "7-forged-first", layouts.RootsContradict(forged, claim(3)), "checkpoint"
    no_work = replace(anchored(3, other), headers=())
    unmined = forging.RawBlock(b"\x08" * 32, bytes(32), 0, mined=False).encode()
    for name, chain in (
        ("no-header", no_work),
        ("no-anchor", replace(anchored(3), anchors=())),
        ("seals", replace(anchored(3, other, earlier=2), anchors=anchored(3, other, earlier=2).anchors[1:])),
        ("anchor-size", anchored(2, other, earlier=2)),
        ("block-inclusion", replace(anchored(3, other), block_index=1)),
        ("base-headers", replace(anchored(3, other), headers=(unmined,))),
    ):
        yield f"7-{name}", layouts.RootsContradict(claim(3), chain), name

    for old in range(1, 4):
        for new in range(old + 1, 5):
            path = tuple(merkle.full_path(LEAVES[:new], old))
            yield f"8-{old}-{new}", layouts.HistoryRewritten(claim(old, root=other), claim(new), path), VERIFIED
            yield f"8-{old}-{new}-honest", layouts.HistoryRewritten(claim(old), claim(new), path), same
            yield (
                f"8-{old}-{new}-other-newer",
                layouts.HistoryRewritten(claim(old), claim(new, root=other), path),
                "consistency",
            )
            yield (
                f"8-{old}-{new}-long",
                layouts.HistoryRewritten(claim(old, root=other), claim(new), (*path, bytes(32))),
                "consistency",
            )
            yield (
                f"8-{old}-{new}-short",
                layouts.HistoryRewritten(claim(old, root=other), claim(new), path[:-1]),
                "consistency",
            )
    path = tuple(merkle.full_path(LEAVES, 2))
    yield "8-anchored", layouts.HistoryRewritten(anchored(2, other), anchored(4), path), VERIFIED
    yield "8-plain-path", layouts.HistoryRewritten(claim(2, root=other), claim(4), path[1:]), "consistency"
    yield "8-no-path", layouts.HistoryRewritten(claim(2, root=other), claim(4), ()), "consistency"
    yield "8-backwards", layouts.HistoryRewritten(claim(4), claim(2), path), "consistency"
    yield "8-equal", layouts.HistoryRewritten(claim(2, root=other), claim(2), tuple(LEAVES[:2])), "consistency"
    yield "8-from-nothing", layouts.HistoryRewritten(claim(0, root=other), claim(2), ()), "consistency"
    yield (
        "8-forged",
        layouts.HistoryRewritten(CheckpointClaim(checkpoint(2, other, SEQUENCER_SEED)), claim(4), path),
        "checkpoint",
    )

    wrong = reseal(BATCHES[2], effects_root=bytes(32))
    record = batch_record(wrong.header, STATE_ROOTS[2])
    yield "9-records", layouts.RecordsContradict(2, proof(2), proof(2, 4, record)), VERIFIED
    yield "9-records-of-two-sizes", layouts.RecordsContradict(2, proof(2, 3), proof(2, 4, record)), VERIFIED
    yield "9-no-record-at-all", layouts.RecordsContradict(2, proof(2), proof(2, 4, b"")), VERIFIED
    yield (
        "9-anchored",
        layouts.RecordsContradict(2, proof(2), replace(proof(2, 4, record), claim=anchored(4, root_with(2, record)))),
        VERIFIED,
    )
    yield "9-honest", layouts.RecordsContradict(2, proof(2, 3), proof(2, 4)), same
    yield "9-other-number", layouts.RecordsContradict(2, proof(2), proof(1)), "batch-inclusion"
    yield "9-past-the-end", layouts.RecordsContradict(4, proof(2), proof(2, 4, record)), "batch-inclusion"
    yield "9-largest-number", layouts.RecordsContradict(2**64 - 1, proof(2), proof(2, 4, record)), "batch-inclusion"
    yield "9-made-up", layouts.RecordsContradict(2, proof(2), replace(proof(2), record=record)), "batch-inclusion"
    yield "9-forged", layouts.RecordsContradict(2, proof(2), proof(2, 4, record, seed=SEQUENCER_SEED)), "checkpoint"

    yield "10-other-header", layouts.WrongRecord(2, proof(2, 4, record), HEADERS[2]), VERIFIED
    stateful = batch_record(BATCHES[2].header, sha256(b"another state"))
    yield "10-other-state", layouts.WrongRecord(2, proof(2, 4, stateful), HEADERS[2]), same
    for kind in (0, 2):
        other_kind = RECORDS[2][:-1] + bytes([kind])
        yield f"10-tree-kind-{kind}", layouts.WrongRecord(2, proof(2, 4, other_kind), HEADERS[2]), VERIFIED
    yield "10-unreadable", layouts.WrongRecord(2, proof(2, 4, b"x" * 268), HEADERS[2]), VERIFIED
    yield "10-honest", layouts.WrongRecord(2, proof(2), HEADERS[2]), same
    yield "10-other-number", layouts.WrongRecord(2, proof(2), HEADERS[1]), same
    yield "10-other-leaf", layouts.WrongRecord(1, proof(2), HEADERS[1]), "batch-inclusion"
    forged_header = sign_header(wrong.header, PROVER_SEED)
    yield "10-forged-header", layouts.WrongRecord(2, proof(2), forged_header), "header-signature"
    yield "10-forged-record", layouts.WrongRecord(2, proof(2, 4, record, seed=SEQUENCER_SEED), HEADERS[2]), "checkpoint"

    yield from kind_11()


def kind_11() -> Iterator[tuple[str, Any, str]]:
    same = "no-contradiction"
    other = sha256(b"another history")
    batches = tuple(map(layouts.HeaderAndEffects, (batch.header for batch in BATCHES), LEDGER.effects))
    wrong = reseal(BATCHES[2], time=CREATED)

    def made(found: layouts.RootClaim, given: Sequence[layouts.HeaderAndEffects], signer: int = 3) -> layouts.WrongRoot:
        return layouts.WrongRoot(found, tuple(given), HEADERS[signer].signature)

    def changed(number: int, effects: Sequence[layouts.Effect], **changes: Any) -> layouts.WrongRoot:
        """The batches up to one that has other effects, to which its header commits unless it is told otherwise."""
        root = effects_root((effect.key_hash, effect.value_hash) for effect in effects)
        batch = reseal(BATCHES[number], **{"effects_root": root, **changes})
        given = (*batches[:number], layouts.HeaderAndEffects(batch.header, tuple(effects)))
        return layouts.WrongRoot(claim(number + 1, root=other), given, batch.signature)

    yield "11-root", made(claim(4, root=other), batches), VERIFIED
    yield "11-shorter", made(claim(2, root=other), batches[:2], 1), VERIFIED
    yield "11-anchored", made(anchored(4, other), batches), VERIFIED
    without_state = merkle.root([merkle.leaf_hash(batch_record(batch.header, bytes(32))) for batch in BATCHES])
    yield "11-without-state", made(claim(4, root=without_state), batches), VERIFIED
    states = (*STATE_ROOTS[:3], STATE_ROOTS[0])
    other_state = [merkle.leaf_hash(batch_record(one.header, root)) for one, root in zip(BATCHES, states)]
    yield "11-other-state", made(claim(4, root=merkle.root(other_state)), batches), VERIFIED
    yield "11-honest", made(claim(4), batches), same
    for count in (1, 2, 3):
        yield f"11-honest-{count}", made(claim(count), batches[:count], count - 1), same
    yield "11-too-few", made(claim(4, root=other), batches[:3], 2), "batches"
    yield "11-too-many", made(claim(3, root=other), batches), "batches"
    yield "11-none", layouts.WrongRoot(claim(0, root=other), (), bytes(64)), same
    yield "11-order", made(claim(4, root=other), (batches[1], batches[0], *batches[2:])), "batches"
    unlinked = replace(batches[2], header=wrong.header)
    yield "11-not-linked", made(claim(4, root=other), (*batches[:2], unlinked, batches[3])), "batches"
    effects = LEDGER.effects[1]
    given = replace(batches[1], effects=effects[:-1])
    yield "11-missing-effect", made(claim(2, root=other), (batches[0], given), 1), "batches"
    given = replace(batches[1], effects=(replace(effects[0], value_hash=bytes(32)), *effects[1:]))
    yield "11-other-effect", made(claim(2, root=other), (batches[0], given), 1), "batches"
    yield "11-committed-effects", changed(1, effects[1:]), VERIFIED
    yield "11-no-effects", changed(1, ()), VERIFIED
    yield "11-swapped-effects", changed(1, (effects[1], effects[0], *effects[2:])), "batches"
    yield "11-effect-twice", changed(1, (effects[0], *effects)), "batches"
    first = layouts.HeaderAndEffects(reseal(BATCHES[0], previous_hash=b"\1" * 32).header, LEDGER.effects[0])
    yield "11-first-has-previous", layouts.WrongRoot(claim(1, root=other), (first,), bytes(64)), "batches"
    yield "11-unsigned", made(claim(4, root=other), batches, 2), "header-signature"
    for name, change in (("header-chain", {"chain_id": bytes(32)}), ("header-key", {"key_id": bytes(32)})):
        yield f"11-{name}", changed(3, LEDGER.effects[3], **change), name
    unreadable = replace(batches[3], header=b"x")
    yield "11-unreadable", made(claim(4, root=other), (*batches[:3], unreadable)), "header"
    forged = CheckpointClaim(checkpoint(4, other, SEQUENCER_SEED))
    yield "11-forged", made(forged, batches), "checkpoint"


def file_cases() -> Iterator[Case]:
    """What is the same for all kinds, on one of them."""
    statements = layouts.ReceiptsContradict(receipt_of(ENTRIES[3], 1), receipt_of(ENTRIES[3], 2))
    good = evidence(statements)
    yield Case("file-not-pinned", good, "not-pinned", {})
    yield Case("file-digest", good[:-1] + bytes([good[-1] ^ 1]), "file-digest")
    yield Case("file-other-chain", good, "chain-id", {"chain": "00" * 32})
    yield Case("file-cut-off", good[:-40], "unreadable")
    yield Case("file-surplus", forging.redigest(good[:-32] + bytes(33)), "unreadable")
    yield Case("file-other-version", forging.redigest(good[:17] + b"\2" + good[18:]), "unreadable")
    place = len(files.EVIDENCE_MAGIC) + 2 + 4 + len(MANIFEST_BYTES)
    for kind in (0, 12):
        yield Case(
            f"file-kind-{kind}", forging.redigest(good[:place] + bytes([kind]) + good[place + 1 :]), "unreadable"
        )
    changed = replace(MANIFEST, max_seal_delay_ms=0)
    yield Case("file-manifest", evidence(statements, encode(changed)), "manifest", {})
    for name, edit in (("ruleset", {"ruleset": 2}), ("base-network", {"base_network": "main"})):
        yield Case(f"file-{name}", evidence(statements, encode(replace(MANIFEST, **edit))), name, {})
    for name, magic in (("proof", files.PROOF_MAGIC), ("receipt", files.RECEIPT_MAGIC)):
        yield Case(f"file-as-{name}", forging.redigest(magic + good[len(files.EVIDENCE_MAGIC) :]), "unreadable")
    roots = evidence(layouts.RootsContradict(claim(3), anchored(3, sha256(b"x"))))
    block = base.shown(base.double_sha256(anchored(3, sha256(b"x")).headers[0]))
    pinned = {"chain": CHAIN.hex()}
    yield Case("anchor-not-pinned", roots, "anchor-not-pinned", pinned)
    yield Case("pinned-block", roots, VERIFIED, {**pinned, "base_block": block})
    yield Case("pinned-other-block", roots, "pinned-block", {**pinned, "base_block": "00" * 32})
    yield Case("least-work", roots, VERIFIED, {**pinned, "least_work": "2"})
    yield Case("least-work-more", roots, "least-work", {**pinned, "least_work": "3"})
    exported = layouts.ExportedBatches(MANIFEST_BYTES, 0, tuple(encode(batch) for batch in BATCHES))
    yield Case("batches", files.write_file(exported, files.BATCHES_MAGIC), "unreadable")


def cases() -> Iterator[Case]:
    yield from file_cases()
    plain: tuple[Callable[[], Iterator[tuple[str, Any, str]]], ...] = (receipt_cases, consistency_cases)
    for make in plain:
        for name, data, expect in make():
            yield Case(name, data, expect)
    for make in (kinds_1_to_5, kind_6, kinds_7_to_11):
        for name, statements, expect in make():
            # Anchors count under a pin only; the other statements do not look at it.
            yield Case(f"evidence-{name}", evidence(statements), expect, {"chain": CHAIN.hex(), "least_work": "1"})


def write_corpus(folder: str, found: Iterable[Case]) -> None:
    os.makedirs(folder, exist_ok=True)
    index = []
    for case in found:
        name = f"{case.name}.assent"
        with open(os.path.join(folder, name), "wb") as file:
            file.write(case.data)
        pins = {"chain": CHAIN.hex()} if case.pins is None else case.pins
        given = {key: pins.get(key) for key in ("chain", "base_block", "least_work", "validators", "require")}
        index.append({"file": name, **given, "expect": case.expect})
    with open(os.path.join(folder, "index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file, indent=1)
    print(f"{len(index)} files")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="folder to write to; made where it does not exist")
    write_corpus(parser.parse_args().folder, cases())


if __name__ == "__main__":
    main()
