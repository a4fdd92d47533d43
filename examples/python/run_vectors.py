#!/usr/bin/env python3
"""Recomputes a file of vectors (tests/vectors/ledger.json) from its fields on.

For every transaction: fields -> body -> id -> signature -> entry -> receipt; for every batch: entries and log records ->
header -> batch record -> checkpoint -> anchor payload. Exits with 1 at the first difference, and names it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from google.protobuf import json_format

from assent_formats import ed25519, merkle, names, note
from assent_formats.codec import decode, sha256
from assent_formats.layouts import BatchHeader, Entry, GroupStatement, LogRecord, Manifest, Receipt
from assent_formats.statetree import StateTree

sys.path.append(os.path.join(sys.prefix, "generated"))
from assent.v1 import transaction_pb2  # noqa: E402


class Difference(Exception):
    """What was computed is not what the file says."""


def same(what: str, computed: bytes, written: str) -> None:
    if computed.hex() != written:
        raise Difference(f"{what}: computed {computed.hex()}, the file says {written}")


def signed(what: str, key: bytes, message: bytes, signature: str) -> None:
    if not ed25519.verify(key, message, bytes.fromhex(signature)):
        raise Difference(f"{what} does not verify")


def check_transaction(where: str, vector: dict[str, Any]) -> None:
    fields = json_format.ParseDict(vector["fields"], transaction_pb2.TransactionBody())
    body = fields.SerializeToString(deterministic=True)
    same(f"{where}.body", body, vector["body"])
    transaction_id = names.transaction_id(body)
    same(f"{where}.id", transaction_id, vector["id"])
    entry = decode(Entry, bytes.fromhex(vector["entry"]))
    same(f"{where}.entry: its transaction id", entry.transaction_id, vector["id"])
    same(f"{where}.entry: its authorizations hash", entry.authorizations_hash, vector["authorizations_hash"])
    leaves = [bytes.fromhex(leaf) for leaf in vector["outcome_leaves"]]
    same(f"{where}.entry: its outcome root", merkle.root_of(leaves), entry.outcome_root.hex())
    for leaf, detail in zip(leaves, vector["details"], strict=True):
        same(f"{where}: the detail hash of a leaf", sha256(bytes.fromhex(detail)), leaf[-32:].hex())
    same(f"{where}.entry_leaf_hash", merkle.leaf_hash(bytes.fromhex(vector["entry"])), vector["entry_leaf_hash"])
    receipt = decode(Receipt, bytes.fromhex(vector["receipt"]))
    if receipt.entry != entry:
        raise Difference(f"{where}.receipt is of another entry")


def check(vectors: dict[str, Any]) -> tuple[int, int]:
    manifest_bytes = bytes.fromhex(vectors["manifest"])
    chain_id = sha256(manifest_bytes)
    same("chain_id", chain_id, vectors["chain_id"])
    manifest = decode(Manifest, manifest_bytes)
    entries: list[bytes] = []
    log: list[list[bytes]] = [[]]
    count = 0
    for number, group in enumerate(vectors["groups"]):
        where = f"groups[{number}]"
        transactions = group.get("transactions", [])
        for place, vector in enumerate(transactions):
            check_transaction(f"{where}.transactions[{place}]", vector)
            entries.append(bytes.fromhex(vector["entry"]))
            count += 1
        statement_bytes = bytes.fromhex(group["statement"])
        statement = decode(GroupStatement, statement_bytes)
        receipts = [bytes.fromhex(vector["receipt"]) for vector in transactions]
        same(f"{where}.statement: its root", merkle.root_of(receipts), statement.root.hex())
        same(f"{where}.statement_hash", sha256(statement_bytes), group["statement_hash"])
        signed(f"{where}.statement_signature", manifest.sequencer_key, sha256(statement_bytes), group["statement_signature"])
        record = decode(LogRecord, bytes.fromhex(group["log_record"]))
        log[-1].append(bytes.fromhex(group["log_record"]))
        if record.seals:
            log.append([])
    history: list[bytes] = []
    tree = StateTree()
    for number, batch in enumerate(vectors["batches"]):
        where = f"batches[{number}]"
        header_bytes = bytes.fromhex(batch["header"])
        header = decode(BatchHeader, header_bytes)
        inside = entries[header.first_sequence : header.first_sequence + header.entry_count]
        same(f"{where}.header: its entries root", merkle.root_of(inside), header.entries_root.hex())
        same(f"{where}.header: its log root", merkle.root_of(log[number]), header.log_root.hex())
        effects = [bytes.fromhex(effect["leaf_hash"]) for effect in batch["effects"]]
        same(f"{where}.header: its effects root", merkle.root(effects), header.effects_root.hex())
        same(f"{where}.header_hash", sha256(header_bytes), batch["header_hash"])
        signed(f"{where}.header_signature", manifest.sequencer_key, sha256(header_bytes), batch["header_signature"])
        for effect in batch["effects"]:
            key_hash, value_hash = bytes.fromhex(effect["key_hash"]), bytes.fromhex(effect["value_hash"])
            same(f"{where}: an effect", merkle.leaf_hash(b"\x1b\x01" + key_hash + value_hash), effect["leaf_hash"])
            tree = tree.put(key_hash, value_hash)
        same(f"{where}.state_root", tree.root(), batch["state_root"])
        record = b"\x1c\x01" + sha256(header_bytes) + tree.root() + b"\x01"
        same(f"{where}.record", record, batch["record"])
        history.append(merkle.leaf_hash(record))
        same(f"{where}.record_leaf_hash", history[-1], batch["record_leaf_hash"])
        root = merkle.root(history)
        same(f"{where}.history_root", root, batch["history_root"])
        checkpoint = note.open_checkpoint(bytes.fromhex(batch["checkpoint_note"]).decode(), chain_id, manifest.prover_key)
        if (checkpoint.size, checkpoint.root) != (number + 1, root):
            raise Difference(f"{where}.checkpoint_note is of another history")
        payload = b"ASNT\x01" + chain_id[:4] + (number + 1).to_bytes(8, "big") + root
        same(f"{where}.anchor_payload", payload, batch["anchor_payload"])
    return count, len(history)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    with open(parser.parse_args().file, encoding="utf-8") as file:
        vectors = json.load(file)
    try:
        transactions, batches = check(vectors)
    except Difference as difference:
        print(f"DIFFERENT: {difference}", file=sys.stderr)
        return 1
    print(f"{transactions} transactions in {batches} batches: every value follows from the fields")
    return 0


if __name__ == "__main__":
    sys.exit(main())
