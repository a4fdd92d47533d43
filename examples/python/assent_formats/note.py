"""Checkpoints: C2SP signed notes with a text of three lines ("Checkpoint" of docs/formats.md)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from . import ed25519
from .codec import U64_MAX, FormatError, sha256

MAX_BYTES = 16_384
MAX_SIGNATURES = 64
MAX_NAME_BYTES = 128
# The kinds of keys, in their hashes.
SIGNATURE, COSIGNATURE = 1, 4
SIGNATURE_LINE = re.compile(r"— (?P<name>[^\s+]+) (?P<signature>\S+)")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
NOT_IN_NAMES = re.compile(r"[\s+\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Validator:
    """Who executes the batches again, and cosigns checkpoints under a name."""

    name: str
    public_key: bytes

    @property
    def key_hash(self) -> bytes:
        return key_hash(self.name, self.public_key, COSIGNATURE)

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([COSIGNATURE]) + self.public_key).decode()
        return f"{self.name}+{self.key_hash.hex()}+{encoded}"


def read_validator(text: str) -> Validator:
    """A validator's key as it is written: name, key hash and key, in their one spelling."""
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES or NOT_IN_NAMES.search(name):
        raise FormatError(f"a name of 1 to {MAX_NAME_BYTES} bytes without white space expected, {name!r} found")
    key = unbase64(encoded)
    if len(key) != 33 or key[0] != COSIGNATURE:
        raise FormatError("the base64 of 04 and a public key of 32 bytes expected")
    validator = Validator(name, key[1:])
    if str(validator) != text:
        raise FormatError(f"{validator} expected, {text!r} found")
    return validator


@dataclass(frozen=True)
class Checkpoint:
    chain_id: bytes
    size: int
    root: bytes
    cosigned_by: frozenset[Validator] = frozenset()  # of those who were named

    @property
    def origin(self) -> str:
        return origin(self.chain_id)

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def origin(chain_id: bytes) -> str:
    return f"assent/{chain_id.hex()}"


def key_hash(name: str, public_key: bytes, kind: int = SIGNATURE) -> bytes:
    return sha256(name.encode(), b"\n", bytes([kind]), public_key)[:4]


def signature_line(name: str, public_key: bytes, signature: bytes) -> str:
    return f"— {name} {base64.b64encode(key_hash(name, public_key) + signature).decode()}\n"


def cosigned_message(text: str, time: int) -> bytes:
    """What a validator signs: the time, in seconds, and the note's text."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosignature_line(validator: Validator, time: int, signature: bytes) -> str:
    data = validator.key_hash + time.to_bytes(8, "big") + signature
    return f"— {validator.name} {base64.b64encode(data).decode()}\n"


def check_cosignature(validator: Validator, text: str, data: bytes) -> None:
    """`data` is what follows the key hash: time and signature."""
    time, signature = int.from_bytes(data[:8], "big"), data[8:]
    if not ed25519.verify(validator.public_key, cosigned_message(text, time), signature):
        raise FormatError(f"the cosignature of {validator.name} does not verify")


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


def open_checkpoint(note: str, chain_id: bytes, public_key: bytes, validators: Iterable[Validator] = ()) -> Checkpoint:
    """The checkpoint of a note, which has to be signed by the key under the chain's name.

    Cosignatures of the validators have to verify where they are there; those of others are not looked at.
    """
    named = {(validator.name, validator.key_hash): validator for validator in validators}
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
    signed, cosigned = False, set()
    for line in lines:
        match = SIGNATURE_LINE.fullmatch(line)
        if not match:
            raise FormatError(f"a signature line expected, {line!r} found")
        data = unbase64(match["signature"])
        if len(data) < 5:
            raise FormatError(f"a key hash and a signature expected, {len(data)} bytes found")
        validator = named.get((match["name"], data[:4]))
        if validator is not None:
            check_cosignature(validator, checkpoint.text, data[4:])
            cosigned.add(validator)
        if match["name"] != checkpoint.origin or data[:4] != key_hash(checkpoint.origin, public_key):
            continue
        if not ed25519.verify(public_key, checkpoint.text.encode(), data[4:]):
            raise FormatError("the prover's signature does not verify")
        signed = True
    if not signed:
        raise FormatError("no signature by the prover's key")
    return replace(checkpoint, cosigned_by=frozenset(cosigned))
