"""Makes proof files of an invented ledger, for tests: sound ones, and ones that are wrong in one place.

`forge()` builds a bundle from the body to the base chain's headers. Everything it makes on the way is a
stage, and a function given under the name of a stage changes what that stage made; everything that comes
after it is built, signed and mined upon the changed value. So each check can be made to fail on its own.

    forge(header=lambda header: replace(header, ruleset=2))
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from assent_formats import base, ed25519, files, layouts, merkle, names, note
from assent_formats.checks import RULESETS
from assent_formats.codec import encode, sha256
from assent_formats.layouts import BatchHeader, BatchRecord, Bundle, Detail, Entry, Manifest, OutcomeKind, OutcomeLeaf

CREATED = 1_700_000_000_000
HOUR_MS = 3_600_000
SENDER_SEED, SEQUENCER_SEED, PROVER_SEED = bytes([0x11]) * 32, bytes([0x51]) * 32, bytes([0x52]) * 32
VALIDATOR_SEEDS = bytes([0x53]) * 32, bytes([0x54]) * 32


def public_key(seed: bytes) -> bytes:
    return ed25519.compress(ed25519.multiply(secret_scalar(seed), ed25519.BASE))


def secret_scalar(seed: bytes) -> int:
    number = int.from_bytes(hashlib.sha512(seed).digest()[:32], "little")
    return number & (1 << 254) - 8 | 1 << 254


def sign(seed: bytes, message: bytes) -> bytes:
    """RFC 8032. Not constant-time: only for keys that are no secret."""

    def scalar(*parts: bytes) -> int:
        return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ed25519.L

    r = scalar(hashlib.sha512(seed).digest()[32:], message)
    encoded_r = ed25519.compress(ed25519.multiply(r, ed25519.BASE))
    s = (r + scalar(encoded_r, public_key(seed), message) * secret_scalar(seed)) % ed25519.L
    return encoded_r + s.to_bytes(32, "little")


def cosignature(validator: note.Validator, seed: bytes, text: str, time: int = CREATED // 1000) -> str:
    """The line by which a validator cosigns a note of this text."""
    return note.cosignature_line(validator, time, sign(seed, note.cosigned_message(text, time)))


def note_line(name: str, data: bytes) -> str:
    return f"— {name} {base64.b64encode(data).decode()}\n"


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message with these fields as they are given: canonical or not."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def scope(custodian: bytes = b"\x33" * 32, purpose: str = "TREAT", *more: tuple[int, int | str | bytes]) -> bytes:
    observation = message((1, "http://hl7.org/fhir/resource-types"), (2, "Observation"))
    return message((1, custodian), (2, purpose), (3, 2), (4, observation), *more)


VALIDATORS = tuple(
    note.Validator(f"validator-{number}", public_key(seed)) for number, seed in enumerate(VALIDATOR_SEEDS)
)


@dataclass(frozen=True)
class RawTransaction:
    inputs: tuple[base.OutPoint, ...]
    outputs: tuple[tuple[int, bytes], ...]

    def encode(self) -> bytes:
        out = struct.pack("<I", 2) + compact_size(len(self.inputs))
        for spent in self.inputs:
            out += spent.txid + struct.pack("<IBI", spent.vout, 0, 0xFFFFFFFD)
        out += compact_size(len(self.outputs))
        for amount, script in self.outputs:
            out += struct.pack("<Q", amount) + compact_size(len(script)) + script
        return out + bytes(4)


def compact_size(value: int) -> bytes:
    return bytes([value]) if value < 0xFD else b"\xfd" + struct.pack("<H", value)


@dataclass(frozen=True)
class RawBlock:
    previous: bytes
    merkle_root: bytes
    time: int
    bits: int = 0x207FFFFF
    mined: bool = True

    def encode(self) -> bytes:
        """The header with the first nonce that gives it work, or that does not."""
        for nonce in range(1 << 16):
            data = struct.pack("<I32s32sIII", 4, self.previous, self.merkle_root, self.time, self.bits, nonce)
            hit = int.from_bytes(base.double_sha256(data), "little") <= base.target(self.bits)
            if hit == self.mined:
                return data
        return data


@dataclass
class Act:
    """What a body does, and outcomes that fit it."""

    field: tuple[int, bytes]
    kinds: tuple[OutcomeKind, ...]
    objects: tuple[bytes | None, ...]  # None: the transaction id
    by_code: bool = False


SUBJECTS = (b"\x21" * 32, b"\x22" * 32)
QUESTION = layouts.Question(
    recipient=names.account_id(public_key(SENDER_SEED)),
    custodian=b"\x33" * 32,
    purpose="TREAT",
    action=2,
    classes=(layouts.Coding("http://hl7.org/fhir/resource-types", "Observation"),),
    labels=(),
    data_period=None,
    acting_person=None,
)
ASKED = Act(
    (19, message((1, SUBJECTS[0]), (1, SUBJECTS[1]), (2, scope()))),
    (OutcomeKind.ACCESS_PERMITTED, OutcomeKind.ACCESS_DENIED),
    SUBJECTS,
)
OPENED = Act((16, message((1, 1))), (OutcomeKind.ACCOUNT_OPENED,), (names.account_id(public_key(SENDER_SEED)),))
GRANTED = Act((17, message((1, message((1, 1))))), (OutcomeKind.CONSENT_GRANTED,), (None,))
REVOKED = Act((18, message((1, b"\x44" * 32))), (OutcomeKind.CONSENT_REVOKED,), (b"\x44" * 32,))
REVOKED_BY_CODE = Act((18, message((2, b"\x45" * 32))), (OutcomeKind.CONSENT_REVOKED,), (b"\x44" * 32,), by_code=True)
RECORDED = Act(
    (20, message((1, b"\x46" * 32), (2, SUBJECTS[0]), (3, scope()))), (OutcomeKind.ACCESS_COVERED,), SUBJECTS[:1]
)


@dataclass
class Shape:
    """Where the entry is in its batch, the batch in the history, and which anchors there are."""

    batch_size: int = 5
    index: int = 3
    number: int = 2
    history_size: int = 4
    anchor_sizes: tuple[int, ...] = (2, 4)
    depth: int = 3
    block: Sequence[bytes] = field(default_factory=lambda: [sha256(bytes([n])) for n in range(4)])
    block_index: int = 1


def forge(act: Act = ASKED, shape: Shape | None = None, **edits: Callable[[Any], Any]) -> bytes:
    """A proof file; the edits are by the names of stages."""
    shape = shape or Shape()

    def stage(name: str, value: Any) -> Any:
        edit = edits.pop(name, None)
        return edit(value) if edit else value

    manifest = stage("manifest", default_manifest())
    manifest_bytes = stage("manifest_bytes", encode(manifest))
    chain_id = sha256(manifest_bytes)

    time = CREATED + 5_000
    sender = public_key(SENDER_SEED)
    start = [(1, chain_id)] if act.by_code else [(1, chain_id), (2, names.account_id(sender))]
    fields = stage("body_fields", [*start, (3, b"\x77" * 16), (4, time + HOUR_MS), act.field])
    body = stage("body", message(*fields))
    transaction_id = names.transaction_id(body)
    signature = layouts.Authorization(names.ED25519, sender, sign(SENDER_SEED, transaction_id))
    authorizations = stage("authorizations", () if act.by_code else (signature,))

    details = stage("details", tuple(encode(default_detail(kind)) for kind in act.kinds))
    leaves = tuple(
        OutcomeLeaf(
            kind,
            transaction_id if thing is None else thing,
            QUESTION if kind >= OutcomeKind.ACCESS_PERMITTED else None,
            time + HOUR_MS if kind == OutcomeKind.ACCESS_PERMITTED else 0,
            (),
            sha256(details[number]) if number < len(details) else bytes(32),
        )
        for number, (kind, thing) in enumerate(zip(act.kinds, act.objects))
    )
    leaf_bytes = stage("leaf_bytes", tuple(encode(leaf) for leaf in stage("leaves", leaves)))

    entry = Entry(
        100 + shape.index,
        time,
        transaction_id,
        layouts.authorizations_hash(authorizations),
        merkle.root_of(leaf_bytes),
    )
    entry_bytes = stage("entry_bytes", encode(stage("entry", entry)))
    entries = [merkle.leaf_hash(b"entry %d" % n) for n in range(shape.batch_size)]
    entries[shape.index] = merkle.leaf_hash(entry_bytes)
    entry_path = stage("entry_path", tuple(merkle.inclusion_path(entries, shape.index)))

    header = BatchHeader(
        chain_id=chain_id,
        epoch=1,
        ruleset=manifest.ruleset,
        number=shape.number,
        first_sequence=100,
        entry_count=shape.batch_size,
        entries_root=merkle.root(entries),
        effects_root=sha256(b"effects"),
        log_root=sha256(b"log"),
        previous_hash=sha256(b"previous") if shape.number else bytes(32),
        time=time,
        base_height=7,
        base_hash=sha256(b"base"),
        key_id=names.key_id(manifest.sequencer_key),
    )
    header_bytes = stage("header_bytes", encode(stage("header", header)))
    header_signature = stage("header_signature", sign(SEQUENCER_SEED, sha256(header_bytes)))

    record = stage("record", BatchRecord(sha256(header_bytes), sha256(b"state"), layouts.STATE_TREE))
    record_bytes = stage("record_bytes", encode(record))
    history = [merkle.leaf_hash(b"batch %d" % n) for n in range(shape.history_size)]
    history[shape.number] = merkle.leaf_hash(record_bytes)
    history_path = stage("history_path", tuple(merkle.inclusion_path(history, shape.number)))
    checkpoint = stage("checkpoint", note.Checkpoint(chain_id, shape.history_size, merkle.root(history)))
    text = stage("checkpoint_text", checkpoint.text)
    line = note.signature_line(checkpoint.origin, manifest.prover_key, sign(PROVER_SEED, text.encode()))
    note_text = stage("note", f"{text}\n{line}")

    anchors: list[bytes] = []
    seal = base.OutPoint(manifest.first_anchor_txid, manifest.first_anchor_vout)
    for number, size in enumerate(shape.anchor_sizes):
        root = checkpoint.root if number == len(shape.anchor_sizes) - 1 else sha256(b"earlier")
        payload = stage(f"payload{number}", base.anchor_payload(chain_id, size, root))
        script = stage(f"script{number}", bytes([base.OP_RETURN, len(payload)]) + payload)
        transaction = RawTransaction((seal, base.OutPoint(b"\x09" * 32, 1)), ((1_000, b"\x51"), (0, script)))
        encoded = stage(f"anchor{number}_bytes", stage(f"anchor{number}", transaction).encode())
        anchors.append(encoded)
        seal = base.OutPoint(base.double_sha256(encoded), 0)

    txid = base.double_sha256(anchors[-1]) if anchors else bytes(32)
    path = block_path(shape.block, shape.block_index)
    block_index, path = stage("block_path", (shape.block_index, path))
    root = stage("block_root", fold(txid, block_index, path))
    headers: list[bytes] = []
    previous = b"\x08" * 32
    for number in range(shape.depth):
        raw = RawBlock(previous, root if number == 0 else sha256(b"block"), CREATED // 1000 + number)
        headers.append(stage(f"block{number}", raw).encode())
        previous = base.double_sha256(headers[-1])

    bundle = Bundle(
        manifest=manifest_bytes,
        body=body,
        authorizations=authorizations,
        entry=entry_bytes,
        outcome_leaves=leaf_bytes,
        details=stage("shown_details", details),
        entry_path=entry_path,
        header=header_bytes,
        header_signature=header_signature,
        batch_record=record_bytes,
        history_path=history_path,
        checkpoint=note_text,
        anchors=tuple(anchors),
        block_index=block_index,
        block_path=tuple(path),
        headers=tuple(headers),
    )
    file = files.write_file(stage("bundle", bundle), files.PROOF_MAGIC)
    file = stage("file", file)
    if edits:
        raise TypeError(f"no such stage: {', '.join(edits)}")
    return file


def default_manifest() -> Manifest:
    return Manifest(
        nonce=b"\x01" * 32,
        created=CREATED,
        sequencer_key=public_key(SEQUENCER_SEED),
        prover_key=public_key(PROVER_SEED),
        base_network="regtest",
        base_genesis_hash=base.NETWORKS["regtest"].genesis_hash,
        first_anchor_txid=b"\x02" * 32,
        first_anchor_vout=1,
        ruleset=1,
        ruleset_hash=RULESETS[1],
        max_validity_ms=layouts.WEEK_MS,
        permit_validity_ms=24 * HOUR_MS,
        max_time_step_ms=HOUR_MS,
        max_seal_delay_ms=60_000,
        max_batch_entries=10_000,
        max_batch_bytes=8 << 20,
    )


def default_detail(kind: OutcomeKind) -> Detail:
    reasons = {
        OutcomeKind.ACCESS_PERMITTED: layouts.Reason.PERMITTED_BY_PROVISION,
        OutcomeKind.ACCESS_COVERED: layouts.Reason.PERMITTED_BY_DEFAULT,
        OutcomeKind.ACCESS_DENIED: layouts.Reason.NO_CONSENT,
        OutcomeKind.ACCESS_UNCOVERED: layouts.Reason.PERMIT_EXPIRED,
    }
    return Detail(sha256(b"salt"), 3, reasons.get(kind, layouts.Reason.NO_DECISION), 1, None, ())


def block_path(others: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Siblings for a transaction at `index`, as many as a block of that many transactions has."""
    return tuple(others[: (len(others) - 1).bit_length()])


def fold(txid: bytes, index: int, path: Sequence[bytes]) -> bytes:
    """The Merkle root over a path, without any check."""
    found = txid
    for level, sibling in enumerate(path):
        found = base.double_sha256(*((sibling, found) if index >> level & 1 else (found, sibling)))
    return found


def redigest(content: bytes) -> bytes:
    """A file with its digest made anew, after its bytes were changed."""
    return content[: -files.DIGEST_BYTES] + sha256(content[: -files.DIGEST_BYTES])


__all__ = [
    "ASKED",
    "GRANTED",
    "OPENED",
    "RECORDED",
    "REVOKED",
    "REVOKED_BY_CODE",
    "Act",
    "RawBlock",
    "RawTransaction",
    "Shape",
    "VALIDATORS",
    "VALIDATOR_SEEDS",
    "cosignature",
    "default_manifest",
    "forge",
    "message",
    "public_key",
    "redigest",
    "replace",
    "scope",
    "sign",
    "varint",
]
