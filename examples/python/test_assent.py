#!/usr/bin/env python3
"""Tests of the verifier, its primitives and the client: python3 -m unittest, in this folder.

They need nothing but Python; those of the client are skipped without the environment of setup.sh.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import struct
import tempfile
import unittest
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import assent_verify
import forge as forging
import forge_evidence
import forge_state
import replay
import run_corpus
from assent_formats import (
    base,
    ed25519,
    execution,
    files,
    layouts,
    merkle,
    names,
    note,
    ruleset,
    state,
    statetree,
    terms,
    transaction,
)
from assent_formats.checks import RULESETS, CheckError, Pins, ReadError
from assent_formats.codec import FormatError, decode, encode, layout_hash, read_all, sha256, structure, tagged_hash
from assent_formats.layouts import (
    BatchHeader,
    BatchRecord,
    Detail,
    Entry,
    GroupStatement,
    Manifest,
    Obligation,
    OutcomeKind,
    OutcomeLeaf,
    Receipt,
    Refusal,
    Verdict,
)
from assent_formats.verify import verify, verify_any
from forge import ASKED, GRANTED, OPENED, RECORDED, REVOKED, REVOKED_BY_CODE, Act, RawTransaction, Shape, forge, message

try:
    import assent_client
except ImportError:
    assent_client = None  # type: ignore[assignment]

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
GOLDEN = os.path.join(ROOT, "crates", "assent-core", "tests", "golden")
RULESET = os.path.join(ROOT, "crates", "assent-core", "ruleset", "v1")
U64_MAX = 2**64 - 1


def read(*parts: str) -> bytes:
    with open(os.path.join(*parts), "rb") as file:
        return file.read()


def lines_of(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines() if line)


def golden(name: str) -> dict[str, str]:
    return lines_of(read(GOLDEN, name).decode())


class Ed25519Tests(unittest.TestCase):
    # RFC 8032, section 7.1: seed, public key, message, signature.
    RFC_8032 = (
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
            "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da0"
            "85ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac1"
            "8ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    )

    def test_rfc_8032(self) -> None:
        for case in self.RFC_8032:
            seed, key, text, signature = map(bytes.fromhex, case)
            self.assertEqual(forging.public_key(seed), key)
            self.assertEqual(forging.sign(seed, text), signature)
            for check in (ed25519.verify, ed25519.verify_zip215):
                self.assertTrue(check(key, text, signature))
                self.assertFalse(check(key, text + b"x", signature))
                self.assertFalse(check(key, text, signature[:-1]))

    @staticmethod
    def torsion() -> list[ed25519.Point]:
        """The eight points of small order."""
        for y in range(2, 100):
            point = ed25519.decompress(y.to_bytes(32, "little"))
            if point is None:
                continue
            generator = ed25519.multiply(ed25519.L, point)
            if not ed25519.is_identity(ed25519.multiply(4, generator)):
                return [ed25519.multiply(n, generator) for n in range(8)]
        raise AssertionError("no point of order 8")

    def small_order_encodings(self) -> set[bytes]:
        found: set[bytes] = set()
        for point in self.torsion():
            canonical = ed25519.compress(point)
            number = int.from_bytes(canonical, "little")
            sign, y = number >> 255, number & 2**255 - 1
            # x is 0 for y of 1 and -1: both signs decode to it.
            signs = (0, 1) if y in (1, ed25519.P - 1) else (sign,)
            for encoded_y in (y, y + ed25519.P):
                if encoded_y < 2**255:
                    found.update((encoded_y | s << 255).to_bytes(32, "little") for s in signs)
        return found

    def test_zip_215_accepts_all_196_cases_of_small_order(self) -> None:
        encodings = self.small_order_encodings()
        self.assertEqual(len(encodings), 14, "8 canonical encodings and 6 others")
        for key in encodings:
            for r in encodings:
                self.assertTrue(ed25519.verify(key, b"Zcash", r + bytes(32)), (key.hex(), r.hex()))

    def test_zip_215_multiplies_by_the_cofactor(self) -> None:
        seed, text = b"\x07" * 32, b"text"
        key = ed25519.decompress(forging.public_key(seed))
        assert key is not None
        for torsion in self.torsion():
            mixed = ed25519.compress(ed25519.add(key, torsion))
            r = ed25519.compress(ed25519.add(ed25519.multiply(5, ed25519.BASE), torsion))
            k = int.from_bytes(hashlib.sha512(r + mixed + text).digest(), "little")
            s = (5 + k * forging.secret_scalar(seed)) % ed25519.L
            self.assertTrue(ed25519.verify(mixed, text, r + s.to_bytes(32, "little")))
            self.assertFalse(ed25519.verify(mixed, text, r + (s ^ 1).to_bytes(32, "little")))

    def test_zip_215_refuses(self) -> None:
        identity, no_point = (1).to_bytes(32, "little"), (2).to_bytes(32, "little")
        self.assertIsNone(ed25519.decompress(no_point))
        self.assertFalse(ed25519.verify(identity, b"", identity + ed25519.L.to_bytes(32, "little")))
        self.assertFalse(ed25519.verify(no_point, b"", identity + bytes(32)))
        self.assertFalse(ed25519.verify(identity, b"", no_point + bytes(32)))


class MerkleTests(unittest.TestCase):
    # The tree of certificate-transparency's and transparency-dev/merkle's tests.
    LEAVES = [
        bytes.fromhex(leaf)
        for leaf in (
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        )
    ]
    ROOTS = (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )

    def test_published_roots(self) -> None:
        for size, root in enumerate(self.ROOTS):
            self.assertEqual(merkle.root_of(self.LEAVES[:size]).hex(), root)

    def test_paths(self) -> None:
        for size in range(1, 20):
            hashes = [merkle.leaf_hash(bytes([n])) for n in range(size)]
            root = merkle.root(hashes)
            for index in range(size):
                path = merkle.inclusion_path(hashes, index)
                self.assertEqual(merkle.root_from_path(hashes[index], index, size, path), root)
                with self.assertRaises(FormatError):
                    merkle.root_from_path(hashes[index], index, size, [*path, bytes(32)])
                if path:
                    with self.assertRaises(FormatError):
                        merkle.root_from_path(hashes[index], index, size, path[:-1])
                    other = [path[0][::-1], *path[1:]]
                    self.assertNotEqual(merkle.root_from_path(hashes[index], index, size, other), root)
        with self.assertRaises(FormatError):
            merkle.root_from_path(bytes(32), 3, 3, [])

    def test_consistency(self) -> None:
        for new in range(1, 20):
            hashes = [merkle.leaf_hash(bytes([n])) for n in range(new)]
            new_root = merkle.root(hashes)
            for old in range(new + 1):
                old_root, path = merkle.root(hashes[:old]), merkle.consistency_path(hashes, old)
                merkle.check_consistency(old, old_root, new, new_root, path)
                wrong = [(bytes(32), new_root, path), (old_root, new_root, [*path, bytes(32)])]
                if path:
                    wrong += [(old_root, bytes(32), path), (old_root, new_root, path[:-1])]
                for one, other, steps in wrong:
                    with self.assertRaises(FormatError):
                        merkle.check_consistency(old, one, new, other, steps)
                if 0 < old < new:
                    found = merkle.consistent_roots(old, new, merkle.full_path(hashes, old))
                    self.assertEqual(found, (old_root, new_root))
        with self.assertRaises(FormatError):
            merkle.check_consistency(2, bytes(32), 1, bytes(32), [])

    def test_range_proofs(self) -> None:
        for size in range(1, 14):
            hashes = [merkle.leaf_hash(bytes([n])) for n in range(size)]
            root = merkle.root(hashes)
            for start in range(size):
                for end in range(start + 1, size + 1):
                    path = merkle.range_proof(hashes, start, end)
                    self.assertEqual(merkle.root_from_range(hashes[start:end], start, size, path), root)
                    wrong = [[*path, bytes(32)], path[:-1]] if path else [[bytes(32)]]
                    for steps in wrong:
                        with self.assertRaises(FormatError):
                            merkle.root_from_range(hashes[start:end], start, size, steps)
        for start, end in ((0, 0), (3, 3), (0, 4), (3, 4), (U64_MAX, U64_MAX + 1)):
            with self.assertRaises(FormatError):
                merkle.root_from_range([bytes(32)] * (end - start), start, 3, [])
        # As large as a size can be.
        path = [bytes(32)] * 64
        merkle.root_from_range([bytes(32)], 2**63, U64_MAX, path)

    def test_ranges(self) -> None:
        found = merkle.Range()
        for size in range(20):
            self.assertEqual((found.size, len(found.peaks)), (size, size.bit_count()))
            self.assertEqual(found.root(), merkle.root_of([bytes([n]) for n in range(size)]))
            found = found.append(bytes([size]))


class StateTreeTests(unittest.TestCase):
    """Against the rules of the text, applied to all keys at once."""

    def root(self, pairs: dict[bytes, bytes], depth: int = 0) -> bytes | None:
        if not pairs:
            return None
        if len(pairs) == 1 and depth >= 48:
            ((key, value),) = pairs.items()
            return sha256(b"\2", key, value)
        sides: tuple[dict[bytes, bytes], ...] = ({}, {})
        for key, value in pairs.items():
            sides[int.from_bytes(key, "big") >> 255 - depth & 1][key] = value
        left, right = (self.root(side, depth + 1) for side in sides)
        if left is None or right is None:
            return sha256(b"\4", bytes([left is None]), left or right or b"")
        return sha256(b"\3", left, right)

    @staticmethod
    def keys() -> list[bytes]:
        """Some that part at once, some that share many bits."""
        found = [sha256(bytes([n])) for n in range(12)]
        for bits in (1, 7, 8, 46, 47, 48, 49, 100, 254, 255):
            number = int.from_bytes(found[0], "big") ^ 1 << 255 - bits
            found.append(number.to_bytes(32, "big"))
        return found

    def test_roots_and_ways(self) -> None:
        tree = statetree.StateTree()
        pairs: dict[bytes, bytes] = {}
        self.assertEqual(tree.root(), bytes(32))
        keys = self.keys()
        self.prove(tree, pairs, keys)
        for number, key in enumerate(keys[::-1] + keys[::3]):
            value = sha256(b"value", bytes([number]))
            before, tree = tree, tree.put(key, value)
            self.assertNotEqual(before.root(), tree.root())
            pairs[key] = value
            self.assertEqual(tree.root(), self.root(pairs))
            self.prove(tree, pairs, keys)

    def prove(self, tree: statetree.StateTree, pairs: dict[bytes, bytes], keys: list[bytes]) -> None:
        for key in keys:
            siblings, leaf = tree.way(key)
            present = layouts.Present(bytes(32), b"")
            terminal: layouts.Terminal = layouts.NothingThere()
            if key in pairs:
                terminal = present
            elif leaf is not None:
                terminal = layouts.AnotherKey(leaf.key_hash, leaf.value_hash)

            def root(given: layouts.Terminal, way: Any = siblings, value: bytes = pairs.get(key, b"")) -> bytes | None:
                try:
                    return statetree.root_from_way(key, way, given, value)
                except FormatError:
                    return None

            self.assertEqual(root(terminal), tree.root())
            if terminal != present:
                self.assertNotEqual(root(present, value=bytes(32)), tree.root())
            else:
                self.assertNotEqual(root(layouts.NothingThere()), tree.root())
                # The key itself does not show that it is absent.
                self.assertIsNone(root(layouts.AnotherKey(key, pairs[key])))
            self.assertNotEqual(root(terminal, (*siblings, None)), tree.root())
            if siblings:
                self.assertNotEqual(root(terminal, siblings[:-1]), tree.root())

    def test_opened_records_have_one_encoding(self) -> None:
        codec = structure(layouts.OpenedRecord)
        for siblings in ((), (None,), (bytes(32),), (None, bytes(32)) * 7, (bytes(32),) * 256):
            record = layouts.OpenedRecord(bytes(33), siblings, layouts.NothingThere())
            data = codec.write(record)
            self.assertEqual(read_all(codec, data), record)
            for wrong in (data + b"\0", data[:-1], data[:-1] + b"\0", data[:-1] + b"\4"):
                with self.assertRaises(FormatError):
                    read_all(codec, wrong)
        with self.assertRaises(FormatError):
            read_all(codec, bytes(33) + b"\0\1" + b"\x40" + b"\2")  # a bit beyond the depth
        with self.assertRaises(FormatError):
            read_all(codec, bytes(33) + b"\1\1" + bytes(33) + b"\2")


class Bech32mTests(unittest.TestCase):
    # BIP 350, "Test vectors".
    VALID = (
        "A1LQFN3A",
        "a1lqfn3a",
        "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
        "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
        "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
        "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
        "?1v759aa",
    )
    INVALID = (
        "\x201xj0phk",
        "\x7f1g6xzxy",
        "\x801vctc34",
        "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
        "qyrz8wqd2c9m",
        "1qyrz8wqd2c9m",
        "y1b0jsk6g",
        "lt1igcx5c0",
        "in1muywd",
        "mm1crxm3i",
        "au1s5cgom",
        "M1VUXWEZ",
        "16plkw9",
        "1p2gdwpf",
    )

    def test_bip_350(self) -> None:
        for text in self.VALID:
            prefix, _ = names.bech32m_values(text)
            self.assertEqual(prefix, text.lower().rpartition("1")[0])
        for text in self.INVALID:
            with self.assertRaises(FormatError, msg=text):
                names.bech32m_values(text)

    def test_names(self) -> None:
        account = sha256(b"an account")
        did = names.write_did(account)
        self.assertEqual(names.read_did(did), account)
        code = names.write_revocation_code(account)
        self.assertEqual(names.read_revocation_code(code), account)
        upper = names.DID_PREFIX + did.removeprefix(names.DID_PREFIX).upper()
        longer = names.DID_PREFIX + names.bech32m_encode("acct", account + b"x")
        for wrong in (did[:-1] + ("q" if did[-1] != "q" else "p"), upper, longer, did[1:], names.DID_PREFIX + code):
            with self.assertRaises(FormatError, msg=wrong):
                names.read_did(wrong)


class WorkedExample(unittest.TestCase):
    """The example at the end of docs/formats.md, every line made anew from its fields."""

    def setUp(self) -> None:
        text = read(ROOT, "docs", "formats.md").decode()
        block = re.search(r"## Worked example.*?```text\n(.*?)```", text, re.DOTALL)
        assert block is not None
        self.lines = lines_of(block[1])
        self.seen: set[str] = set()

    def bytes_of(self, name: str) -> bytes:
        return bytes.fromhex(self.lines[name])

    def same(self, name: str, made: bytes | str) -> None:
        self.seen.add(name)
        self.assertEqual(made.hex() if isinstance(made, bytes) else made, self.lines[name], name)

    def test_every_line(self) -> None:
        patient, sequencer, prover = (bytes([byte]) * 32 for byte in (0x11, 0x51, 0x52))
        self.same("ruleset_hash", ruleset_hash())
        manifest = Manifest(
            nonce=b"\x01" * 32,
            created=1_700_000_000_000,
            sequencer_key=forging.public_key(sequencer),
            prover_key=forging.public_key(prover),
            base_network="regtest",
            base_genesis_hash=base.NETWORKS["regtest"].genesis_hash,
            first_anchor_txid=b"\x02" * 32,
            first_anchor_vout=1,
            ruleset=1,
            ruleset_hash=ruleset_hash(),
            max_validity_ms=604_800_000,
            permit_validity_ms=86_400_000,
            max_time_step_ms=3_600_000,
            max_seal_delay_ms=3_600_000,
            max_batch_entries=10_000,
            max_batch_bytes=8_388_608,
        )
        self.same("manifest", encode(manifest))
        chain_id = layout_hash(manifest)
        self.same("chain_id", chain_id)

        key = forging.public_key(patient)
        account = names.account_id(key)
        self.same("sender", names.write_did(account))
        expires = transaction.decode(transaction.TransactionBody, self.bytes_of("body")).expires_at_ms
        body = message((1, chain_id), (2, account), (3, b"\x01" * 16), (4, expires), (16, message((1, 1))))
        self.same("body", body)
        transaction_id = names.transaction_id(body)
        self.same("id", transaction_id)
        self.same("signature", forging.sign(patient, transaction_id))
        authorization = layouts.Authorization(1, key, forging.sign(patient, transaction_id))
        self.same("authorizations_hash", layouts.authorizations_hash((authorization,)))
        parsed = transaction.read_body(body, chain_id)
        self.assertEqual(transaction.check_sender(parsed, (authorization,)), authorization)

        salt = tagged_hash(0x2B, b"\xa0" * 32, b"\x02", transaction_id, b"\0\0")
        detail = Detail(salt, 0, layouts.Reason.NO_DECISION, 1, None, ())
        self.same("detail0", encode(detail))
        leaf = OutcomeLeaf(OutcomeKind.ACCOUNT_OPENED, account, None, 0, (), layout_hash(detail))
        self.same("outcome_leaf0", encode(leaf))
        entry = Entry(
            0,
            manifest.created,
            transaction_id,
            layouts.authorizations_hash((authorization,)),
            merkle.root_of([encode(leaf)]),
        )
        self.same("entry", encode(entry))
        self.same("entry_leaf_hash", merkle.leaf_hash(encode(entry)))

        key_id = names.key_id(manifest.sequencer_key)
        receipt = Receipt(chain_id, key_id, 1, 0, entry.time + manifest.max_seal_delay_ms, entry)
        self.same("receipt", encode(receipt))
        # The roots stand for the group's and the batch's other transactions too; GoldenLedger makes them.
        statement = GroupStatement(chain_id, 0, 3, decode(GroupStatement, self.bytes_of("group0.statement")).root)
        self.same("group0.statement", encode(statement))
        self.same("group0.statement_hash", layout_hash(statement))
        self.same("group0.statement_signature", forging.sign(sequencer, layout_hash(statement)))
        given = decode(BatchHeader, self.bytes_of("header"))
        header = BatchHeader(
            chain_id=chain_id,
            epoch=1,
            ruleset=1,
            number=0,
            first_sequence=0,
            entry_count=5,
            entries_root=given.entries_root,
            effects_root=given.effects_root,
            log_root=given.log_root,
            previous_hash=bytes(32),
            time=given.time,
            base_height=101,
            base_hash=b"\xb1" * 32,
            key_id=key_id,
        )
        self.same("header", encode(header))
        self.same("header_hash", layout_hash(header))
        self.same("header_signature", forging.sign(sequencer, layout_hash(header)))
        # The root of the state, too, is of all that the batch wrote.
        state_root = self.bytes_of("state_root")
        self.same("state_root", state_root)
        record = BatchRecord(layout_hash(header), state_root, layouts.STATE_TREE)
        self.same("record", encode(record))
        root = merkle.leaf_hash(encode(record))
        self.same("record_leaf_hash", root)
        self.same("history_root", root)
        checkpoint = note.Checkpoint(chain_id, 1, root)
        line = note.signature_line(
            checkpoint.origin, manifest.prover_key, forging.sign(prover, checkpoint.text.encode())
        )
        self.same("checkpoint_note", f"{checkpoint.text}\n{line}".encode())
        self.assertEqual(note.open_checkpoint(f"{checkpoint.text}\n{line}", chain_id, manifest.prover_key), checkpoint)
        self.same("anchor_payload", base.anchor_payload(chain_id, 1, root))
        self.assertEqual(self.seen, set(self.lines))


def ruleset_hash() -> bytes:
    """Layout 0x1e over the files of the ruleset; a file's first line names its code system."""
    parts = b""
    for name in ("purpose-of-use.tsv", "sensitivity.tsv", "confidentiality.tsv"):
        data = read(RULESET, name)
        system = data.splitlines()[0].removeprefix(b"# ")
        parts += bytes([len(system)]) + system + sha256(data)
    return tagged_hash(0x1E, struct.pack(">IH", 1, 3), parts)


