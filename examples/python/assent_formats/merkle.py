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


def consistent_roots(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The roots of both sizes, 0 < old < new, by a path that begins with a complete subtree (RFC 9162 §2.1.4.2)."""
    if not path:
        raise FormatError("a path expected, none found")
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_root = new_root = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise FormatError(f"the path of {len(path)} hashes is longer than sizes {old} and {new} take")
        if first & 1 or first == last:
            old_root, new_root = node_hash(sibling, old_root), node_hash(sibling, new_root)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            new_root = node_hash(new_root, sibling)
        first, last = first >> 1, last >> 1
    if last:
        raise FormatError(f"the path of {len(path)} hashes is shorter than sizes {old} and {new} take")
    return old_root, new_root


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """That the tree of the old size is the beginning of the one of the new size."""
    if old > new:
        raise FormatError(f"an older size of at most {new} expected, {old} found")
    if old in (0, new):
        if path:
            raise FormatError(f"no path from size {old} to {new} expected, {len(path)} hashes found")
        if old_root != (new_root if old == new else sha256()):
            raise FormatError(f"size {old}: {old_root.hex()} is not its root")
        return
    if old & old - 1 == 0:
        path = (old_root, *path)
        if len(path) == 1:
            raise FormatError("a path expected, none found")
    found = consistent_roots(old, new, path)
    if found != (old_root, new_root):
        raise FormatError(
            f"roots {old_root.hex()} and {new_root.hex()} expected, {found[0].hex()} and {found[1].hex()} found"
        )


def full_path(hashes: Sequence[bytes], old: int) -> list[bytes]:
    """A consistency path from the first `old` leaves to all, that begins with a complete subtree."""
    if len(hashes) == old:
        if old & old - 1 == 0:
            return [root(hashes)]
        left = split(old)
        return [*full_path(hashes[left:], old - left), root(hashes[:left])]
    left = split(len(hashes))
    if old <= left:
        return [*full_path(hashes[:left], old), root(hashes[left:])]
    return [*full_path(hashes[left:], old - left), root(hashes[:left])]


def consistency_path(hashes: Sequence[bytes], old: int) -> list[bytes]:
    if old in (0, len(hashes)):
        return []
    path = full_path(hashes, old)
    return path[1:] if old & old - 1 == 0 else path


def root_from_range(leaves: Sequence[bytes], start: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root to which the hashes of consecutive leaves from `start` on and their range proof lead."""
    end = start + len(leaves)
    if not leaves or end > size:
        raise FormatError(f"at least one leaf, and none from index {size} on, expected; {start} to {end} found")
    others = iter(path)

    def over(low: int, high: int) -> bytes:
        if high <= start or low >= end:
            sibling = next(others, None)
            if sibling is None:
                raise FormatError(
                    f"the range proof of {len(path)} hashes is shorter than {start} to {end} of {size} takes"
                )
            return sibling
        if high - low == 1:
            return leaves[low - start]
        middle = low + split(high - low)
        left = over(low, middle)
        return node_hash(left, over(middle, high))

    found = over(0, size)
    if next(others, None) is not None:
        raise FormatError(f"the range proof of {len(path)} hashes is longer than {start} to {end} of {size} takes")
    return found


def range_proof(hashes: Sequence[bytes], start: int, end: int) -> list[bytes]:
    """The roots of the largest subtrees outside of a range, from left to right."""
    if end <= 0 or start >= len(hashes):
        return [root(hashes)]
    if len(hashes) == 1:
        return []
    left = split(len(hashes))
    return [*range_proof(hashes[:left], start, end), *range_proof(hashes[left:], start - left, end - left)]


class Range:
    """A tree that grows: the roots of its complete subtrees, largest first."""

    def __init__(self, size: int = 0, peaks: tuple[bytes, ...] = ()) -> None:
        self.size = size
        self.peaks = peaks

    def append(self, leaf: bytes) -> Range:
        peaks = [*self.peaks, leaf_hash(leaf)]
        size = self.size
        while size & 1:
            right = peaks.pop()
            peaks[-1] = node_hash(peaks[-1], right)
            size >>= 1
        return Range(self.size + 1, tuple(peaks))

    def root(self) -> bytes:
        if not self.peaks:
            return sha256()
        found = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            found = node_hash(peak, found)
        return found
