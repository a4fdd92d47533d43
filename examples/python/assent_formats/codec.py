"""Strict reading and writing of the binary layouts ("Conventions" of docs/formats.md).

A layout is a frozen dataclass whose fields are annotated with how they are encoded, in the order of the
table that describes it:

    @layout(0x1b)
    @dataclass(frozen=True)
    class EffectLeaf:
        key_hash: Hash
        value_hash: Hash

`decode(EffectLeaf, data)` reads one and refuses everything but its one encoding; `encode(leaf)` writes it.
A dataclass may have a method `check` for rules that span its fields.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_type_hints

VERSION = 1
U64_MAX = 2**64 - 1

T = TypeVar("T")


class FormatError(ValueError):
    """The bytes are not an encoding of what was to be read."""


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def tagged_hash(type_byte: int, *parts: bytes) -> bytes:
    """SHA-256 over a type byte, the version byte and what follows."""
    return sha256(bytes([type_byte, VERSION]), *parts)


class Reader:
    """Takes bytes from the front, and never more than there are."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        left = len(self.data) - self.position
        if count > left:
            raise FormatError(f"cut off: {count} bytes expected at byte {self.position}, {left} found")
        start = self.position
        self.position += count
        return self.data[start : self.position]

    def uint(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def end(self) -> None:
        surplus = len(self.data) - self.position
        if surplus:
            raise FormatError(f"{surplus} surplus bytes at byte {self.position}")


@dataclasses.dataclass(frozen=True)
class Codec:
    """How a value is read from a `Reader`, and written."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]


def uint(size: int, least: int = 0, most: int | None = None) -> Codec:
    """An unsigned integer; the bounds are for numbers of which only some have a meaning."""
    greatest = 256**size - 1 if most is None else most

    def read(reader: Reader) -> int:
        value = reader.uint(size)
        if not least <= value <= greatest:
            raise FormatError(f"a number from {least} to {greatest} expected, {value} found")
        return value

    return Codec(read, lambda value: value.to_bytes(size, "big"))


def fixed(size: int) -> Codec:
    return Codec(lambda reader: reader.take(size), lambda value: value)


def sized(length: int, limit: int) -> Codec:
    """Bytes behind a length of `length` bytes."""

    def read(reader: Reader) -> bytes:
        size = reader.uint(length)
        if size > limit:
            raise FormatError(f"at most {limit} bytes expected, {size} announced")
        return reader.take(size)

    return Codec(read, lambda value: len(value).to_bytes(length, "big") + value)


def short(limit: int = 255) -> Codec:
    return sized(1, limit)


def long(limit: int) -> Codec:
    return sized(4, limit)


def text(inner: Codec) -> Codec:
    def read(reader: Reader) -> str:
        try:
            return inner.read(reader).decode()
        except UnicodeDecodeError as error:
            raise FormatError(f"UTF-8 expected: {error.reason}") from error

    return Codec(read, lambda value: inner.write(value.encode()))


def list_of(element: Any, limit: int, count: Codec = uint(2)) -> Codec:
    def read(reader: Reader) -> tuple[Any, ...]:
        found = count.read(reader)
        if found > limit:
            raise FormatError(f"a list of at most {limit} expected, {found} announced")
        return tuple(inner.read(reader) for _ in range(found))

    def write(values: tuple[Any, ...]) -> bytes:
        return count.write(len(values)) + b"".join(map(inner.write, values))

    inner = codec_of(element)
    return Codec(read, write)


def option_of(element: Any) -> Codec:
    def read(reader: Reader) -> Any:
        flag = reader.uint(1)
        if flag > 1:
            raise FormatError(f"a flag of 0 or 1 expected, {flag} found")
        return inner.read(reader) if flag else None

    inner = codec_of(element)
    return Codec(read, lambda value: b"\0" if value is None else b"\1" + inner.write(value))


def codec_of(annotation: Any) -> Codec:
    """The codec of a field: one given by itself, by `Annotated`, or that of a dataclass without type byte."""
    if isinstance(annotation, Codec):
        return annotation
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Codec):
            return extra
    if dataclasses.is_dataclass(annotation):
        return structure(annotation)
    raise TypeError(f"{annotation} has no codec")


def structure(cls: Any) -> Codec:
    """The fields of a dataclass, one after another."""
    hints = get_type_hints(cls, include_extras=True)
    fields = [(field.name, codec_of(hints[field.name])) for field in dataclasses.fields(cls)]

    def read(reader: Reader) -> Any:
        value = cls(**{name: codec.read(reader) for name, codec in fields})
        if hasattr(value, "check"):
            value.check()
        return value

    return Codec(read, lambda value: b"".join(codec.write(getattr(value, name)) for name, codec in fields))


def layout(type_byte: int) -> Callable[[type[T]], type[T]]:
    """Makes a dataclass a layout: the type byte and the version byte, then its fields."""

    def decorate(cls: type[T]) -> type[T]:
        fields = structure(cls)
        start = bytes([type_byte, VERSION])

        def read(reader: Reader) -> T:
            found = reader.take(2)
            if found != start:
                raise FormatError(f"layout {start.hex()} (type and version) expected, {found.hex()} found")
            return fields.read(reader)

        cls.layout = Codec(read, lambda value: start + fields.write(value))  # type: ignore[attr-defined]
        return cls

    return decorate


def read_all(codec: Codec, data: bytes) -> Any:
    reader = Reader(data)
    value = codec.read(reader)
    reader.end()
    return value


def decode(cls: type[T], data: bytes) -> T:
    return read_all(cls.layout, data)  # type: ignore[attr-defined]


def encode(value: Any) -> bytes:
    return value.layout.write(value)


def layout_hash(value: Any) -> bytes:
    """SHA-256 of the encoded bytes of a layout."""
    return sha256(encode(value))


U8 = Annotated[int, uint(1)]
U16 = Annotated[int, uint(2)]
U32 = Annotated[int, uint(4)]
U64 = Annotated[int, uint(8)]
Hash = Annotated[bytes, fixed(32)]
Key = Annotated[bytes, fixed(32)]
Signature = Annotated[bytes, fixed(64)]