class GoldenLedger(unittest.TestCase):
    """The trees and hashes of the golden files, which are made by the other implementation."""

    def test_ruleset(self) -> None:
        self.assertEqual(RULESETS, {1: ruleset_hash()})

    def test_groups_and_batches(self) -> None:
        lines = golden("ledger.txt")
        manifest = decode(Manifest, bytes.fromhex(golden("ids.txt")["manifest"]))
        chain_id = layout_hash(manifest)
        history: list[bytes] = []
        entries: list[bytes] = []
        records: list[bytes] = []
        group = batch = 0
        for name in lines:
            if name == f"group{group}.log_record":
                entries += self.check_group(lines, group, manifest, chain_id)
                records.append(bytes.fromhex(lines[name]))
                group += 1
            elif name == f"batch{batch}.anchor_payload":
                history.append(self.check_batch(lines, batch, entries, records, manifest, chain_id, history))
                entries, records = [], []
                batch += 1
        self.assertEqual((group, batch), (3, 2))

    def numbered(self, lines: dict[str, str], prefix: str) -> list[bytes]:
        found: list[bytes] = []
        while f"{prefix}{len(found)}" in lines:
            found.append(bytes.fromhex(lines[f"{prefix}{len(found)}"]))
        return found

    def check_group(self, lines: dict[str, str], group: int, manifest: Manifest, chain_id: bytes) -> list[bytes]:
        receipts: list[bytes] = []
        entries: list[bytes] = []
        seed = bytes([0xA0 + group]) * 32
        while f"group{group}.transaction{len(receipts)}.body" in lines:
            prefix = f"group{group}.transaction{len(receipts)}"
            body = bytes.fromhex(lines[f"{prefix}.body"])
            parsed = transaction.read_body(body, chain_id)
            entry = decode(Entry, bytes.fromhex(lines[f"{prefix}.entry"]))
            self.assertEqual(entry.transaction_id, names.transaction_id(body))
            leaves = self.numbered(lines, f"{prefix}.outcome_leaf")
            self.assertEqual(entry.outcome_root, merkle.root_of(leaves))
            for index, data in enumerate(self.numbered(lines, f"{prefix}.detail")):
                detail, leaf = decode(Detail, data), decode(OutcomeLeaf, leaves[index])
                self.assertEqual(encode(detail), data)
                self.assertEqual(encode(leaf), leaves[index])
                self.assertEqual(leaf.detail_hash, sha256(data))
                salt = tagged_hash(0x2B, seed, b"\x02", entry.transaction_id, struct.pack(">H", index))
                self.assertEqual(detail.salt, salt)
            if not parsed.is_revocation_by_code:
                signature = bytes.fromhex(lines[f"{prefix}.signature"])
                seeds = [bytes([n]) * 32 for n in range(0x11, 0x20)]
                key = next(k for k in map(forging.public_key, seeds) if names.account_id(k) == parsed.sender)
                self.assertTrue(ed25519.verify(key, entry.transaction_id, signature))
                authorizations = (layouts.Authorization(1, key, signature),)
                self.assertEqual(entry.authorizations_hash, layouts.authorizations_hash(authorizations))
            else:
                self.assertEqual(entry.authorizations_hash, layouts.authorizations_hash(()))
            receipt = decode(Receipt, bytes.fromhex(lines[f"{prefix}.receipt"]))
            self.assertEqual(receipt.entry, entry)
            receipts.append(encode(receipt))
            entries.append(encode(entry))
        statement = decode(GroupStatement, bytes.fromhex(lines[f"group{group}.statement"]))
        self.assertEqual(statement, GroupStatement(chain_id, group, len(receipts), merkle.root_of(receipts)))
        signature = bytes.fromhex(lines[f"group{group}.statement_signature"])
        self.assertTrue(ed25519.verify(manifest.sequencer_key, layout_hash(statement), signature))
        return entries

    def check_batch(
        self,
        lines: dict[str, str],
        batch: int,
        entries: list[bytes],
        records: list[bytes],
        manifest: Manifest,
        chain_id: bytes,
        history: list[bytes],
    ) -> bytes:
        effects: list[bytes] = []
        while f"batch{batch}.effect{len(effects)}.key_hash" in lines:
            prefix = f"batch{batch}.effect{len(effects)}"
            key_hash, value_hash = (bytes.fromhex(lines[f"{prefix}.{name}"]) for name in ("key_hash", "value_hash"))
            effects.append(b"\x1b\x01" + key_hash + value_hash)
        self.assertEqual(effects, sorted(effects))
        values = {}
        number = 0
        while f"batch{batch}.state{number}.key" in lines:
            key, salt, record = (
                bytes.fromhex(lines[f"batch{batch}.state{number}.{name}"]) for name in ("key", "salt", "record")
            )
            values[tagged_hash(0x1F, key)] = tagged_hash(0x20, salt, record)
            number += 1
        self.assertEqual(effects, [b"\x1b\x01" + key + value for key, value in sorted(values.items())])
        header = decode(BatchHeader, bytes.fromhex(lines[f"batch{batch}.header"]))
        self.assertEqual(header.entries_root, merkle.root_of(entries))
        self.assertEqual(header.effects_root, merkle.root_of(effects))
        self.assertEqual(header.log_root, merkle.root_of(records))
        self.assertEqual(header.entry_count, len(entries))
        signature = bytes.fromhex(lines[f"batch{batch}.header_signature"])
        self.assertTrue(ed25519.verify(manifest.sequencer_key, layout_hash(header), signature))
        record = bytes.fromhex(lines[f"batch{batch}.record"])
        self.assertEqual(decode(BatchRecord, record).header_hash, layout_hash(header))
        root = merkle.root_of([*history, record])
        self.assertEqual(lines[f"batch{batch}.history_root"], root.hex())
        signed_note = bytes.fromhex(lines[f"batch{batch}.checkpoint_note"]).decode()
        checkpoint = note.open_checkpoint(signed_note, chain_id, manifest.prover_key)
        self.assertEqual((checkpoint.size, checkpoint.root), (batch + 1, root))
        payload = base.anchor_payload(chain_id, batch + 1, root)
        self.assertEqual(lines[f"batch{batch}.anchor_payload"], payload.hex())
        return record

    def test_outcomes_and_refusals(self) -> None:
        for name, value in golden("outcomes.txt").items():
            kind, _, which = name.partition(".")
            if kind in ("outcome_leaf", "detail"):
                cls: Any = OutcomeLeaf if kind == "outcome_leaf" else Detail
                found = decode(cls, bytes.fromhex(value))
                self.assertEqual(encode(found).hex(), value)
                # Of a leaf it is the hash that it has in the outcome tree.
                found_hash = layout_hash(found) if kind == "detail" else merkle.leaf_hash(encode(found))
                self.assertEqual(found_hash.hex(), golden("outcomes.txt")[f"{kind}_hash.{which}"])
        lines = golden("refusals.txt")
        for reason in layouts.RefusalReason:
            refusal = decode(Refusal, bytes.fromhex(lines[f"refusal.{reason.name}"]))
            self.assertEqual(refusal.reason, reason)
            self.assertEqual(layout_hash(refusal).hex(), lines[f"refusal_hash.{reason.name}"])

    def test_records(self) -> None:
        lines = golden("records.txt")
        kinds = {
            "consent_in_force": state.Kind.CONSENT,
            "consent_revoked": state.Kind.CONSENT,
            "account": state.Kind.ACCOUNT,
            "subject_consents": state.Kind.SUBJECT_CONSENTS,
            "subject_accesses": state.Kind.SUBJECT_ACCESSES,
            "actor": state.Kind.ACTOR,
            "revocation_code": state.Kind.REVOCATION_CODE,
        }
        for name, kind in kinds.items():
            data = bytes.fromhex(lines[f"record.{name}"])
            self.assertEqual(encode(decode(state.RECORDS[kind], data)), data, name)
            for wrong in (data + b"\0", data[:-1]):
                with self.assertRaises(FormatError, msg=name):
                    decode(state.RECORDS[kind], wrong)
        encoded = bytes.fromhex(golden("outcomes.txt")["terms"])
        self.assertEqual(terms.encode_terms(terms.read_terms(encoded)), encoded)

    def test_ids(self) -> None:
        lines = golden("ids.txt")
        key = bytes.fromhex(lines["public_key"])
        self.assertEqual(lines["account_id"], names.account_id(key).hex())
        self.assertEqual(lines["account_did"], names.write_did(names.account_id(key)))
        self.assertEqual(lines["key_id"], names.key_id(key).hex())
        self.assertEqual(lines["transaction_id_of_empty_body"], names.transaction_id(b"").hex())

    def test_executing_again(self) -> None:
        """Entries, leaves, details, state and headers, from nothing but the manifest and the log records."""
        lines = golden("ledger.txt")
        manifest = bytes.fromhex(golden("ids.txt")["manifest"])
        ledger = execution.Ledger(decode(Manifest, manifest), sha256(manifest))
        while f"group{ledger.position}.log_record" in lines:
            group, batch = ledger.position, len(ledger.headers)
            for index, done in enumerate(ledger.execute_record(bytes.fromhex(lines[f"group{group}.log_record"]))):
                prefix = f"group{group}.transaction{index}"
                self.assertEqual(encode(done.entry).hex(), lines[f"{prefix}.entry"])
                self.assertEqual(list(done.leaves), self.numbered(lines, f"{prefix}.outcome_leaf"))
                self.assertEqual(list(done.details), self.numbered(lines, f"{prefix}.detail"))
            assert ledger.last is not None
            if not ledger.last.seals:
                continue
            for number, (key, (salt, record)) in enumerate(sorted(ledger.state.written.items())):
                found = [lines.pop(f"batch{batch}.state{number}.{name}") for name in ("key", "salt", "record")]
                self.assertEqual([key.hex(), salt.hex(), record.hex()], found)
            self.assertNotIn(f"batch{batch}.state{len(ledger.state.written)}.key", lines)
            self.assertEqual(ledger.seal().hex(), lines[f"batch{batch}.header"])
            self.assertEqual(ledger.history[batch].hex(), lines[f"batch{batch}.record"])
        self.assertEqual((ledger.position, len(ledger.headers)), (3, 2))

    def test_the_ruleset_is_the_known_one(self) -> None:
        self.assertEqual(ruleset_hash(), ruleset.HASH)
        rules = ruleset.load()
        self.assertTrue(rules.purposes.subsumes("PurposeOfUse", "ETREAT"))
        self.assertTrue(rules.purposes.subsumes("TREAT", "ETREAT"))
        self.assertFalse(rules.purposes.subsumes("ETREAT", "TREAT"))
        self.assertFalse(rules.subsumes("urn:other", "TREAT", "ETREAT"))
        self.assertTrue(rules.knows_label("urn:other", "anything"))
        self.assertFalse(rules.knows_label(rules.sensitivity.system, "anything"))
        with tempfile.TemporaryDirectory() as folder:
            for name in ruleset.FILES:
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(read(RULESET, name) + b"NEW\n")
            with self.assertRaises(FormatError):
                ruleset.load(folder)


