"""The checks of a proof bundle, in their order ("The checks, in order" of docs/formats.md), and `verify_any`."""

from __future__ import annotations

from dataclasses import dataclass

from . import base, files, layouts, merkle, names, note
from .checks import (
    Pins,
    ReadError,
    check,
    check_base,
    check_batch_record,
    check_checkpoint,
    check_cosignatures,
    check_header_ruleset,
    check_header_signature,
    check_inclusion,
    check_manifest,
    check_seals,
    check_transaction,
    require,
    require_equal,
)
from .codec import FormatError, decode, sha256
from .findings import StatementReport, names_of, say_cosigned
from .layouts import (
    BatchHeader,
    Bundle,
    Detail,
    Entry,
    ExportedBatches,
    Manifest,
    OutcomeKind,
    OutcomeLeaf,
    Reason,
)
from .say import say_act, say_detail, say_outcome, say_time
from .statements import check_statement
from .terms import question_of
from .transaction import (
    GrantConsent,
    OpenAccount,
    RecordAccess,
    RequestAccess,
    RevokeConsent,
    TransactionBody,
)


@dataclass(frozen=True)
class Report:
    """What a bundle proves, after all checks held."""

    pins: Pins
    manifest: Manifest
    chain_id: bytes
    transaction_id: bytes
    body: TransactionBody
    entry: Entry
    outcomes: tuple[OutcomeLeaf, ...]
    details: tuple[Detail, ...]
    header: BatchHeader
    checkpoint: note.Checkpoint
    anchors: tuple[base.Anchor, ...]
    base_headers: tuple[base.Header, ...]

    @property
    def pinned(self) -> bool:
        return self.pins.chain_id is not None

    @property
    def status(self) -> str:
        return "VERIFIED" if self.pinned else "CONSISTENT_NOT_PINNED"

    @property
    def work(self) -> int:
        return sum(header.work for header in self.base_headers)

    def proves(self) -> list[str]:
        by = f"by {names.write_did(self.body.sender)}" if self.body.sender else "by nobody: it shows a revocation code"
        block = self.base_headers[0]
        lines = [
            f"Transaction {self.transaction_id.hex()} {say_act(self.body)}. It was signed {by}.",
            f"It was sequenced as number {self.entry.sequence} of ledger {self.chain_id.hex()} "
            f"at {say_time(self.entry.time)}, with this outcome:",
        ]
        for number, leaf in enumerate(self.outcomes):
            lines.append(f"  {say_outcome(leaf)}")
            if self.details:
                lines.append(f"    {say_detail(self.details[number])}")
        lines.append(
            f"Since block {base.shown(block.hash)} of the base chain ({self.manifest.base_network}, block time "
            f"{say_time(block.time * 1000)}) nobody can have changed, moved or inserted it."
        )
        return lines

    def does_not_prove(self) -> list[str]:
        return [
            "Who stands behind an account id: keys are known, names are not.",
            "That the decision was right: the consents in force at that moment are not in this file.",
            "That a consent is still in force, or that this entry is the only one about its subject.",
            "What the data were, or that nobody read them around the ledger.",
        ]

    def trusted(self) -> list[str]:
        lines = [
            "You, for the chain id: it names the keys of the sequencer and of the prover."
            if self.pinned
            else "NOBODY vouches for the ledger: give its chain id (--chain) from a source that you trust.",
            "The sequencer, for the time of the entry and for its outcome.",
            "The prover, for having executed the batch again before it signed the checkpoint.",
        ]
        lines += say_cosigned(self.checkpoint)
        if self.pins.base_block is None and self.pins.least_work is None:
            lines.append(
                f"Whoever made the {len(self.base_headers)} base-chain headers of the file (work {self.work:x}): "
                "pin a block (--base-block) or least work (--least-work) to trust in more."
            )
        return lines

    def to_json(self) -> dict[str, object]:
        return {
            "status": self.status,
            "kind": "bundle",
            "chain_id": self.chain_id.hex(),
            "transaction_id": self.transaction_id.hex(),
            "sequence": self.entry.sequence,
            "time_ms": self.entry.time,
            "outcomes": [leaf.kind.name for leaf in self.outcomes],
            "batch_number": self.header.number,
            "checkpoint_size": self.checkpoint.size,
            "cosigned_by": names_of(self.checkpoint),
            "network": self.manifest.base_network,
            "anchor_txid": base.shown(self.anchors[-1].transaction.txid),
            "block_hash": base.shown(self.base_headers[0].hash),
            "depth": len(self.base_headers),
            "work": f"{self.work:x}",
            "proves": self.proves(),
            "does_not_prove": self.does_not_prove(),
            "trusted": self.trusted(),
        }


