"""Files: a line that says what is inside, one layout, and a digest of all bytes before it."""

from __future__ import annotations

from typing import TypeVar

from .codec import FormatError, decode, encode, sha256

PROOF_MAGIC = b"assent-proof\n"
MAX_FILE_BYTES = 64 << 20
DIGEST_BYTES = 32

T = TypeVar("T")


def read_file(data: bytes, magic: bytes, cls: type[T]) -> tuple[T, bool]:
    """What a file holds, and whether its digest holds. The digest finds damage; it proves nothing."""
    if len(data) > MAX_FILE_BYTES:
        raise FormatError(f"a file of at most {MAX_FILE_BYTES} bytes expected, {len(data)} found")
    if not data.startswith(magic):
        raise FormatError(f"a file that begins with {magic!r} expected, {data[: len(magic)]!r} found")
    if len(data) < len(magic) + DIGEST_BYTES:
        raise FormatError("the file is cut off")
    content, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    return decode(cls, content[len(magic) :]), sha256(content) == digest


def write_file(value: object, magic: bytes) -> bytes:
    content = magic + encode(value)
    return content + sha256(content)
