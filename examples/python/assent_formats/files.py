"""Files: a line that says what is inside, one layout, and a digest of all bytes before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .codec import FormatError, decode, encode, sha256
from .layouts import (
    Bundle,
    ConsentFile,
    Consistency,
    DecisionFile,
    Evidence,
    ExportedBatches,
    HistoryFile,
    ReceiptFile,
)

DIGEST_BYTES = 32
PROOF_MAGIC = b"assent-proof\n"
DECISION_MAGIC = b"assent-decision\n"
CONSENT_MAGIC = b"assent-consent\n"
HISTORY_MAGIC = b"assent-history\n"
EVIDENCE_MAGIC = b"assent-evidence\n"
BATCHES_MAGIC = b"assent-batches\n"
CONSISTENCY_MAGIC = b"assent-consistency\n"
RECEIPT_MAGIC = b"assent-receipt\n"


@dataclass(frozen=True)
class FileKind:
    magic: bytes
    layout: Any
    max_bytes: int


KINDS = (
    FileKind(PROOF_MAGIC, Bundle, 64 << 20),
    FileKind(DECISION_MAGIC, DecisionFile, 8 << 20),
    FileKind(CONSENT_MAGIC, ConsentFile, 512 << 10),
    FileKind(HISTORY_MAGIC, HistoryFile, 512 << 20),
    FileKind(EVIDENCE_MAGIC, Evidence, 1 << 30),
    FileKind(BATCHES_MAGIC, ExportedBatches, 113 << 20),
    FileKind(CONSISTENCY_MAGIC, Consistency, 64 << 10),
    FileKind(RECEIPT_MAGIC, ReceiptFile, 64 << 10),
)
MAX_PROOF_BYTES = KINDS[0].max_bytes
LONGEST_MAGIC = max(len(kind.magic) for kind in KINDS)


def kind_of(start: bytes) -> FileKind:
    """The kind of file that begins so."""
    for kind in KINDS:
        if start.startswith(kind.magic):
            return kind
    names = ", ".join(kind.magic.decode().strip() for kind in KINDS)
    raise FormatError(f"a file that begins with one of {names} expected, {start[:LONGEST_MAGIC]!r} found")


def read_file(data: bytes) -> tuple[Any, bool]:
    """What a file holds, and whether its digest holds. The digest finds damage; it proves nothing."""
    kind = kind_of(data)
    if len(data) > kind.max_bytes:
        raise FormatError(f"a file of at most {kind.max_bytes} bytes expected, {len(data)} found")
    if len(data) < len(kind.magic) + DIGEST_BYTES:
        raise FormatError("the file is cut off")
    content, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    return decode(kind.layout, content[len(kind.magic) :]), sha256(content) == digest


def write_file(value: object, magic: bytes) -> bytes:
    content = magic + encode(value)
    return content + sha256(content)