class BaseChainTests(unittest.TestCase):
    # Version, Merkle root, time, bits and nonce of the first blocks.
    COINBASE = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    FIRST_BLOCKS = {
        "main": (COINBASE, 1231006505, 0x1D00FFFF, 2083236893),
        "test": (COINBASE, 1296688602, 0x1D00FFFF, 414098458),
        "testnet4": (
            "7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e",
            1714777860,
            0x1D00FFFF,
            393743547,
        ),
        "signet": (COINBASE, 1598918400, 0x1E0377AE, 52613770),
        "regtest": (COINBASE, 1296688602, 0x207FFFFF, 2),
    }

    def test_networks_begin_with_their_first_blocks(self) -> None:
        self.assertEqual(set(base.NETWORKS), set(self.FIRST_BLOCKS))
        for name, (root, time, bits, nonce) in self.FIRST_BLOCKS.items():
            data = struct.pack("<I32s32sIII", 1, bytes(32), base.from_shown(root), time, bits, nonce)
            header = base.read_header(data)
            self.assertEqual(header.hash, base.NETWORKS[name].genesis_hash)
            base.check_headers([header], base.NETWORKS[name])

    def test_targets(self) -> None:
        for bits, expected in (
            (0x1D00FFFF, 0xFFFF << 208),
            (0x207FFFFF, 0x7FFFFF << 232),
            (0x03123456, 0x123456),
            (0x02123456, 0x1234),
            (0x00123456, 0),
            (0x04923456, 0),  # negative
            (0xFF123456, 0),  # above 256 bits
            (0x21010000, 0),
        ):
            self.assertEqual(base.target(bits), expected, f"{bits:08x}")

    def test_transactions_have_one_encoding(self) -> None:
        data = RawTransaction((base.OutPoint(bytes(32), 0),), ((1, b"x"), (2, b""))).encode()
        self.assertEqual(base.read_transaction(data).scripts, (b"x", b""))
        witness = data[:4] + b"\0\1" + data[4:-4] + b"\1\1x" + data[-4:]
        for wrong in (data + b"\0", data[:-1], data[:4] + b"\xfd\1\0" + data[5:], witness, b""):
            with self.assertRaises(FormatError):
                base.read_transaction(wrong)

    def test_a_pair_of_hashes_that_is_a_transaction(self) -> None:
        # 64 bytes: one input with a script of 4 bytes, one output without script.
        pair = bytes([1, 0, 0, 0, 1]) + b"\7" * 36 + b"\4abcd" + bytes(4) + b"\1" + bytes(8) + b"\0" + bytes(4)
        self.assertEqual(len(pair), 64)
        self.assertTrue(base.is_transaction(pair))
        with self.assertRaises(FormatError):
            base.root_from_block_path(pair[:32], 0, [pair[32:]])
        with self.assertRaises(FormatError):
            base.root_from_block_path(pair[32:], 1, [pair[:32]])
        self.assertEqual(base.root_from_block_path(pair[:32], 1, [pair[32:]]), base.double_sha256(pair[32:], pair[:32]))