def verify(file_bytes: bytes, pins: Pins = Pins()) -> Report:
    """Makes every check of a proof bundle in order. Raises `ReadError`, or `CheckError` for the first that fails."""
    report = verify_any(file_bytes, pins)
    if not isinstance(report, Report):
        raise ReadError("a proof bundle expected, another kind of file found")
    return report


def verify_any(file_bytes: bytes, pins: Pins = Pins()) -> Report | StatementReport:
    """Makes every check of a file of any kind in order. Raises as `verify` does."""
    try:
        content, digest_holds = files.read_file(file_bytes)
    except FormatError as error:
        raise ReadError(str(error)) from error
    if isinstance(content, ExportedBatches):
        raise ReadError("the file holds exported batches, which prove nothing: execute them again with replay.py")
    report = check_bundle(content, pins) if isinstance(content, Bundle) else check_statement(content, pins)
    require("file-digest", digest_holds, "all checks hold, but the digest does not: the file was damaged")
    return report


def check_bundle(bundle: Bundle, pins: Pins) -> Report:
    manifest, chain_id = check_manifest(bundle.manifest, pins)
    body = check_transaction(bundle.body, bundle.authorizations, chain_id)
    entry, outcomes, details = check_entry(bundle, manifest, body)
    header = check_batch(bundle, manifest, chain_id, entry)
    checkpoint = check_history(bundle, manifest, chain_id, header, pins)
    anchors = check_anchors(bundle, manifest, chain_id, header, checkpoint)
    txid = anchors[-1].transaction.txid
    base_headers = check_base(bundle.headers, txid, bundle.block_index, bundle.block_path, manifest, pins)
    return Report(
        pins,
        manifest,
        chain_id,
        entry.transaction_id,
        body,
        entry,
        outcomes,
        details,
        header,
        checkpoint,
        anchors,
        base_headers,
    )


def check_entry(
    bundle: Bundle, manifest: Manifest, body: TransactionBody
) -> tuple[Entry, tuple[OutcomeLeaf, ...], tuple[Detail, ...]]:
    with check("entry"):
        entry = decode(Entry, bundle.entry)
    transaction_id = names.transaction_id(bundle.body)
    require_equal("transaction-id", "transaction id of the entry", transaction_id, entry.transaction_id)
    require_equal(
        "authorizations",
        "authorizations hash of the entry",
        layouts.authorizations_hash(bundle.authorizations),
        entry.authorizations_hash,
    )
    left = body.expires_at_ms - entry.time
    require(
        "expired",
        0 < left <= manifest.max_validity_ms,
        f"an expiry 1 to {manifest.max_validity_ms} ms after the entry expected, {left} found",
    )
    with check("outcome-leaf"):
        outcomes = tuple(decode(OutcomeLeaf, leaf) for leaf in bundle.outcome_leaves)
    require_equal("outcome-root", "outcome root", entry.outcome_root, merkle.root_of(bundle.outcome_leaves))
    with check("outcome-form"):
        check_outcome_form(body, transaction_id, outcomes)
    with check("detail"):
        details = check_details(bundle, outcomes)
    return entry, outcomes, details


def check_outcome_form(body: TransactionBody, transaction_id: bytes, outcomes: tuple[OutcomeLeaf, ...]) -> None:
    """That kinds, objects and questions are some that the act can have."""
    kind = OutcomeKind
    objects: tuple[bytes | None, ...]
    match body.act:
        case OpenAccount():
            kinds, objects = {kind.ACCOUNT_OPENED}, (body.sender,)
        case GrantConsent():
            kinds, objects = {kind.CONSENT_GRANTED}, (transaction_id,)
        case RevokeConsent(consent_id=consent):
            # A code does not say which consent it is for.
            kinds, objects = {kind.CONSENT_REVOKED, kind.REVOCATION_WITHOUT_EFFECT}, (consent,)
        case RequestAccess(subjects=subjects):
            kinds, objects = {kind.ACCESS_PERMITTED, kind.ACCESS_DENIED}, subjects
        case RecordAccess(subject=subject):
            kinds, objects = {kind.ACCESS_COVERED, kind.ACCESS_UNCOVERED}, (subject,)
        case _:
            raise AssertionError("read_body refuses a body without act")
    if len(outcomes) != len(objects):
        raise FormatError(f"{len(objects)} outcomes expected, {len(outcomes)} found")
    scope = body.act.scope if isinstance(body.act, (RequestAccess, RecordAccess)) else None
    question = None if scope is None else question_of(body.sender, scope)
    for leaf, wanted in zip(outcomes, objects):
        if leaf.kind not in kinds:
            raise FormatError(f"one of {', '.join(sorted(k.name for k in kinds))} expected, {leaf.kind.name} found")
        if wanted is not None and leaf.object != wanted:
            raise FormatError(f"the object {wanted.hex()} expected, {leaf.object.hex()} found")
        if leaf.question != question:
            raise FormatError(f"{leaf.kind.name} with another question than the transaction's")
        if (leaf.permit_until != 0) != (leaf.kind == kind.ACCESS_PERMITTED):
            raise FormatError(f"{leaf.kind.name} with a permit until {leaf.permit_until}")
        if leaf.obligations and leaf.kind not in (kind.ACCESS_PERMITTED, kind.ACCESS_COVERED):
            raise FormatError(f"{leaf.kind.name} with obligations")


