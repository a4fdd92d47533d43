"""Merkle trees of RFC 6962 §2.1, over leaves that are given by their hashes."""

from __future__ import annotations

from collections.abc import Sequence

from .codec import FormatError, sha256


def leaf_hash(leaf: bytes) -> bytes:
    return sha256(b"\0", leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1", left, right)


def split(size: int) -> int:
    """The largest power of two that is smaller than the size: the leaves of the left subtree."""
    return 1 << (size - 1).bit_length() - 1


def root(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return sha256()
    if len(hashes) == 1:
        return hashes[0]
    left = split(len(hashes))
    return node_hash(root(hashes[:left]), root(hashes[left:]))


def root_of(leaves: Sequence[bytes]) -> bytes:
    return root([leaf_hash(leaf) for leaf in leaves])


def inclusion_path(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The path from a leaf to the root, from the bottom up."""
    if len(hashes) == 1:
        return []
    left = split(len(hashes))
    if index < left:
        return [*inclusion_path(hashes[:left], index), root(hashes[left:])]
    return [*inclusion_path(hashes[left:], index - left), root(hashes[:left])]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root to which a leaf's hash and its path lead (RFC 9162 §2.1.3.2)."""
    if index >= size:
        raise FormatError(f"an index below the size {size} expected, {index} found")
    node, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise FormatError(f"the path of {len(path)} hashes is longer than index {index} of {size} takes")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise FormatError(f"the path of {len(path)} hashes is shorter than index {index} of {size} takes")
    return found