def code(text: str) -> bytes:
    return message((1, "s"), (2, text))


def provisions(levels: int) -> bytes:
    inner = message((1, 1))
    for _ in range(levels - 1):
        inner = message((1, 1), (9, inner))
    return inner


class TransactionTests(unittest.TestCase):
    CHAIN = b"\x05" * 32
    START = ((1, CHAIN), (2, b"\x06" * 32), (3, b"\x07" * 16), (4, 9))

    def read(self, *fields: tuple[int, Any]) -> transaction.TransactionBody:
        return transaction.read_body(message(*fields), self.CHAIN)

    def refused(self, *fields: tuple[int, Any]) -> None:
        with self.assertRaises(FormatError, msg=str(fields)):
            self.read(*fields)

    def test_canonical_form(self) -> None:
        act = (16, message((1, 1)))
        self.assertEqual(self.read(*self.START, act).act, transaction.OpenAccount(1))
        start = self.START
        self.refused(start[1], start[0], *start[2:], act)
        self.refused(*start, (4, 9), act)
        self.refused(*start, act, act)
        self.refused(*start, act, (17, message((1, message((1, 1))))))
        self.refused(*start, (5, 1), act)
        self.refused(*start, act, (21, b""))
        self.refused(*start[:3], (4, 0), act)
        self.refused(*start[:3], (4, b"x"), act)
        self.refused(*start)
        self.refused(*start, (16, b""))
        self.refused(*start, (16, message((1, 6))))
        self.refused((1, bytes(32)), *start[1:], act)
        for salt in (b"", b"x" * 15, b"x" * 33):
            self.refused(*start[:2], (3, salt), start[3], act)
        body = message(*start, act)
        for wrong in (body + b"\0", body[:-1], b"\x0a\xa0\x00" + body[2:], body + bytes(1 << 16)):
            with self.assertRaises(FormatError):
                transaction.read_body(wrong, self.CHAIN)

    def test_terms(self) -> None:
        def terms(*fields: tuple[int, Any]) -> tuple[int, bytes]:
            return 17, message((1, message(*fields)))

        def provision(*fields: tuple[int, Any]) -> tuple[int, bytes]:
            return terms((3, message((1, 1), *fields)))

        actor = message((1, 1), (2, b"\1" * 32))
        for good in (
            terms((1, 2)),
            terms((3, provisions(4))),
            terms(*[(3, message((1, 1)))] * 64),
            provision((5, bytes([1, 2, 3, 4, 5]))),
            provision((3, actor), (3, message((1, 2), (2, b"\1" * 32)))),
            provision(*[(6, code(str(n))) for n in range(8)]),
            provision((2, message((1, 5))), (8, message((2, 5)))),
            provision((4, "x" * 64)),
        ):
            self.assertIsInstance(self.read(*self.START, good).act, transaction.GrantConsent)
        for bad in (
            terms(),
            terms((1, 3)),
            terms((3, b"")),
            terms((3, provisions(5))),
            terms((3, provisions(5_000))),
            terms(*[(3, message((1, 1)))] * 65),
            terms((1, 1), (2, b"")),
            terms((1, 1), (2, message((1, 6), (2, 6)))),
            terms((1, 1), (2, message((2, U64_MAX)))),
            terms((1, 1), (2, message((1, U64_MAX)))),
            provision((3, actor), (3, actor)),
            provision((3, message((2, b"\1" * 32)))),
            provision((3, message((1, 1), (2, b"\1" * 31)))),
            provision((4, "x" * 65)),
            provision((4, "")),
            provision((4, "a b")),
            provision((4, "a\u2003b")),
            provision((4, b"\xff")),
            provision((5, 1)),  # not packed
            provision((5, b"")),
            provision((5, b"\1\1")),
            provision((5, b"\6")),
            provision(*[(6, code(str(n))) for n in range(9)]),
            provision((6, message((1, "s")))),
            provision((7, message((1, "s" * 129), (2, "c")))),
        ):
            self.refused(*self.START, bad)

    def test_accesses_and_revocations(self) -> None:
        subject, other = (1, b"\1" * 32), (1, b"\2" * 32)
        scope = (2, forging.scope())
        for good in (
            (19, message(subject, other, scope)),
            (18, message(subject)),
            (20, message(subject, (2, b"\2" * 32), (3, scope[1]))),
        ):
            self.read(*self.START, good)
        for bad in (
            (18, b""),
            (18, message((1, b""))),
            (18, message((1, b"\1" * 32), (2, b"\1" * 32))),
            (18, message((2, b"\1" * 32))),  # by code, with a sender
            (19, message(scope)),
            (19, message(subject, subject, scope)),
            (19, message(subject)),
            (19, message(*[(1, bytes([n]) * 32) for n in range(33)], scope)),
            (19, message(subject, (2, forging.scope(b"\3" * 31)))),
            (19, message(subject, (2, forging.scope(b"\3" * 32, "TREAT", (7, b"x"))))),
            (20, message(subject, (3, scope[1]))),
        ):
            self.refused(*self.START, bad)
        by_code = (18, message((2, b"\1" * 32)))
        self.assertTrue(self.read(self.START[0], *self.START[2:], by_code).is_revocation_by_code)
        self.refused(self.START[0], *self.START[2:], (18, message(subject)))


def with_line(line: str) -> Callable[[str], str]:
    return lambda signed: signed + line


OTHER_LINE = f"— other {base64.b64encode(b'key and signature').decode()}\n"


