"""The state tree: a sparse binary Merkle tree of key hashes and value hashes ("The state tree" of docs/formats.md).

A subtree with keys on one side only has a hash of its own, but here no node: `lift` adds those hashes to what
hangs below. So a tree of n keys has n leaves and n - 1 branches, and an update makes those above it anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .codec import FormatError, sha256
from .layouts import AnotherKey, NothingThere, Present

EMPTY = bytes(32)
LEAF_DEPTH = 48  # the least depth of a leaf
KEY_BITS = 256


def bit(key_hash: bytes, depth: int) -> int:
    return key_hash[depth // 8] >> 7 - depth % 8 & 1


def first_difference(a: bytes, b: bytes) -> int:
    """How many bits two key hashes share."""
    return KEY_BITS - (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


def leaf_hash(key_hash: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\2", key_hash, value_hash)


def parent_hash(side: int, own: bytes | None, sibling: bytes | None) -> bytes | None:
    """The hash over an own side and a sibling, either of which may be empty."""
    if own is None and sibling is None:
        return None
    if own is None or sibling is None:
        return sha256(b"\4", bytes([side if sibling is None else 1 - side]), own or sibling or b"")
    return sha256(b"\3", *((sibling, own) if side else (own, sibling)))


def lift(found: bytes, key_hash: bytes, depth: int, to: int) -> bytes:
    """The hash at depth `to` of what is alone from there down to `depth`."""
    for level in range(depth - 1, to - 1, -1):
        found = sha256(b"\4", bytes([bit(key_hash, level)]), found)
    return found


@dataclass(frozen=True)
class Leaf:
    key_hash: bytes
    value_hash: bytes

    def hash_at(self, depth: int) -> bytes:
        return lift(leaf_hash(self.key_hash, self.value_hash), self.key_hash, max(depth, LEAF_DEPTH), depth)


@dataclass(frozen=True)
class Branch:
    """Where the ways of keys part."""

    depth: int
    key_hash: bytes  # one of those below: all share their first bits
    sides: tuple[Node, Node]

    @cached_property
    def hash(self) -> bytes:
        left, right = (side.hash_at(self.depth + 1) for side in self.sides)
        return sha256(b"\3", left, right)

    def hash_at(self, depth: int) -> bytes:
        return lift(self.hash, self.key_hash, self.depth, depth)


Node = Leaf | Branch


def branch(depth: int, key_hash: bytes, own: Node, other: Node) -> Branch:
    return Branch(depth, key_hash, (other, own) if bit(key_hash, depth) else (own, other))


def inserted(node: Node | None, leaf: Leaf) -> Node:
    if node is None:
        return leaf
    shared = first_difference(node.key_hash, leaf.key_hash)
    if isinstance(node, Branch) and shared >= node.depth:
        side = bit(leaf.key_hash, node.depth)
        return branch(node.depth, leaf.key_hash, inserted(node.sides[side], leaf), node.sides[1 - side])
    return leaf if shared == KEY_BITS else branch(shared, leaf.key_hash, leaf, node)


@dataclass(frozen=True)
class StateTree:
    """A tree that grows; each update gives another one."""

    top: Node | None = None

    def put(self, key_hash: bytes, value_hash: bytes) -> StateTree:
        return StateTree(inserted(self.top, Leaf(key_hash, value_hash)))

    def root(self) -> bytes:
        return EMPTY if self.top is None else self.top.hash_at(0)

    def way(self, key_hash: bytes) -> tuple[tuple[bytes | None, ...], Leaf | None]:
        """The siblings on the way to a key, and the leaf at its end: the key's, another's, or none."""
        siblings: list[bytes | None] = []
        node = self.top
        while node is not None:
            depth = node.depth if isinstance(node, Branch) else max(LEAF_DEPTH, len(siblings))
            shared = first_difference(node.key_hash, key_hash)
            if shared < depth:  # the way ends beside what is there
                siblings += [None] * (shared - len(siblings))
                return (*siblings, node.hash_at(shared + 1)), None
            siblings += [None] * (depth - len(siblings))
            if isinstance(node, Leaf):
                break
            side = bit(key_hash, depth)
            siblings.append(node.sides[1 - side].hash_at(depth + 1))
            node = node.sides[side]
        return tuple(siblings), node


def root_from_way(
    key_hash: bytes, siblings: Sequence[bytes | None], terminal: Present | NothingThere | AnotherKey, value_hash: bytes
) -> bytes:
    """The root to which the way to a key leads; `value_hash` is the key's, where it is present."""
    depth = len(siblings)
    ends_in_leaf = not isinstance(terminal, NothingThere)
    if ends_in_leaf and depth < LEAF_DEPTH:
        raise FormatError(f"a leaf at a depth of at least {LEAF_DEPTH} expected, at {depth} found")
    if depth > (LEAF_DEPTH if ends_in_leaf else 0) and siblings[-1] is None:
        raise FormatError(f"a way that ends beside another one expected, of {depth} steps found")
    own: bytes | None
    match terminal:
        case Present():
            own = leaf_hash(key_hash, value_hash)
        case AnotherKey(key_hash=other):
            shared = first_difference(other, key_hash)
            if shared == KEY_BITS or shared < depth:
                raise FormatError(f"another key that shares {depth} bits expected, one that shares {shared} found")
            own = leaf_hash(other, terminal.value_hash)
        case _:
            own = None
    for level in range(depth - 1, -1, -1):
        own = parent_hash(bit(key_hash, level), own, siblings[level])
    return EMPTY if own is None else own