def check_details(bundle: Bundle, outcomes: tuple[OutcomeLeaf, ...]) -> tuple[Detail, ...]:
    if not bundle.details:
        return ()
    if len(bundle.details) != len(outcomes):
        raise FormatError(f"{len(outcomes)} details or none expected, {len(bundle.details)} found")
    details = []
    for leaf, data in zip(outcomes, bundle.details):
        detail = decode(Detail, data)
        if sha256(data) != leaf.detail_hash:
            raise FormatError(f"a detail with hash {leaf.detail_hash.hex()} expected, {sha256(data).hex()} found")
        if not reason_fits(leaf.kind, detail.reason):
            raise FormatError(f"{leaf.kind.name} for the reason {detail.reason.name}")
        details.append(detail)
    return tuple(details)


def reason_fits(kind: OutcomeKind, reason: Reason) -> bool:
    permitted = reason in (Reason.PERMITTED_BY_PROVISION, Reason.PERMITTED_BY_DEFAULT)
    if kind in (OutcomeKind.ACCESS_PERMITTED, OutcomeKind.ACCESS_COVERED):
        return permitted
    if kind in (OutcomeKind.ACCESS_DENIED, OutcomeKind.ACCESS_UNCOVERED):
        return reason != Reason.NO_DECISION and not permitted
    return reason == Reason.NO_DECISION


def check_batch(bundle: Bundle, manifest: Manifest, chain_id: bytes, entry: Entry) -> BatchHeader:
    with check("header"):
        header = decode(BatchHeader, bundle.header)
    require_equal("header-chain", "chain id of the header", chain_id, header.chain_id)
    check_header_ruleset(header, manifest)
    require_equal("header-key", "key of the header", names.key_id(manifest.sequencer_key), header.key_id)
    require(
        "header-form",
        any(header.previous_hash) == (header.number != 0),
        f"batch {header.number} with the previous hash {header.previous_hash.hex()}",
    )
    require(
        "header-form",
        header.entry_count <= manifest.max_batch_entries,
        f"at most {manifest.max_batch_entries} entries expected, {header.entry_count} found",
    )
    index = entry.sequence - header.first_sequence
    require(
        "sequence-range",
        0 <= index < header.entry_count,
        f"sequence {entry.sequence} in a batch of {header.entry_count} from {header.first_sequence} on",
    )
    require(
        "entry-time",
        manifest.created <= entry.time <= header.time,
        f"a time from {manifest.created} to {header.time} expected, {entry.time} found",
    )
    with check("entry-inclusion"):
        leaf = merkle.leaf_hash(bundle.entry)
        entries_root = merkle.root_from_path(leaf, index, header.entry_count, bundle.entry_path)
    require_equal("entry-inclusion", "entries root", header.entries_root, entries_root)
    check_header_signature(header, manifest, bundle.header_signature)
    return header


def check_history(
    bundle: Bundle, manifest: Manifest, chain_id: bytes, header: BatchHeader, pins: Pins
) -> note.Checkpoint:
    check_batch_record(bundle.batch_record, bundle.header)
    checkpoint = check_checkpoint(bundle.checkpoint, manifest, chain_id, pins)
    check_cosignatures(checkpoint, pins)
    check_inclusion(bundle.batch_record, header.number, bundle.history_path, checkpoint.size, checkpoint.root)
    return checkpoint


def check_anchors(
    bundle: Bundle, manifest: Manifest, chain_id: bytes, header: BatchHeader, checkpoint: note.Checkpoint
) -> tuple[base.Anchor, ...]:
    anchors = check_seals(bundle.anchors, manifest, chain_id)
    before = anchors[-2].size if len(anchors) > 1 else 0
    require(
        "not-first-anchor",
        before <= header.number,
        f"an anchor of size {before} covers batch {header.number} already",
    )
    last = anchors[-1]
    require(
        "anchor-payload",
        (last.size, last.root) == (checkpoint.size, checkpoint.root),
        f"size {checkpoint.size} and root {checkpoint.root.hex()} expected, {last.size} and {last.root.hex()} found",
    )
    return anchors