class BundleTests(unittest.TestCase):
    """Each check is made to fail on its own, in a bundle in which all else is sound."""

    def passes(self, file: bytes, pins: Pins = Pins()) -> None:
        verify(file, pins)

    def fails(self, name: str, file: bytes, pins: Pins = Pins()) -> None:
        with self.assertRaises(CheckError) as caught:
            verify(file, pins)
        self.assertEqual(caught.exception.name, name, str(caught.exception))

    def unreadable(self, file: bytes) -> None:
        with self.assertRaises(ReadError):
            verify(file)

    def test_sound_bundles(self) -> None:
        for act in (ASKED, OPENED, GRANTED, REVOKED, REVOKED_BY_CODE, RECORDED):
            self.passes(forge(act))
        self.passes(forge(shape=Shape(number=0, history_size=1, anchor_sizes=(1,))))
        self.passes(forge(shape=Shape(batch_size=1, index=0, anchor_sizes=(1, 2, 4), depth=1)))
        self.passes(forge(shown_details=lambda details: ()))

    def test_without_the_cryptography_package(self) -> None:
        with mock.patch.object(ed25519, "Ed25519PublicKey", None):
            self.passes(forge())
            self.fails("header-signature", forge(header_signature=lambda signature: bytes(64)))

    def test_manifest(self) -> None:
        for change in (
            {"max_validity_ms": 0},
            {"max_validity_ms": layouts.WEEK_MS + 1},
            {"permit_validity_ms": layouts.WEEK_MS + 1},
            {"max_time_step_ms": 0},
            {"max_seal_delay_ms": layouts.WEEK_MS + 1},
            {"max_batch_entries": 65_537},
            {"max_batch_bytes": 131_071},
        ):
            self.fails("manifest", forge(manifest=lambda manifest: replace(manifest, **change)))
        self.fails("manifest", forge(manifest_bytes=lambda data: data + b"\0"))
        self.fails("chain-id", forge(), Pins(chain_id=bytes(32)))
        self.fails("ruleset", forge(manifest=lambda manifest: replace(manifest, ruleset=2)))
        self.fails("ruleset", forge(manifest=lambda manifest: replace(manifest, ruleset_hash=bytes(32))))
        self.fails("base-network", forge(manifest=lambda manifest: replace(manifest, base_network="other")))
        self.fails("base-network", forge(manifest=lambda manifest: replace(manifest, base_network="main")))

    def test_transaction(self) -> None:
        self.fails("transaction", forge(body=lambda body: body + b"\0"))
        self.fails("transaction", forge(body_fields=lambda fields: [(1, bytes(32)), *fields[1:]]))
        self.fails("sender-signature", forge(authorizations=lambda found: ()))
        key = layouts.Authorization(1, forging.public_key(b"x" * 32), bytes(64))
        self.fails("sender-signature", forge(authorizations=lambda found: (key,)))
        self.fails("sender-signature", forge(REVOKED_BY_CODE, authorizations=lambda found: (key,)))
        self.fails("sender-signature", forge(authorizations=lambda found: (replace(found[0], signature=bytes(64)),)))

    def test_entry(self) -> None:
        def entry(**changes: Any) -> bytes:
            return forge(entry=lambda found: replace(found, **changes))

        self.fails("entry", forge(entry_bytes=lambda data: b"\x17" + data[1:]))
        self.fails("transaction-id", entry(transaction_id=bytes(32)))
        self.fails("authorizations", entry(authorizations_hash=bytes(32)))
        self.fails("expired", forge(body_fields=lambda fields: [*fields[:3], (4, forging.CREATED + 5_000), fields[4]]))
        self.fails(
            "expired",
            forge(body_fields=lambda fields: [*fields[:3], (4, forging.CREATED + 5_001 + layouts.WEEK_MS), fields[4]]),
        )
        self.fails("outcome-root", entry(outcome_root=bytes(32)))
        self.fails("sequence-range", entry(sequence=99))
        self.fails("sequence-range", entry(sequence=105))
        self.fails("entry-inclusion", entry(sequence=104))
        self.fails("entry-time", entry(time=forging.CREATED - 1))
        self.fails("entry-time", entry(time=forging.CREATED + 5_001))
        self.fails("entry-inclusion", forge(entry_path=lambda path: path[:-1]))

    def test_outcomes(self) -> None:
        def first(**changes: Any) -> bytes:
            return forge(leaves=lambda leaves: (replace(leaves[0], **changes), *leaves[1:]))

        def obliged(*obligations: Obligation) -> bytes:
            return first(obligations=obligations)

        label = layouts.Coding("s", "c")
        self.passes(obliged(Obligation(("P",), (label,), (label,), layouts.Period(0, U64_MAX))))
        self.fails("outcome-leaf", forge(leaf_bytes=lambda leaves: (leaves[0] + b"\0", leaves[1])))
        self.fails(
            "outcome-leaf", forge(leaf_bytes=lambda leaves: (leaves[0][:2] + b"\x09" + leaves[0][3:], leaves[1]))
        )
        self.fails("outcome-leaf", obliged(Obligation(("P" * 65,), (), (), None)))
        self.fails("outcome-leaf", obliged(Obligation((), (label,) * 9, (), None)))
        for code in ("", "a b", "\x1b[2J", "\x85", "\u2003"):
            self.fails("outcome-leaf", obliged(Obligation((code,), (), (), None)))
            self.fails("outcome-leaf", obliged(Obligation((), (layouts.Coding("s", code),), (), None)))
            self.fails("outcome-leaf", obliged(Obligation((), (), (layouts.Coding(code, "c"),), None)))
        self.fails("outcome-leaf", obliged(Obligation((), (), (), layouts.Period(2, 2))))
        self.fails("outcome-leaf", obliged(*[Obligation((), (), (), None)] * 33))
        self.fails("outcome-form", first(object=bytes(32)))
        question = forging.QUESTION
        self.fails("outcome-form", first(question=None))
        other_scopes: tuple[dict[str, Any], ...] = (
            {"recipient": bytes(32)},
            {"custodian": bytes(32)},
            {"purpose": "HRESCH"},
            {"action": 3},
            {"classes": question.classes * 2},
            {"labels": (label,)},
            {"data_period": layouts.Period(0, U64_MAX)},
            {"acting_person": bytes(32)},
        )
        for change in other_scopes:
            self.fails("outcome-form", first(question=replace(question, **change)))
        for act in (OPENED, GRANTED, REVOKED, REVOKED_BY_CODE):
            asked = forge(act, leaves=lambda leaves: (replace(leaves[0], question=question),))
            self.fails("outcome-form", asked)
        no_scopes: tuple[dict[str, Any], ...] = (
            {"action": 0},
            {"action": 6},
            {"classes": ()},
            {"classes": (label,) * 9},
            {"labels": (label,) * 9},
            {"classes": (layouts.Coding("", "c"),)},
        )
        for change in no_scopes:
            self.fails("outcome-leaf", first(question=replace(question, **change)))
        self.fails("outcome-form", first(kind=OutcomeKind.ACCESS_COVERED, permit_until=0))
        self.fails("outcome-form", first(permit_until=0))
        self.fails("outcome-form", forge(leaves=lambda leaves: leaves[:1]))
        self.fails("outcome-form", forge(leaves=lambda leaves: leaves[::-1]))
        self.fails("outcome-form", forge(leaves=lambda leaves: (leaves[0], replace(leaves[1], permit_until=1))))
        obligation = Obligation((), (), (), None)
        self.fails(
            "outcome-form", forge(leaves=lambda leaves: (leaves[0], replace(leaves[1], obligations=(obligation,))))
        )
        for act, other in ((OPENED, OutcomeKind.CONSENT_GRANTED), (REVOKED, OutcomeKind.CONSENT_GRANTED)):
            self.fails("outcome-form", forge(Act(act.field, (other,), act.objects)))
        without = Act(REVOKED.field, (OutcomeKind.REVOCATION_WITHOUT_EFFECT,), REVOKED.objects)
        self.passes(forge(without))

    def test_codes_cannot_write_to_a_terminal(self) -> None:
        obligation = Obligation((), (), (layouts.Coding("s", "\u202ec"),), None)
        file = forge(leaves=lambda leaves: (replace(leaves[0], obligations=(obligation,)), leaves[1]))
        self.assertTrue(all(line.isprintable() for line in verify(file).proves()))

    def test_details(self) -> None:
        def detail(act: Act = ASKED, **changes: Any) -> bytes:
            def edit(details: tuple[bytes, ...]) -> tuple[bytes, ...]:
                return (encode(replace(decode(Detail, details[0]), **changes)), *details[1:])

            return forge(act, details=edit)

        decider = layouts.Decider(b"\1" * 32, (0, 1, 2, 3))
        self.passes(detail(decider=decider, verdicts=(Verdict(b"\1" * 32, 1), Verdict(b"\2" * 32, 0))))
        self.fails("detail", detail(verdicts=(Verdict(b"\2" * 32, 1), Verdict(b"\1" * 32, 0))))
        self.fails("detail", detail(verdicts=(Verdict(b"\1" * 32, 3),)))
        self.fails("detail", detail(decider=layouts.Decider(b"\1" * 32, (0,) * 5)))
        self.fails("detail", detail(combining_rule=2))
        self.fails("detail", detail(reason=layouts.Reason.NO_CONSENT))
        self.fails("detail", detail(RECORDED, reason=layouts.Reason.NO_DECISION))
        self.fails("detail", detail(OPENED, reason=layouts.Reason.NO_CONSENT))
        self.fails("detail", forge(shown_details=lambda details: details[:1]))
        self.fails("detail", forge(shown_details=lambda details: details[::-1]))

    def test_header(self) -> None:
        def header(**changes: Any) -> bytes:
            return forge(header=lambda found: replace(found, **changes))

        self.fails("header", forge(header_bytes=lambda data: data + b"\0"))
        self.fails("header", header(entry_count=0))
        self.fails("header-chain", header(chain_id=bytes(32)))
        self.fails("header-ruleset", header(ruleset=2))
        self.fails("header-key", header(key_id=bytes(32)))
        self.fails("header-form", header(previous_hash=bytes(32)))
        self.fails("header-form", header(number=0))
        self.fails("header-form", header(entry_count=10_001))
        self.fails("entry-inclusion", header(entries_root=bytes(32)))
        self.fails("header-signature", forge(header_signature=lambda signature: bytes(64)))
        self.fails("batch-inclusion", header(number=1))

    def test_history(self) -> None:
        self.passes(forge(record=lambda record: replace(record, state_root=b"\1" * 32)))
        for kind in (0, 2, 255):
            self.fails("tree-kind", forge(record_bytes=lambda data: data[:-1] + bytes([kind])))
        self.fails("batch-record", forge(record_bytes=lambda data: b"\x1b" + data[1:]))
        self.fails("batch-record-header", forge(record=lambda record: replace(record, header_hash=bytes(32))))
        self.fails("batch-inclusion", forge(checkpoint=lambda checkpoint: replace(checkpoint, root=bytes(32))))
        self.fails("batch-inclusion", forge(checkpoint=lambda checkpoint: replace(checkpoint, size=2)))
        self.fails("batch-inclusion", forge(history_path=lambda path: (*path, bytes(32))))

    def test_checkpoint(self) -> None:
        def text(old: str, new: str) -> bytes:
            return forge(checkpoint_text=lambda text: text.replace(old, new))

        self.passes(forge(note=with_line(OTHER_LINE)))
        self.passes(forge(note=with_line(OTHER_LINE * 63)))
        self.fails("checkpoint", forge(note=with_line(OTHER_LINE * 64)))
        self.fails("checkpoint", forge(note=with_line("other\n")))
        self.fails("checkpoint", forge(note=with_line("\n")))
        self.fails("checkpoint", forge(note=lambda signed: signed[:-1]))
        self.fails("checkpoint", forge(note=lambda signed: signed[: signed.index("—")] + OTHER_LINE))
        self.fails("checkpoint", forge(note=lambda signed: signed + signed[signed.index("—") : -9] + "AAAAAAA=\n"))
        for name in ("", "o ther", "o+ther", "o\u2003ther", "o\tther", "o\x7fther"):
            self.fails("checkpoint", forge(note=with_line(OTHER_LINE.replace("other", name))))
        self.passes(forge(note=with_line("— other AAAAAAA=\n")))
        for encoded in ("AAAAAA==", "AAAAAAB=", "AAAAAAA", "AAAAAAA=\r"):
            self.fails("checkpoint", forge(note=with_line(f"— other {encoded}\n")))
        self.fails("checkpoint", text("\n4\n", "\n04\n"))
        self.fails("checkpoint", text("\n4\n", "\n\n"))
        self.fails("checkpoint", text("\n4\n", "\n18446744073709551616\n"))
        self.fails("checkpoint", text("=", ""))
        self.fails("checkpoint", forge(checkpoint_text=lambda text: text + "more\n"))
        other_chain = forge(checkpoint=lambda checkpoint: replace(checkpoint, chain_id=bytes(32)))
        self.fails("checkpoint", other_chain)

    def test_cosignatures(self) -> None:
        first, second = forging.VALIDATORS

        def signed(number: int) -> Callable[[str], str]:
            seed = forging.VALIDATOR_SEEDS[number]
            return lambda found: (
                found + forging.cosignature(forging.VALIDATORS[number], seed, found.split("\n\n")[0] + "\n")
            )

        file = forge(note=signed(0))
        self.passes(file)
        self.passes(file, Pins(validators=(first, second), required=1))
        self.fails("cosignatures", file, Pins(validators=(first, second), required=2))
        self.fails("cosignatures", file, Pins(validators=(second,), required=1))
        self.passes(forge(note=lambda found: signed(1)(signed(0)(found))), Pins(validators=(first, second), required=2))
        twice = forge(note=lambda found: signed(0)(signed(0)(found)))
        self.fails("cosignatures", twice, Pins(validators=(first, second), required=2))
        self.fails("cosignatures", file, Pins(validators=(first, first), required=2))
        wrong = forge(note=with_line(forging.cosignature(first, forging.VALIDATOR_SEEDS[0], "another text")))
        self.passes(wrong)
        self.passes(wrong, Pins(validators=(second,)))
        self.fails("checkpoint", wrong, Pins(validators=(first,)))
        self.assertEqual(verify(file, Pins(validators=(first,))).to_json()["cosigned_by"], [first.name])
        self.assertEqual(verify(file).to_json()["cosigned_by"], [])

    def test_keys_of_validators(self) -> None:
        found = forging.VALIDATORS[0]
        self.assertEqual(note.read_validator(str(found)), found)
        name, key_hash, key = str(found).split("+", 2)
        signer = bytes([note.SIGNATURE]) + found.public_key
        for wrong in (
            "",
            name,
            f"{name}+{key_hash}",
            f"+{key_hash}+{key}",
            f"other+{key_hash}+{key}",
            f"{name}+{key_hash.upper()}+{key}",
            f"{name}+0{key_hash}+{key}",
            f"{name}+{key_hash}+{key}=",
            f"{name}+{key_hash}+{key[:-4]}",
            f"{name}+{key_hash}+{key} ",
            str(replace(found, name="a b")),
            str(replace(found, name="a+b")),
            str(replace(found, name="a\x85")),
            str(replace(found, name="a" * 129)),
            f"{name}+{note.key_hash(name, found.public_key).hex()}+{base64.b64encode(signer).decode()}",
        ):
            with self.assertRaises(FormatError, msg=wrong):
                note.read_validator(wrong)
        longest = replace(found, name="a" * 128)
        self.assertEqual(note.read_validator(str(longest)), longest)

    def test_anchors(self) -> None:
        edits: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
            ("seals", "anchor{}", lambda raw: replace(raw, inputs=raw.inputs[::-1])),
            ("seals", "anchor{}", lambda raw: replace(raw, outputs=raw.outputs[:1])),
            ("seals", "anchor{}", lambda raw: replace(raw, outputs=raw.outputs[::-1])),
            ("seals", "anchor{}_bytes", lambda data: data + b"\0"),
            ("seals", "script{}", lambda script: b"\x6a\x4c" + script[1:]),
            ("seals", "payload{}", lambda payload: b"ASNt" + payload[4:]),
            ("chain-tag", "payload{}", lambda payload: payload[:5] + b"else" + payload[9:]),
        )
        for name, stage, edit in edits:
            for number in (0, 1):
                edit_of: dict[str, Any] = {stage.format(number): edit}
                self.fails(name, forge(**edit_of))
        self.fails("anchor-size", forge(shape=Shape(anchor_sizes=(2, 2, 4))))
        self.fails("anchor-size", forge(shape=Shape(anchor_sizes=(0, 4))))
        self.fails("no-anchor", forge(shape=Shape(anchor_sizes=())))
        self.fails("not-first-anchor", forge(shape=Shape(anchor_sizes=(3, 4))))
        self.fails("anchor-payload", forge(shape=Shape(anchor_sizes=(2, 5))))
        self.fails("anchor-payload", forge(payload1=lambda payload: payload[:-1] + b"\0"))

    def test_the_seals_of_all_anchors_come_before_their_payloads(self) -> None:
        file = forge(
            payload0=lambda payload: payload[:5] + b"else" + payload[9:],
            anchor1=lambda raw: replace(raw, inputs=raw.inputs[::-1]),
        )
        self.fails("seals", file)

    def test_base_chain(self) -> None:
        self.fails("no-header", forge(shape=Shape(depth=0)))
        self.fails("base-headers", forge(block1=lambda block: replace(block, previous=bytes(32))))
        self.fails("base-headers", forge(block1=lambda block: replace(block, mined=False)))
        self.fails("base-headers", forge(block1=lambda block: replace(block, bits=0x207FFFFE)))
        self.fails("base-headers", forge(block1=lambda block: replace(block, bits=0x2100FFFF)))
        self.fails("block-inclusion", forge(block_root=lambda root: bytes(32)))
        self.fails("block-inclusion", forge(block_path=lambda found: (4, found[1])))
        self.passes(forge(block_path=lambda found: (0xFFFFFFFF, (b"\7" * 32,) * 32)))
        self.fails("block-inclusion", forge(block_path=lambda found: (1, (b"\7" * 32,) * 33)))

    def test_pins(self) -> None:
        file = forge()
        report = verify(file)
        self.assertFalse(report.pinned)
        self.assertTrue(verify(file, Pins(chain_id=report.chain_id)).pinned)
        for header in report.base_headers:
            self.passes(file, Pins(base_block=header.hash))
        self.fails("pinned-block", file, Pins(base_block=bytes(32)))
        self.passes(file, Pins(least_work=report.work))
        self.fails("least-work", file, Pins(least_work=report.work + 1))

    def test_file(self) -> None:
        file = forge()
        self.fails("file-digest", file[:-1] + bytes([file[-1] ^ 1]))
        self.unreadable(b"")
        self.unreadable(b"x" + file[1:])
        self.unreadable(forging.redigest(file[:-32] + bytes(33)))
        self.unreadable(forging.redigest(file[:14] + b"\2" + file[15:]))
        self.unreadable(forge(manifest_bytes=lambda data: data.ljust(1_025)))
        self.unreadable(forge(authorizations=lambda found: found * 2))
        self.unreadable(forge(authorizations=lambda found: (replace(found[0], scheme=2),)))
        self.unreadable(forge(bundle=lambda bundle: replace(bundle, headers=bundle.headers * 673)))
        self.unreadable(forge(bundle=lambda bundle: replace(bundle, anchors=(bytes(10_001),))))
        self.unreadable(forge(bundle=lambda bundle: replace(bundle, entry_path=(bytes(32),) * 65)))
        for length in range(0, len(file), 11):
            self.unreadable(file[:length])


