"""Ids and how they are written ("Names" of docs/formats.md), and bech32m (BIP 350)."""

from __future__ import annotations

from .codec import FormatError, tagged_hash

ED25519 = 1  # the scheme number
DID_PREFIX = "did:assent:"
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
BECH32M = 0x2BC830A3


def transaction_id(body: bytes) -> bytes:
    return tagged_hash(0x10, body)


def account_id(public_key: bytes, scheme: int = ED25519) -> bytes:
    return tagged_hash(0x11, bytes([scheme]), public_key)


def key_id(public_key: bytes, scheme: int = ED25519) -> bytes:
    return tagged_hash(0x31, bytes([scheme]), public_key)


def revocation_code_hash(code: bytes) -> bytes:
    return tagged_hash(0x2C, code)


def write_did(account: bytes) -> str:
    return DID_PREFIX + bech32m_encode("acct", account)


def read_did(did: str) -> bytes:
    if not did.startswith(DID_PREFIX):
        raise FormatError(f"a DID that begins with {DID_PREFIX} expected, {did!r} found")
    return read_bech32m_hash("acct", did.removeprefix(DID_PREFIX))


def write_revocation_code(code: bytes) -> str:
    return bech32m_encode("revoke", code)


def read_revocation_code(code: str) -> bytes:
    return read_bech32m_hash("revoke", code)


def read_bech32m_hash(prefix: str, encoded: str) -> bytes:
    """32 bytes under the human-readable part given, in lower case only."""
    if encoded != encoded.lower():
        raise FormatError(f"lower case expected, {encoded!r} found")
    found, data = bech32m_decode(encoded)
    if found != prefix:
        raise FormatError(f"{prefix}1… expected, {found}1… found")
    if len(data) != 32:
        raise FormatError(f"32 bytes expected, {len(data)} found")
    return data


def polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check


def expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def regroup(values: list[int] | bytes, width: int, new_width: int) -> tuple[list[int], int, int]:
    """Cuts a string of bits into pieces of another width: the pieces, what is left over, its width."""
    bits, count, out = 0, 0, []
    for value in values:
        bits, count = bits << width | value, count + width
        while count >= new_width:
            count -= new_width
            out.append(bits >> count & (1 << new_width) - 1)
        bits &= (1 << count) - 1
    return out, bits, count


def bech32m_encode(prefix: str, data: bytes) -> str:
    values, rest, count = regroup(data, 8, 5)
    if count:
        values.append(rest << 5 - count)
    checksum = polymod(expand(prefix) + values + [0] * 6) ^ BECH32M
    values += [checksum >> 5 * (5 - i) & 31 for i in range(6)]
    return f"{prefix}1{''.join(CHARSET[value] for value in values)}"


def bech32m_values(encoded: str) -> tuple[str, list[int]]:
    """Prefix and 5-bit values without the checksum, which is compared."""
    if any(not 33 <= ord(c) <= 126 for c in encoded):
        raise FormatError("a character outside printable ASCII")
    if len(encoded) > 90:
        raise FormatError(f"at most 90 characters expected, {len(encoded)} found")
    if encoded.lower() != encoded and encoded.upper() != encoded:
        raise FormatError("upper and lower case are mixed")
    prefix, separator, data = encoded.lower().rpartition("1")
    if not separator or not prefix or len(data) < 6 or any(c not in CHARSET for c in data):
        raise FormatError(f"not bech32m: {encoded!r}")
    values = [CHARSET.index(c) for c in data]
    if polymod(expand(prefix) + values) != BECH32M:
        raise FormatError(f"the checksum of {encoded!r} does not hold: mistyped?")
    return prefix, values[:-6]


def bech32m_decode(encoded: str) -> tuple[str, bytes]:
    prefix, values = bech32m_values(encoded)
    data, rest, count = regroup(values, 5, 8)
    if count >= 5 or rest:
        raise FormatError(f"the padding of {encoded!r} is not zero")
    return prefix, bytes(data)
