"""What all kinds of files are checked with: pins, named checks, manifests, headers, checkpoints and anchors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from . import base, ed25519, merkle, names, note, ruleset
from .codec import FormatError, decode, layout_hash, sha256
from .layouts import RECORD_BYTES, STATE_TREE, Authorization, BatchHeader, BatchRecord, Manifest
from .transaction import TransactionBody, check_sender, read_body

# The rulesets that this verifier knows, by number: the hash of layout 0x1e.
RULESETS = {ruleset.NUMBER: ruleset.HASH}


class ReadError(Exception):
    """The file cannot be read as a proof at all."""


class CheckError(Exception):
    """A check does not hold. `name` is the check's name in docs/errors.md."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True)
class Pins:
    """What the verifier was told from outside. Hashes of blocks in the order in which they are hashed."""

    chain_id: bytes | None = None
    base_block: bytes | None = None
    least_work: int | None = None
    validators: tuple[note.Validator, ...] = ()
    required: int = 0  # how many of the validators have to have cosigned


@contextmanager
def check(name: str) -> Iterator[None]:
    """Names the check that a `FormatError` of the block is a failure of."""
    try:
        yield
    except FormatError as error:
        raise CheckError(name, str(error)) from error


def require(name: str, condition: bool, message: str) -> None:
    if not condition:
        raise CheckError(name, message)


def require_equal(name: str, what: str, expected: bytes, found: bytes) -> None:
    require(name, expected == found, f"{what}: {expected.hex()} expected, {found.hex()} found")


def check_manifest(data: bytes, pins: Pins) -> tuple[Manifest, bytes]:
    """The manifest and the chain id."""
    with check("manifest"):
        manifest = decode(Manifest, data)
    chain_id = sha256(data)
    if pins.chain_id is not None:
        require_equal("chain-id", "hash of the manifest", pins.chain_id, chain_id)
    known = RULESETS.get(manifest.ruleset)
    require("ruleset", known is not None, f"ruleset {ruleset.NUMBER} expected, {manifest.ruleset} found")
    assert known is not None
    require_equal("ruleset", "hash of the ruleset", known, manifest.ruleset_hash)
    network = base.NETWORKS.get(manifest.base_network)
    require(
        "base-network",
        network is not None,
        f"one of {', '.join(base.NETWORKS)} expected, {manifest.base_network!r} found",
    )
    assert network is not None
    require_equal("base-network", "first block", network.genesis_hash, manifest.base_genesis_hash)
    return manifest, chain_id


def check_transaction(data: bytes, authorizations: Sequence[Authorization], chain_id: bytes) -> TransactionBody:
    """The checks without state, and the sender's signature."""
    with check("transaction"):
        body = read_body(data, chain_id)
    with check("sender-signature"):
        authorization = check_sender(body, authorizations)
    if authorization is not None:
        signed = names.transaction_id(data)
        require(
            "sender-signature",
            ed25519.verify(authorization.public_key, signed, authorization.signature),
            "the signature over the transaction id does not verify",
        )
    return body


def read_header(data: bytes, manifest: Manifest, chain_id: bytes) -> BatchHeader:
    """A header of this ledger under the sequencer's key; its signature is not verified here."""
    with check("header"):
        header = decode(BatchHeader, data)
    require_equal("header-chain", "chain id of the header", chain_id, header.chain_id)
    require_equal("header-key", "key of the header", names.key_id(manifest.sequencer_key), header.key_id)
    return header


def check_header_signature(header: BatchHeader, manifest: Manifest, signature: bytes) -> None:
    require(
        "header-signature",
        ed25519.verify(manifest.sequencer_key, layout_hash(header), signature),
        "the sequencer's signature on the header does not verify",
    )


def check_header_ruleset(header: BatchHeader, manifest: Manifest) -> None:
    require(
        "header-ruleset",
        header.ruleset == manifest.ruleset,
        f"ruleset {manifest.ruleset} expected, {header.ruleset} found",
    )


def check_batch_record(data: bytes, header: bytes) -> BatchRecord:
    """The batch record of a header."""
    kind = data[-1] if len(data) == RECORD_BYTES else STATE_TREE
    require("tree-kind", kind == STATE_TREE, f"tree kind {STATE_TREE} expected, {kind} found")
    with check("batch-record"):
        record = decode(BatchRecord, data)
    require_equal("batch-record-header", "header hash of the record", sha256(header), record.header_hash)
    return record


def check_checkpoint(text: str, manifest: Manifest, chain_id: bytes, pins: Pins) -> note.Checkpoint:
    with check("checkpoint"):
        return note.open_checkpoint(text, chain_id, manifest.prover_key, pins.validators)


def check_cosignatures(checkpoint: note.Checkpoint, pins: Pins) -> None:
    found = len({validator.public_key for validator in checkpoint.cosigned_by})
    require(
        "cosignatures",
        found >= pins.required,
        f"cosignatures of {pins.required} of {len(pins.validators)} validators expected, of {found} found",
    )


def check_inclusion(record: bytes, number: int, path: Sequence[bytes], size: int, root: bytes) -> None:
    """That a batch record is that of its number in the history of a size."""
    with check("batch-inclusion"):
        found = merkle.root_from_path(merkle.leaf_hash(record), number, size, path)
    require_equal("batch-inclusion", "root of the history", root, found)


def check_seals(encoded: Sequence[bytes], manifest: Manifest, chain_id: bytes) -> tuple[base.Anchor, ...]:
    """The anchors of a chain of seals from the manifest's outpoint on."""
    seal = base.OutPoint(manifest.first_anchor_txid, manifest.first_anchor_vout)
    anchors: list[base.Anchor] = []
    for number, data in enumerate(encoded):
        with check("seals"):
            anchor = base.read_anchor(data)
        spent = anchor.transaction.inputs[0]
        require("seals", spent == seal, f"anchor {number}: input 0 of {seal} expected, of {spent} found")
        anchors.append(anchor)
        seal = anchor.next_seal
    size = 0
    for number, anchor in enumerate(anchors):
        require_equal("chain-tag", f"tag of anchor {number}", chain_id[:4], anchor.tag)
        require("anchor-size", anchor.size > size, f"anchor {number}: above {size} expected, {anchor.size} found")
        size = anchor.size
    require("no-anchor", bool(anchors), "an anchor expected, none found")
    return tuple(anchors)


def check_base(
    encoded: Sequence[bytes],
    txid: bytes,
    block_index: int,
    block_path: Sequence[bytes],
    manifest: Manifest,
    pins: Pins,
) -> tuple[base.Header, ...]:
    """The base chain's headers, in the first of whose blocks the transaction is."""
    require("no-header", bool(encoded), "a base-chain header expected, none found")
    headers = tuple(base.read_header(data) for data in encoded)
    with check("base-headers"):
        base.check_headers(headers, base.NETWORKS[manifest.base_network])
    with check("block-inclusion"):
        root = base.root_from_block_path(txid, block_index, block_path)
    require_equal("block-inclusion", "Merkle root of the block", headers[0].merkle_root, root)
    if pins.base_block is not None:
        require(
            "pinned-block",
            any(header.hash == pins.base_block for header in headers),
            f"block {base.shown(pins.base_block)} is not among the {len(headers)} headers",
        )
    if pins.least_work is not None:
        work = sum(header.work for header in headers)
        require("least-work", work >= pins.least_work, f"work {pins.least_work:x} expected, {work:x} found")
    return headers