class StatementTests(unittest.TestCase):
    """Receipts, consistency proofs and evidence: sound, altered, and honest statements that are to frame."""

    def test_every_case(self) -> None:
        names_seen: set[str] = set()
        for case in forge_evidence.cases():
            pins = {"chain": forge_evidence.CHAIN.hex()} if case.pins is None else case.pins
            with self.subTest(case.name):
                self.assertNotIn(case.name, names_seen)
                names_seen.add(case.name)
                self.assertEqual(self.verdict(case.data, run_corpus.pins_of(pins)), case.expect)

    @staticmethod
    def verdict(data: bytes, pins: Pins) -> str:
        try:
            return "verified" if verify_any(data, pins).pinned else "not-pinned"
        except CheckError as error:
            return error.name
        except ReadError:
            return "unreadable"

    def test_every_case_about_state(self) -> None:
        names_seen: set[str] = set()
        expected: set[tuple[str, str]] = set()
        for case in forge_state.cases():
            pins = {"chain": forge_evidence.CHAIN.hex()} if case.pins is None else case.pins
            with self.subTest(case.name):
                self.assertNotIn(case.name, names_seen)
                names_seen.add(case.name)
                expected.add((case.name.split("-")[0], case.expect))
                self.assertEqual(self.verdict(case.data, run_corpus.pins_of(pins)), case.expect)
        for kind in ("decision", "consent", "history"):
            self.assertIn((kind, "verified"), expected)

    def test_every_reason_is_there(self) -> None:
        """The invented ledger has decisions of all kinds, so that each is decided again."""
        seen = set()
        for _, content in forge_state.sound_decisions():
            assert isinstance(content, layouts.DecisionFile)
            seen.add(decode(Detail, content.detail).reason)
        self.assertEqual(
            seen,
            set(layouts.Reason)
            - {layouts.Reason.NO_DECISION, layouts.Reason.DENIED_BY_DEFAULT, layouts.Reason.TOO_MANY_OBLIGATIONS},
        )

    def test_what_it_says_of_a_consent(self) -> None:
        grant = forge_state.id_of(forge_state.GRANT)
        kind = layouts.MomentKind
        for moment, expect in (
            ((kind.TIME, forging.CREATED + 999), "ABSENT"),
            ((kind.TIME, forging.CREATED + 1_000), "ACTIVE"),
            ((kind.SEQUENCE, 4), "ABSENT"),
            ((kind.SEQUENCE, 5), "ACTIVE"),
            ((kind.TIME, forge_state.DAY - 1), "ACTIVE"),
            ((kind.TIME, forge_state.DAY), "REVOKED"),
            ((kind.END_OF_STATE, 0), "REVOKED"),
        ):
            report = verify_any(forge_state.write(forge_state.MAKE.consent(grant, *moment)))
            self.assertEqual(report.to_json()["consent_status"], expect, moment)
        absent = forge_state.MAKE.consent(bytes(32), kind.END_OF_STATE, 0)
        self.assertEqual(verify_any(forge_state.write(absent)).to_json()["consent_status"], "ABSENT")

    def test_a_history_lists_all(self) -> None:
        whose = layouts.Whose.SUBJECT
        whole = verify_any(forge_state.write(forge_state.MAKE.history_of(whose, forge_state.SUBJECT)))
        middle = forging.CREATED + 3_000
        parts = [
            verify_any(forge_state.write(forge_state.MAKE.history_of(whose, forge_state.SUBJECT, *period)))
            for period in ((0, middle), (middle, U64_MAX))
        ]
        counts = [report.to_json()["accesses"] for report in parts]
        self.assertEqual(sum(counts), whole.to_json()["accesses"])
        self.assertTrue(all(counts))

    def test_each_kind_is_there_sound_and_refused(self) -> None:
        found: dict[int, set[str]] = {number + 1: set() for number in range(len(layouts.EVIDENCE_KINDS))}
        for case in forge_evidence.cases():
            if case.name.startswith("evidence-"):
                found[int(case.name.split("-")[1])].add(case.expect)
        for number, expected in found.items():
            self.assertIn("verified", expected)
            self.assertIn("nothing-wrong" if number == 6 else "no-contradiction", expected)

    def test_any_changed_byte_is_refused(self) -> None:
        """With a new digest, so that it is the statements that do not hold, or something else is proven."""
        pins = Pins(forge_evidence.CHAIN)
        header, receipt = forge_evidence.HEADERS[1], forge_evidence.receipt_of(forge_evidence.ENTRIES[3], 2)
        sound = forge_evidence.evidence(layouts.BatchContradictsReceipt(receipt, header))
        self.assertEqual(self.verdict(sound, pins), "verified")
        for place in range(0, len(sound) - files.DIGEST_BYTES, 5):
            changed = bytearray(sound)
            changed[place] ^= 1 << place % 8
            self.assertNotEqual(self.verdict(forging.redigest(bytes(changed)), pins), "verified", f"byte {place}")

    def test_any_changed_byte_of_a_state_proof_is_refused(self) -> None:
        subject, grant = forge_state.SUBJECT, forge_state.id_of(forge_state.GRANT)
        recorded = forge_state.number_of(subject, forge_state.id_of(forge_state.RECORD))
        start, end = forging.CREATED + 2_000, forging.CREATED + 3_000
        history = forge_state.MAKE.history_of(layouts.Whose.SUBJECT, subject, start, end)
        for content in (
            forge_state.MAKE.decision(subject, recorded),
            forge_state.MAKE.consent(grant, layouts.MomentKind.END_OF_STATE, 0),
            history,
        ):
            sound = forge_state.write(content)
            self.assertEqual(self.verdict(sound, Pins(forge_evidence.CHAIN)), "verified")
            for place in range(0, len(sound) - files.DIGEST_BYTES, 7):
                changed = bytearray(sound)
                changed[place] ^= 1 << place % 8
                found = self.verdict(forging.redigest(bytes(changed)), Pins(forge_evidence.CHAIN))
                if found == "verified":
                    # A period that is true as well: the same accesses are within it.
                    other, _ = files.read_file(bytes(changed))
                    self.assertEqual(replace(other, start=start, end=end), history, f"byte {place}")
            for length in range(0, len(sound), 101):
                self.assertEqual(self.verdict(sound[:length], Pins(forge_evidence.CHAIN)), "unreadable")

    def test_what_it_says(self) -> None:
        for case in (*forge_evidence.cases(), *forge_state.cases()):
            if case.expect != "verified":
                continue
            report = verify_any(case.data, run_corpus.pins_of({"chain": forge_evidence.CHAIN.hex(), "least_work": "1"}))
            answer = report.to_json()
            self.assertEqual(answer["status"], "VERIFIED")
            kinds = ("receipt", "consistency", "evidence", "decision", "consent", "history")
            self.assertIn(answer["kind"], kinds)
            json.dumps(answer)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assent_verify.print_report(report)
            self.assertTrue(all(line.isprintable() for line in out.getvalue().splitlines()))


