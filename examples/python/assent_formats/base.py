"""The base chain: transactions, anchors, headers, proof of work and paths in blocks (Bitcoin's serialization).

Hashes are in the order in which they are hashed; `shown` turns them into what Bitcoin Core prints.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .codec import FormatError, Reader, sha256

HEADER_BYTES = 80
PAYLOAD_MAGIC = b"ASNT"
PAYLOAD_VERSION = 1
PAYLOAD_BYTES = 49
OP_RETURN = 0x6A
MAX_BLOCK_PATH = 32


def double_sha256(*parts: bytes) -> bytes:
    return sha256(sha256(*parts))


def shown(base_hash: bytes) -> str:
    return base_hash[::-1].hex()


def from_shown(text: str) -> bytes:
    return bytes.fromhex(text)[::-1]


@dataclass(frozen=True)
class Network:
    genesis_hash: bytes
    easiest_bits: int
    only_bits: bool = False  # no block has other bits than the easiest


NETWORKS = {
    name: Network(from_shown(genesis_hash), easiest_bits, only_bits=name == "regtest")
    for name, genesis_hash, easiest_bits in (
        ("main", "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", 0x1D00FFFF),
        ("test", "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943", 0x1D00FFFF),
        ("testnet4", "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043", 0x1D00FFFF),
        ("signet", "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6", 0x1E0377AE),
        ("regtest", "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", 0x207FFFFF),
    )
}


@dataclass(frozen=True)
class OutPoint:
    txid: bytes
    vout: int

    def __str__(self) -> str:
        return f"{shown(self.txid)}:{self.vout}"


@dataclass(frozen=True)
class Transaction:
    txid: bytes
    inputs: tuple[OutPoint, ...]
    scripts: tuple[bytes, ...]  # of the outputs


def compact_size(reader: Reader) -> int:
    first = reader.uint(1)
    if first < 0xFD:
        return first
    size = {0xFD: 2, 0xFE: 4, 0xFF: 8}[first]
    value = int.from_bytes(reader.take(size), "little")
    if value < (0xFD if size == 2 else 1 << 4 * size):
        raise FormatError(f"a length in its shortest form expected, {value} in {size} bytes found")
    return value


def read_transaction(data: bytes) -> Transaction:
    """A transaction in its one encoding without witnesses."""
    reader = Reader(data)
    reader.take(4)  # version
    inputs = []
    for _ in range(compact_size(reader)):
        txid, vout = reader.take(32), int.from_bytes(reader.take(4), "little")
        inputs.append(OutPoint(txid, vout))
        reader.take(compact_size(reader))  # script
        reader.take(4)  # sequence number
    scripts = []
    for _ in range(compact_size(reader)):
        reader.take(8)  # amount
        scripts.append(reader.take(compact_size(reader)))
    reader.take(4)  # lock time
    reader.end()
    if not inputs:
        # Without inputs the encoding could be taken for one with witnesses.
        raise FormatError("a transaction with inputs expected")
    return Transaction(double_sha256(data), tuple(inputs), tuple(scripts))


@dataclass(frozen=True)
class Anchor:
    """A transaction on the chain of seals, and its payload."""

    transaction: Transaction
    tag: bytes
    size: int
    root: bytes

    @property
    def next_seal(self) -> OutPoint:
        return OutPoint(self.transaction.txid, 0)


def anchor_payload(chain_id: bytes, size: int, root: bytes) -> bytes:
    return struct.pack(">4sB4sQ32s", PAYLOAD_MAGIC, PAYLOAD_VERSION, chain_id[:4], size, root)


def read_anchor(data: bytes) -> Anchor:
    transaction = read_transaction(data)
    if len(transaction.scripts) < 2:
        raise FormatError(f"at least 2 outputs expected, {len(transaction.scripts)} found")
    script = transaction.scripts[1]
    if script[:2] != bytes([OP_RETURN, PAYLOAD_BYTES]) or len(script) != 2 + PAYLOAD_BYTES:
        raise FormatError(f"output 1: OP_RETURN and a push of {PAYLOAD_BYTES} bytes expected, {script.hex()} found")
    magic, version, tag, size, root = struct.unpack(">4sB4sQ32s", script[2:])
    if magic != PAYLOAD_MAGIC or version != PAYLOAD_VERSION:
        raise FormatError(f"a payload ASNT of version 1 expected, {script[2:7].hex()} found")
    return Anchor(transaction, tag, size, root)


@dataclass(frozen=True)
class Header:
    hash: bytes
    previous: bytes
    merkle_root: bytes
    time: int  # seconds
    bits: int

    @property
    def target(self) -> int:
        return target(self.bits)

    @property
    def work(self) -> int:
        return 2**256 // (self.target + 1)


def read_header(data: bytes) -> Header:
    _version, previous, root, time, bits, _nonce = struct.unpack("<I32s32sIII", data)
    return Header(double_sha256(data), previous, root, time, bits)


def target(bits: int) -> int:
    """The target of Bitcoin's compact form; 0, which no hash meets, where it is negative or too large."""
    exponent, mantissa = bits >> 24, bits & 0x7FFFFF
    value = mantissa << 8 * (exponent - 3) if exponent > 3 else mantissa >> 8 * (3 - exponent)
    negative = bits & 0x800000
    return 0 if negative or value >= 1 << 256 else value


def check_headers(headers: Sequence[Header], network: Network) -> None:
    """That the headers are linked, and each has the work that it names."""
    easiest = target(network.easiest_bits)
    for number, header in enumerate(headers):
        if number and header.previous != headers[number - 1].hash:
            raise FormatError(
                f"header {number}: previous block {shown(headers[number - 1].hash)} expected, "
                f"{shown(header.previous)} found"
            )
        if header.target > easiest:
            raise FormatError(f"header {number}: bits {header.bits:08x} are easier than the network allows")
        if network.only_bits and header.bits != network.easiest_bits:
            raise FormatError(f"header {number}: bits {network.easiest_bits:08x} expected, {header.bits:08x} found")
        if int.from_bytes(header.hash, "little") > header.target:
            raise FormatError(f"header {number}: {shown(header.hash)} is above the target of bits {header.bits:08x}")


def is_transaction(data: bytes) -> bool:
    try:
        read_transaction(data)
    except FormatError:
        return False
    return True


def root_from_block_path(txid: bytes, index: int, path: Sequence[bytes]) -> bytes:
    """The Merkle root to which a transaction's path in its block leads."""
    if len(path) > MAX_BLOCK_PATH:
        raise FormatError(f"a path of at most {MAX_BLOCK_PATH} hashes expected, {len(path)} found")
    if index >> len(path):
        raise FormatError(f"an index of at most {len(path)} bits expected, {index} found")
    found = txid
    for level, sibling in enumerate(path):
        pair = sibling + found if index >> level & 1 else found + sibling
        if is_transaction(pair):
            # A node that is a transaction as well could prove one that is in no block (CVE-2017-12842).
            raise FormatError(f"two hashes at level {level} are a transaction")
        found = double_sha256(pair)
    return found
