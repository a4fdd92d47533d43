"""The checks of receipts, consistency proofs and evidence ("Other files" of docs/formats.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from . import ed25519, execution, merkle
from .checks import (
    CheckError,
    Pins,
    ReadError,
    check,
    check_base,
    check_batch_record,
    check_checkpoint,
    check_cosignatures,
    check_header_signature,
    check_inclusion,
    check_manifest,
    check_seals,
    read_header,
    require,
    require_equal,
)
from .codec import FormatError, decode, sha256
from .findings import Context, Finding, StatementReport, names_of, say_cosigned
from .layouts import (
    AnchorChain,
    Batch,
    BatchContradictsReceipt,
    BatchHeader,
    CheckpointClaim,
    ConsentFile,
    Consistency,
    DecisionFile,
    Entry,
    EntryContradictsReceipt,
    Evidence,
    GroupStatement,
    HeadersContradict,
    HistoryFile,
    HistoryRewritten,
    Receipt,
    ReceiptFile,
    ReceiptsContradict,
    RecordProof,
    RecordsContradict,
    RootClaim,
    RootsContradict,
    SealedWithoutEntry,
    SignedHeader,
    SignedReceipt,
    WrongExecution,
    WrongRecord,
    WrongRoot,
)
from .state import effects_root
from .stateproofs import check_consent_file, check_decision_file, check_history_file
from .statetree import StateTree


@dataclass(frozen=True)
class Root:
    """A size and a root for which the prover vouched."""

    size: int
    hash: bytes


# Parts.


def check_receipt(part: SignedReceipt, context: Context) -> Receipt:
    """That the sequencer signed a receipt, for all of it."""
    with check("receipt"):
        receipt = decode(Receipt, part.receipt)
        statement = decode(GroupStatement, part.group_statement)
    for what, found in (("receipt", receipt.chain_id), ("group", statement.chain_id)):
        require_equal("receipt", f"chain id of the {what}", context.chain_id, found)
    require_equal("receipt", "key of the receipt", context.key_id, receipt.key_id)
    with check("receipt"):
        root = merkle.root_from_path(merkle.leaf_hash(part.receipt), part.index, statement.count, part.path)
    require_equal("receipt", "root of the group", statement.root, root)
    require(
        "receipt",
        ed25519.verify(context.manifest.sequencer_key, sha256(part.group_statement), part.signature),
        "the sequencer's signature on the group does not verify",
    )
    return receipt


def check_header(part: SignedHeader, context: Context) -> BatchHeader:
    header = read_header(part.header, context.manifest, context.chain_id)
    check_header_signature(header, context.manifest, part.signature)
    return header


def check_root(text: str, context: Context) -> Root:
    checkpoint = check_checkpoint(text, context.manifest, context.chain_id, context.pins)
    return Root(checkpoint.size, checkpoint.root)


def check_claim(claim: RootClaim, context: Context) -> Root:
    """The root for which the prover vouched, by a checkpoint or by an anchor."""
    if isinstance(claim, CheckpointClaim):
        return check_root(claim.checkpoint, context)
    assert isinstance(claim, AnchorChain)
    # Anybody can mine an easy block: an anchor convicts under one of the real base chain only.
    if context.pins.base_block is None and context.pins.least_work is None:
        raise CheckError("anchor-not-pinned", "an anchor counts only where a base block or least work is pinned")
    last = check_seals(claim.anchors, context.manifest, context.chain_id)[-1]
    check_base(
        claim.headers, last.transaction.txid, claim.block_index, claim.block_path, context.manifest, context.pins
    )
    return Root(last.size, last.root)


def check_record(proof: RecordProof, number: int, context: Context) -> Root:
    """That the prover vouched for the record of the batch of a number."""
    root = check_claim(proof.claim, context)
    check_inclusion(proof.record, number, proof.path, root.size, root.hash)
    return root


def nothing(message: str) -> NoReturn:
    raise CheckError("no-contradiction", f"all statements are authentic, and do not contradict each other: {message}")


# Receipts and consistency proofs.


def check_receipt_file(content: ReceiptFile, context: Context) -> Finding:
    receipt = check_receipt(content.receipt, context)
    entry = receipt.entry
    return Finding(
        "receipt",
        [
            f"The sequencer promised that transaction {entry.transaction_id.hex()} is number {entry.sequence} of "
            f"ledger {receipt.chain_id.hex()}, at {entry.time} ms since 1970, in batch {receipt.batch_number}, "
            f"sealed by {receipt.deadline} ms since 1970."
        ],
        ["That the promise was kept."],
        ["The sequencer, for everything in the receipt."],
        {
            "transaction_id": entry.transaction_id.hex(),
            "sequence": entry.sequence,
            "batch_number": receipt.batch_number,
            "deadline_ms": receipt.deadline,
        },
    )


def check_consistency_file(content: Consistency, context: Context) -> Finding:
    older, newer = (
        check_checkpoint(text, context.manifest, context.chain_id, context.pins)
        for text in (content.older, content.newer)
    )
    check_cosignatures(newer, context.pins)
    with check("consistency"):
        merkle.check_consistency(older.size, older.root, newer.size, newer.root, content.path)
    return Finding(
        "consistency",
        [
            f"Between the checkpoints over {older.size} and over {newer.size} batches, ledger {context.chain_id.hex()} "
            f"only grew: none of the first {older.size} batches was changed, moved or taken away."
        ],
        ["What the batches contain, or that either checkpoint is anchored."],
        ["The prover, for having executed the batches again before it signed the checkpoints.", *say_cosigned(newer)],
        {"old_size": older.size, "new_size": newer.size, "cosigned_by": names_of(newer)},
    )


# Evidence. Each function returns what happened; it raises a `CheckError` where nothing is contradicted.


def entry_contradicts_receipt(found: EntryContradictsReceipt, context: Context) -> str:
    receipt, header = check_receipt(found.receipt, context), check_header(found.header, context)
    sequence = receipt.entry.sequence
    index = sequence - header.first_sequence
    require("sequence-range", 0 <= index < header.entry_count, f"sequence {sequence} is none of batch {header.number}")
    with check("entry-inclusion"):
        root = merkle.root_from_path(merkle.leaf_hash(found.entry), index, header.entry_count, found.path)
    require_equal("entry-inclusion", "entries root", header.entries_root, root)
    with check("entry"):
        entry = decode(Entry, found.entry)
    if entry == receipt.entry:
        nothing("the entry is the receipt's")
    return f"batch {header.number} has another entry at sequence {sequence} than the receipt"


def receipts_contradict(found: ReceiptsContradict, context: Context) -> str:
    first, second = (check_receipt(part, context) for part in (found.first, found.second))
    if first == second:
        nothing("it is the same receipt twice")
    if first.entry.transaction_id == second.entry.transaction_id:
        return f"transaction {first.entry.transaction_id.hex()} got two receipts"
    if first.entry.sequence == second.entry.sequence:
        return f"sequence {first.entry.sequence} was given to two transactions"
    nothing("the receipts are of two transactions and two sequences")


def headers_contradict(found: HeadersContradict, context: Context) -> str:
    first, second = (check_header(part, context) for part in (found.first, found.second))
    if first == second:
        nothing("it is the same header twice")
    if first.number != second.number:
        nothing(f"the headers are of batches {first.number} and {second.number}")
    return f"the number {first.number} was given to two batches"


def batch_contradicts_receipt(found: BatchContradictsReceipt, context: Context) -> str:
    receipt, header = check_receipt(found.receipt, context), check_header(found.header, context)
    sequence = receipt.entry.sequence
    has_sequence = 0 <= sequence - header.first_sequence < header.entry_count
    if has_sequence == (header.number == receipt.batch_number):
        nothing(f"batch {header.number} says nothing about sequence {sequence} that the receipt does not")
    if has_sequence:
        return f"sequence {sequence} is in batch {header.number}, promised for batch {receipt.batch_number}"
    return f"sequence {sequence} was promised for batch {header.number}, and is not in it"


def sealed_without_entry(found: SealedWithoutEntry, context: Context) -> str:
    receipt, header = check_receipt(found.receipt, context), check_header(found.header, context)
    sequence = receipt.entry.sequence
    if header.time <= receipt.deadline:
        nothing(f"the header's time {header.time} is not after the deadline {receipt.deadline}")
    if header.first_sequence + header.entry_count > sequence:
        nothing(f"sequence {sequence} is not after batch {header.number}")
    return f"at {header.time} ms since 1970 sequence {sequence} was not sealed, promised by {receipt.deadline}"


def wrong_execution(found: WrongExecution, context: Context) -> str:
    last = len(found.batches) - 1
    try:
        ledger = execution.Ledger(context.manifest, context.chain_id)
    except (FormatError, OSError) as error:
        raise ReadError(f"executing batches again needs the ruleset's files: {error}") from error
    fault = None
    for number, data in enumerate(found.batches):
        with check("batches"):
            batch = decode(Batch, data)
            header = execution.hold_together(batch, context.manifest, context.chain_id)
        require("batches", header.number == number, f"batch {number} expected, {header.number} found")
        try:
            ledger.follow(batch)
        except FormatError as error:
            fault = str(error)
            require("earlier-batch", number == last, f"batch {number} does not follow already: {fault}")
    if fault is None:
        raise CheckError("nothing-wrong", "each batch follows from those before it")
    if found.record is not None:
        check_record(found.record, last, context)
        check_batch_record(found.record.record, batch.header)
    return f"the sequencer signed batch {last}, which does not follow from the batches before it: {fault}"


def roots_contradict(found: RootsContradict, context: Context) -> str:
    first, second = (check_claim(claim, context) for claim in (found.first, found.second))
    if first.size != second.size:
        nothing(f"the roots are of sizes {first.size} and {second.size}")
    if first.hash == second.hash:
        nothing("the roots are the same")
    return f"the prover vouched for two roots of the history of {first.size} batches"


def history_rewritten(found: HistoryRewritten, context: Context) -> str:
    older, newer = (check_claim(claim, context) for claim in (found.older, found.newer))
    require("consistency", 0 < older.size < newer.size, f"sizes {older.size} and {newer.size} are not in order")
    with check("consistency"):
        old_root, new_root = merkle.consistent_roots(older.size, newer.size, found.full_path)
    require_equal("consistency", f"root of {newer.size} batches", newer.hash, new_root)
    if old_root == older.hash:
        nothing("the newer history begins with the older one")
    return (
        f"the prover vouched for another history of {older.size} batches than that with which its history of "
        f"{newer.size} begins"
    )


def records_contradict(found: RecordsContradict, context: Context) -> str:
    for proof in (found.first, found.second):
        check_record(proof, found.number, context)
    if found.first.record == found.second.record:
        nothing("the records are the same")
    return f"the prover vouched for two records of batch {found.number}"


def wrong_record(found: WrongRecord, context: Context) -> str:
    check_record(found.proof, found.number, context)
    header = check_header(found.header, context)
    if header.number != found.number:
        nothing(f"the header is of batch {header.number}, the record of batch {found.number}")
    try:
        check_batch_record(found.proof.record, found.header.header)
    except CheckError:
        return f"the prover vouched for another record of batch {found.number} than that of the header that was signed"
    nothing("the record is that of the header")


def wrong_root(found: WrongRoot, context: Context) -> str:
    claim = check_claim(found.claim, context)
    count = len(found.batches)
    require("batches", count == claim.size, f"{claim.size} batches expected, {count} found")
    header: BatchHeader | None = None
    before, tree, history = bytes(32), StateTree(), merkle.Range()
    for number, batch in enumerate(found.batches):
        header = read_header(batch.header, context.manifest, context.chain_id)
        require("batches", header.number == number, f"batch {number} expected, {header.number} found")
        require_equal("batches", f"header before batch {number}", before, header.previous_hash)
        before = sha256(batch.header)
        pairs = [(effect.key_hash, effect.value_hash) for effect in batch.effects]
        require_equal("batches", f"effects root of batch {number}", header.effects_root, effects_root(pairs))
        ascending = all(a < b for (a, _), (b, _) in zip(pairs, pairs[1:]))
        require("batches", ascending, f"effects of batch {number} in ascending order of their keys expected")
        for key_hash, value_hash in pairs:
            tree = tree.put(key_hash, value_hash)
        history = history.append(execution.batch_record(batch.header, tree.root()))
    if header is None:
        nothing("nobody signed a history without batches")
    check_header_signature(header, context.manifest, found.signature)
    if history.root() == claim.hash:
        nothing("the root is that of the headers and effects")
    return f"the prover vouched for another root of {count} batches than that of the headers that were signed"


SEQUENCER, PROVER = "sequencer", "prover"
EVIDENCE: dict[type, tuple[str, Any, str, str]] = {
    EntryContradictsReceipt: (
        "entry-contradicts-receipt",
        entry_contradicts_receipt,
        SEQUENCER,
        "a receipt's entry is sealed at the receipt's sequence",
    ),
    ReceiptsContradict: (
        "receipts-contradict",
        receipts_contradict,
        SEQUENCER,
        "one transaction gets one receipt, and one sequence goes to one transaction",
    ),
    HeadersContradict: ("headers-contradict", headers_contradict, SEQUENCER, "one number is given to one batch"),
    BatchContradictsReceipt: (
        "batch-contradicts-receipt",
        batch_contradicts_receipt,
        SEQUENCER,
        "a receipt's entry is sealed in the receipt's batch",
    ),
    SealedWithoutEntry: (
        "sealed-without-entry",
        sealed_without_entry,
        SEQUENCER,
        "a receipt's entry is sealed by the receipt's deadline",
    ),
    WrongExecution: (
        "wrong-execution",
        wrong_execution,
        SEQUENCER,
        "entries, header and effects follow from the log records by the ledger's rules",
    ),
    RootsContradict: ("roots-contradict", roots_contradict, PROVER, "the history only grows"),
    HistoryRewritten: ("history-rewritten", history_rewritten, PROVER, "the history only grows"),
    RecordsContradict: ("records-contradict", records_contradict, PROVER, "the history only grows"),
    WrongRecord: (
        "wrong-record",
        wrong_record,
        PROVER,
        "a checkpoint follows from the batches that the sequencer signed",
    ),
    WrongRoot: ("wrong-root", wrong_root, PROVER, "a checkpoint follows from the batches that the sequencer signed"),
}


def check_evidence(content: Evidence, context: Context) -> Finding:
    name, find, accused, promise = EVIDENCE[type(content.statements)]
    fault = find(content.statements, context)
    convicted = [accused]
    if isinstance(content.statements, WrongExecution) and content.statements.record is not None:
        convicted.append(PROVER)
    return Finding(
        "evidence",
        [
            f"The {' and the '.join(convicted)} of ledger {context.chain_id.hex()} broke a promise: {promise}.",
            f"{fault[0].upper()}{fault[1:]}.",
        ],
        ["Why it happened, or who held the keys."],
        ["Nobody else: the accused signed every statement in the file."],
        {"evidence": name, "against": convicted, "promise": promise},
    )


Statement = ReceiptFile | Consistency | Evidence | DecisionFile | ConsentFile | HistoryFile


def check_statement(content: Statement, pins: Pins) -> StatementReport:
    """Makes every check of a file of another kind than a bundle, in order, but for the digest."""
    manifest, chain_id = check_manifest(content.manifest, pins)
    context = Context(manifest, chain_id, pins)
    match content:
        case ReceiptFile():
            finding = check_receipt_file(content, context)
        case Consistency():
            finding = check_consistency_file(content, context)
        case Evidence():
            finding = check_evidence(content, context)
        case DecisionFile():
            finding = check_decision_file(content, context)
        case ConsentFile():
            finding = check_consent_file(content, context)
        case HistoryFile():
            finding = check_history_file(content, context)
    return StatementReport(context, finding)