class ReplayTests(unittest.TestCase):
    """An export of the invented ledger, in two files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.write("manifest.bin", forge_evidence.MANIFEST_BYTES)
        self.write("checkpoint", forge_evidence.claim(3).checkpoint.encode())
        self.export(forge_evidence.BATCHES)

    def write(self, name: str, data: bytes) -> None:
        with open(os.path.join(self.folder, name), "wb") as file:
            file.write(data)

    def export(self, batches: tuple[layouts.Batch, ...]) -> None:
        for first, part in ((0, batches[:1]), (1, batches[1:])):
            content = layouts.ExportedBatches(forge_evidence.MANIFEST_BYTES, first, tuple(map(encode, part)))
            self.write(f"batches-{first:012}.assent", files.write_file(content, files.BATCHES_MAGIC))

    def run_with(self, *arguments: str) -> tuple[int, str]:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            return replay.main([self.folder, *arguments]), out.getvalue()

    def test_a_sound_ledger(self) -> None:
        code, out = self.run_with("--chain", forge_evidence.CHAIN.hex())
        self.assertEqual(code, replay.OK, out)
        self.assertIn("4 batches, 8 entries", out)
        self.assertIn("over 3 batches", out)
        self.assertEqual(self.run_with("--chain", "00" * 32)[0], replay.FAILED)
        self.export(forge_evidence.BATCHES[:2])
        code, out = self.run_with()
        self.assertEqual(code, replay.OK, out)
        self.assertIn("NOT compared", out)
        os.remove(os.path.join(self.folder, "checkpoint"))
        self.assertEqual(self.run_with()[0], replay.OK)

    def test_who_is_to_blame(self) -> None:
        for batch in (wrong for _, wrong in forge_evidence.wrong_executions()):
            self.export((*forge_evidence.BATCHES[:2], batch))
            code, out = self.run_with()
            self.assertEqual(code, replay.CONTRADICTED, out)
            self.assertIn("batch 2", out)
        self.export(forge_evidence.BATCHES)
        self.write("checkpoint", forge_evidence.claim(2, root=bytes(32)).checkpoint.encode())
        self.assertEqual(self.run_with()[0], replay.CONTRADICTED)

    def test_what_accuses_nobody(self) -> None:
        batches = forge_evidence.BATCHES
        for changed in (
            (*batches[:2], replace(batches[2], entries=())),
            (*batches[:2], replace(batches[2], signature=batches[1].signature)),
            (*batches[:2], batches[3]),
        ):
            self.export(changed)
            self.assertEqual(self.run_with()[0], replay.FAILED)
        self.export(batches)
        for name, data in (
            ("checkpoint", b"no checkpoint"),
            ("checkpoint", forge_evidence.checkpoint(2, bytes(32), forging.SEQUENCER_SEED).encode()),
            ("batches-000000000001.assent", b"assent-batches\n"),
            ("manifest.bin", b""),
        ):
            self.write(name, data)
            self.assertEqual(self.run_with()[0], replay.FAILED, name)


class ShippedProofTests(unittest.TestCase):
    PROOF = os.path.join(ROOT, "examples", "proof")

    def setUp(self) -> None:
        self.file = read(self.PROOF, "permitted.assent")
        self.pins = Pins(chain_id=bytes.fromhex(read(self.PROOF, "chain-id").decode().strip()))

    def test_it_verifies(self) -> None:
        report = verify(self.file, self.pins)
        self.assertTrue(report.pinned)
        self.assertEqual([leaf.kind for leaf in report.outcomes], [OutcomeKind.ACCESS_PERMITTED])

    def test_the_damaged_copy_is_refused(self) -> None:
        with self.assertRaises(CheckError):
            verify(read(self.PROOF, "damaged.assent"), self.pins)

    def test_any_changed_byte_is_refused(self) -> None:
        for place in range(0, len(self.file), 7):
            changed = bytearray(self.file)
            changed[place] ^= 1 << place % 8
            with self.assertRaises((CheckError, ReadError), msg=f"byte {place}"):
                verify(bytes(changed), self.pins)

    def test_command_line(self) -> None:
        file, damaged = (os.path.join(self.PROOF, f"{name}.assent") for name in ("permitted", "damaged"))
        assert self.pins.chain_id is not None
        chain = self.pins.chain_id.hex()
        for arguments, code, status in (
            ([file, "--chain", chain], 0, "VERIFIED"),
            ([file], 10, "CONSISTENT_NOT_PINNED"),
            ([damaged, "--chain", chain], 20, "FAILED"),
            ([file, "--chain", "00" * 32], 20, "FAILED"),
            ([file, "--least-work", "ffffff"], 20, "FAILED"),
            ([os.path.join(self.PROOF, "chain-id")], 30, "UNREADABLE"),
            ([os.path.join(self.PROOF, "nothing")], 30, "UNREADABLE"),
            ([file, "--validator", str(forging.VALIDATORS[0]), "--require", "1"], 20, "FAILED"),
        ):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(assent_verify.main([*arguments, "--json"]), code)
            self.assertEqual(json.loads(out.getvalue())["status"], status)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                self.assertEqual(assent_verify.main(arguments), code)
            self.assertTrue(out.getvalue())
        for wrong in (["--chain", "xyz"], ["--validator", "xyz"], ["--require", "1"], ["--require", "x"]):
            with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as caught:
                assent_verify.main([file, *wrong])
            self.assertEqual(caught.exception.code, 2)


class CorpusTests(unittest.TestCase):
    def run_with(self, expectations: list[str]) -> tuple[int, str]:
        report = verify(forge())
        pins: dict[str, str | None] = {"chain": None, "base_block": None, "least_work": None}
        pinned: dict[str, str | None] = {
            "chain": report.chain_id.hex(),
            "base_block": base.shown(report.base_headers[1].hash),
            "least_work": "6",
        }
        files = (
            ("sound", forge(), pinned),
            ("unpinned", forge(), pins),
            ("broken", b"nothing", pins),
            ("forged", forge(header_signature=lambda signature: bytes(64)), pins),
        )
        with tempfile.TemporaryDirectory() as folder:
            index = []
            for (name, data, given), expect in zip(files, expectations):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(data)
                index.append({"file": name, **given, "expect": expect})
            with open(os.path.join(folder, "index.json"), "w", encoding="utf-8") as file:
                json.dump(index, file)
            with contextlib.redirect_stdout(io.StringIO()) as out, mock.patch("sys.argv", ["run_corpus.py", folder]):
                return run_corpus.main(), out.getvalue()

    def test_corpus(self) -> None:
        code, out = self.run_with(["verified", "not-pinned", "unreadable", "header-signature"])
        self.assertEqual((code, out), (0, "4 files, 0 mismatches\n"))
        code, out = self.run_with(["verified", "verified", "unreadable", "header"])
        self.assertEqual(code, 1)
        self.assertIn("unpinned: verified expected, not-pinned found\n", out)
        self.assertIn("forged: header expected, header-signature found\n", out)


@unittest.skipIf(assent_client is None, "the environment of setup.sh is not there")
class ClientTests(unittest.TestCase):
    def test_key_files(self) -> None:
        key = assent_client.Key(b"\x11" * 32)
        self.assertEqual(key.did, "did:assent:acct19gkd29ayu2swnn480aga7cv7wza0rpv0ayhps3d378pjr6zd27eqf04d5j")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "a.key")
            key.save(path)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            self.assertEqual(assent_client.Key.load(path).seed, key.seed)
            with self.assertRaises(FileExistsError):
                key.save(path)
            os.chmod(path, 0o644)
            with self.assertRaises(assent_client.ClientError):
                assent_client.Key.load(path)
            os.chmod(path, 0o600)
            content = json.loads(read(path))
            for change in ({"seed": "00" * 32}, {"format": "other"}, {"seed": 7}, {"scheme": "other"}):
                with open(path, "w", encoding="utf-8") as file:
                    json.dump({**content, **change}, file)
                with self.assertRaises(assent_client.ClientError):
                    assent_client.Key.load(path)

    def test_the_protobuf_library_encodes_canonically(self) -> None:
        pb = assent_client.pb
        coding = pb.Coding(system="s", code="c")
        inner = pb.Provision(effect=pb.EFFECT_DENY, labels=[coding], data_period=pb.Period(start_ms=1, end_ms=2))
        provision = pb.Provision(
            effect=pb.EFFECT_PERMIT,
            period=pb.Period(end_ms=5),
            actors=[pb.Actor(role=pb.ACTOR_ROLE_RECIPIENT, account=b"\1" * 32)],
            purposes=["TREAT", "HRESCH"],
            actions=[pb.ACTION_ACCESS, pb.ACTION_USE],
            classes=[coding],
            provisions=[inner, inner],
        )
        grant = pb.GrantConsent(terms=pb.ConsentTerms(provisions=[provision]), source_hash=b"\2" * 32)
        body = pb.TransactionBody(
            chain_id=b"\3" * 32, sender=b"\4" * 32, salt=b"\5" * 16, expires_at_ms=7, grant_consent=grant
        )
        found = transaction.read_body(body.SerializeToString(deterministic=True), b"\3" * 32)
        assert found.grant_consent is not None and found.grant_consent.terms is not None
        (outer,) = found.grant_consent.terms.provisions
        self.assertEqual(outer.purposes, ("TREAT", "HRESCH"))
        self.assertEqual(outer.actions, (transaction.Action.ACCESS, transaction.Action.USE))
        self.assertEqual(outer.provisions[0].data_period, transaction.Period(1, 2))

    def test_status_details(self) -> None:
        def anything(kind: str, *fields: tuple[int, Any]) -> tuple[int, bytes]:
            return 3, message((1, f"type.googleapis.com/google.rpc.{kind}"), (2, message(*fields)))

        status = message(
            (1, 8),
            (2, "full"),
            anything("ErrorInfo", (1, "QUEUE_FULL"), (2, "assent")),
            anything("RetryInfo", (1, message((1, 2), (2, 500_000_000)))),
        )
        error = mock.Mock()
        error.trailing_metadata.return_value = (("other", "x"), ("grpc-status-details-bin", status))
        self.assertEqual(assent_client.status_details(error), ("QUEUE_FULL", 2.5))
        error.trailing_metadata.return_value = (("grpc-status-details-bin", b"\xff"),)
        self.assertEqual(assent_client.status_details(error), (None, None))
        error.trailing_metadata.return_value = None
        self.assertEqual(assent_client.status_details(error), (None, None))

    def client(self) -> Any:
        """A client of an invented ledger, without a connection."""
        client = assent_client.Client.__new__(assent_client.Client)
        client.manifest = forging.default_manifest()
        client.manifest_bytes = encode(client.manifest)
        client.chain_id = layout_hash(client.manifest)
        client.timeout = 30.0
        client.sequencer = mock.Mock()
        return client

    def signed(self, client: Any) -> Any:
        return client.sign(assent_client.Key(forging.SENDER_SEED), open_account=assent_client.pb.OpenAccount(kind=1))

    def answer(self, client: Any, signed: Any, **changes: Any) -> Any:
        """What a sequencer answers; the changes are to what it signs, or to the answer."""
        pb2 = assent_client.sequencer_pb2
        given = signed.transaction.authorizations[0]
        account = names.account_id(given.public_key)
        leaf = encode(OutcomeLeaf(OutcomeKind.ACCOUNT_OPENED, changes.pop("account", account), None, 0, (), bytes(32)))
        authorizations = (layouts.Authorization(1, given.public_key, changes.pop("signed_by", given.signature)),)
        entry = Entry(
            sequence=7,
            time=forging.CREATED,
            transaction_id=changes.pop("transaction_id", signed.id),
            authorizations_hash=layouts.authorizations_hash(authorizations),
            outcome_root=merkle.root_of([leaf]),
        )
        receipt = Receipt(
            chain_id=changes.pop("receipt_chain", client.chain_id),
            key_id=changes.pop("key_id", names.key_id(client.manifest.sequencer_key)),
            epoch=1,
            batch_number=2,
            deadline=changes.pop("deadline", entry.time + client.manifest.max_seal_delay_ms),
            entry=entry,
        )
        hashes = [merkle.leaf_hash(data) for data in (b"one", encode(receipt), b"three")]
        root = changes.pop("root", merkle.root(hashes))
        statement = encode(GroupStatement(changes.pop("group_chain", client.chain_id), 5, 3, root))
        made = pb2.SignedReceipt(
            receipt=encode(receipt),
            group_statement=statement,
            index=changes.pop("index", 1),
            path=changes.pop("path", merkle.inclusion_path(hashes, 1)),
            signature=changes.pop("signature", forging.sign(forging.SEQUENCER_SEED, sha256(statement))),
        )
        leaves = changes.pop("leaves", [leaf])
        self.assertFalse(changes)
        return pb2.SubmitResponse(sequenced=pb2.SequencedTransaction(receipt=made, outcome_leaves=leaves))

    def test_receipts_are_checked(self) -> None:
        client = self.client()
        signed = self.signed(client)
        client.sequencer.Submit.return_value = self.answer(client, signed)
        self.assertEqual(client.submit(signed).receipt.entry.sequence, 7)
        changes: tuple[dict[str, Any], ...] = (
            {"signature": bytes(64)},
            {"root": bytes(32)},
            {"index": 0},
            {"path": []},
            {"path": [b"x" * 31, bytes(32)]},
            {"group_chain": bytes(32)},
            {"receipt_chain": bytes(32)},
            {"key_id": bytes(32)},
            {"deadline": 0},
            {"transaction_id": bytes(32)},
            {"signed_by": bytes(64)},
            {"account": bytes(32)},
            {"leaves": []},
        )
        for change in changes:
            client.sequencer.Submit.return_value = self.answer(client, signed, **change)
            with self.assertRaises(assent_client.UntrueError, msg=str(change)):
                client.submit(signed)
        client.sequencer.Submit.return_value = assent_client.sequencer_pb2.SubmitResponse()
        with self.assertRaises(assent_client.UntrueError):
            client.submit(signed)

    def test_refusals_are_checked(self) -> None:
        client = self.client()
        signed = self.signed(client)
        key_id = names.key_id(client.manifest.sequencer_key)
        sound = Refusal(client.chain_id, key_id, signed.id, layouts.RefusalReason.EXPIRED, 7, 8)

        def submit(refusal: Refusal, seed: bytes = forging.SEQUENCER_SEED) -> Any:
            signature = forging.sign(seed, layout_hash(refusal))
            answer = assent_client.sequencer_pb2.SignedRefusal(refusal=encode(refusal), signature=signature)
            client.sequencer.Submit.return_value = assent_client.sequencer_pb2.SubmitResponse(refusal=answer)
            return client.submit(signed)

        self.assertEqual(submit(sound).refusal, sound)
        for changed in (
            replace(sound, chain_id=bytes(32)),
            replace(sound, key_id=bytes(32)),
            replace(sound, transaction_id=bytes(32)),
        ):
            with self.assertRaises(assent_client.UntrueError):
                submit(changed)
        with self.assertRaises(assent_client.UntrueError):
            submit(sound, forging.PROVER_SEED)

    def test_several_at_once(self) -> None:
        pb2 = assent_client.sequencer_pb2
        client = self.client()
        signed = [self.signed(client) for _ in range(3)]

        def result(number: int) -> Any:
            return pb2.SubmitResult(sequenced=self.answer(client, signed[number]).sequenced)

        error = pb2.SubmitResult(
            error=pb2.SubmitError(code=14, reason="STOPPING", message="stopping", retry_after_ms=1_500)
        )
        client.sequencer.SubmitMany.return_value = pb2.SubmitManyResponse(results=[result(0), error, result(2)])
        first, second, third = client.submit_many(signed)
        self.assertEqual((first.id, third.id), (signed[0].id, signed[2].id))
        self.assertEqual((second.id, second.reason, second.retry_after), (signed[1].id, "STOPPING", 1.5))
        for wrong in ([result(0), result(1)], [result(0), result(2), result(1)], [pb2.SubmitResult()] * 3):
            client.sequencer.SubmitMany.return_value = pb2.SubmitManyResponse(results=wrong)
            with self.assertRaises(assent_client.UntrueError):
                client.submit_many(signed)

    def test_a_stream_that_breaks_is_opened_again(self) -> None:
        class Broken(assent_client.grpc.RpcError):
            def code(self) -> Any:
                return assent_client.grpc.StatusCode.UNAVAILABLE

            def details(self) -> str:
                return "stopping"

            def trailing_metadata(self) -> Any:
                return None

        client = self.client()
        signed = [self.signed(client) for _ in range(4)]
        by_id = {one.id: one for one in signed}
        received: list[list[bytes]] = []
        ends = [1, 2, None]

        def stream(requests: Any, timeout: float) -> Any:
            end = ends[len(received)]
            received.append([])
            for number, request in enumerate(requests):
                received[-1].append(names.transaction_id(request.transaction.body))
                if number == end:
                    raise Broken
                answer = self.answer(client, by_id[received[-1][-1]]).sequenced
                pb2 = assent_client.sequencer_pb2
                yield pb2.SubmitStreamResponse(result=pb2.SubmitResult(sequenced=answer))

        client.sequencer.SubmitStream.side_effect = stream
        with mock.patch("time.sleep"):
            answers = list(client.submit_stream(signed))
        ids = [one.id for one in signed]
        self.assertEqual([answer.id for answer in answers], ids)
        self.assertEqual(received, [ids[:2], ids[1:4], ids[3:]])
        received, ends = [], [4]
        client.sequencer.SubmitStream.side_effect = lambda requests, timeout: iter(())
        with self.assertRaises(assent_client.UntrueError):
            client.submit_stream(signed)
        self.assertEqual(list(client.submit_stream([])), [])

    def test_a_receipt_becomes_a_file(self) -> None:
        client = self.client()
        signed = self.signed(client)
        client.sequencer.Submit.return_value = self.answer(client, signed)
        report = verify_any(client.receipt_file(client.submit(signed)), Pins(client.chain_id))
        self.assertEqual(report.to_json()["transaction_id"], signed.id.hex())

    def test_waits_as_long_as_it_is_told(self) -> None:
        class CallFailed(assent_client.grpc.RpcError):
            def code(self) -> Any:
                return assent_client.grpc.StatusCode.UNAVAILABLE

            def details(self) -> str:
                return "stopping"

            def trailing_metadata(self) -> Any:
                delay = message((1, "type.googleapis.com/google.rpc.RetryInfo"), (2, message((1, message((1, 3))))))
                return (("grpc-status-details-bin", message((3, delay))),)

        client = self.client()
        signed = self.signed(client)
        sound = self.answer(client, signed)
        client.sequencer.Submit.side_effect = [CallFailed(), CallFailed(), sound]
        with mock.patch("time.sleep") as sleep:
            client.submit(signed)
        pauses = [call.args[0] for call in sleep.call_args_list]
        self.assertEqual(len(pauses), 2)
        self.assertTrue(all(3 <= pause <= 4.5 for pause in pauses), pauses)
        client.timeout = 1.0
        client.sequencer.Submit.side_effect = CallFailed()
        with self.assertRaises(assent_client.CallError):
            client.submit(signed)

    def test_what_is_tried_again(self) -> None:
        codes = assent_client.grpc.StatusCode
        for code, reason, again in (
            (codes.UNAVAILABLE, None, True),
            (codes.UNAVAILABLE, "STOPPING", True),
            (codes.RESOURCE_EXHAUSTED, "QUEUE_FULL", True),
            (codes.RESOURCE_EXHAUSTED, None, False),
            (codes.INVALID_ARGUMENT, "WRONG_CHAIN", False),
        ):
            self.assertEqual(assent_client.CallError(code, "", reason, None).may_succeed_later, again)


if __name__ == "__main__":
    unittest.main()
