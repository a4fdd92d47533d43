"""Checkpoints: C2SP signed notes with a text of three lines ("Checkpoint" of docs/formats.md)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from . import ed25519
from .codec import U64_MAX, FormatError, sha256

MAX_BYTES = 16_384
MAX_SIGNATURES = 64
SIGNATURE_LINE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>\S+)")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Checkpoint:
    chain_id: bytes
    size: int
    root: bytes

    @property
    def origin(self) -> str:
        return origin(self.chain_id)

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def origin(chain_id: bytes) -> str:
    return f"assent/{chain_id.hex()}"


def key_hash(name: str, public_key: bytes) -> bytes:
    return sha256(name.encode(), b"\n\x01", public_key)[:4]


def signature_line(name: str, public_key: bytes, signature: bytes) -> str:
    return f"— {name} {base64.b64encode(key_hash(name, public_key) + signature).decode()}\n"


def unbase64(encoded: str) -> bytes:
    """Standard base64 with padding, in its one encoding."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise FormatError(f"base64 expected, {encoded!r} found: {error}") from error
    if base64.b64encode(data).decode() != encoded:
        raise FormatError(f"base64 in its one encoding expected, {encoded!r} found")
    return data


def read_text(text: str, chain_id: bytes) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise FormatError(f"a text of 3 lines expected, {len(lines) - 1} found")
    if lines[0] != origin(chain_id):
        raise FormatError(f"the origin {origin(chain_id)} expected, {lines[0]!r} found")
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", lines[1]) or int(lines[1]) > U64_MAX:
        raise FormatError(f"a size in decimal expected, {lines[1]!r} found")
    root = unbase64(lines[2])
    if len(root) != 32:
        raise FormatError(f"a root of 32 bytes expected, {len(root)} found")
    return Checkpoint(chain_id, int(lines[1]), root)


def open_checkpoint(note: str, chain_id: bytes, public_key: bytes) -> Checkpoint:
    """The checkpoint of a note, which has to be signed by the key under the chain's name."""
    if len(note.encode()) > MAX_BYTES:
        raise FormatError(f"a note of at most {MAX_BYTES} bytes expected, {len(note.encode())} found")
    if CONTROL.search(note):
        raise FormatError("a note without control characters expected")
    # C2SP: the last empty line separates the text from the signatures.
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise FormatError("a text, an empty line and signature lines expected")
    checkpoint = read_text(text + "\n", chain_id)
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"at most {MAX_SIGNATURES} signature lines expected, {len(lines)} found")
    signed = False
    for line in lines:
        match = SIGNATURE_LINE.fullmatch(line)
        if not match:
            raise FormatError(f"a signature line expected, {line!r} found")
        data = unbase64(match["signature"])
        if len(data) < 5:
            raise FormatError(f"a key hash and a signature expected, {len(data)} bytes found")
        if match["name"] != checkpoint.origin or data[:4] != key_hash(checkpoint.origin, public_key):
            continue
        if not ed25519.verify(public_key, checkpoint.text.encode(), data[4:]):
            raise FormatError("the prover's signature does not verify")
        signed = True
    if not signed:
        raise FormatError("no signature by the prover's key")
    return checkpoint
