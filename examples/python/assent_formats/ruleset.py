"""Ruleset 1: its code systems, from the files in crates/assent-core/ruleset/v1 ("0x1e Ruleset" of docs/formats.md).

Only executing batches again needs them; a bundle is verified without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from .codec import FormatError, sha256, tagged_hash

NUMBER = 1
HASH = bytes.fromhex("4087a587ce15f419716986f19f32e56a78aecd242edee5715cbf2e6bf4ab16a0")
FILES = ("purpose-of-use.tsv", "sensitivity.tsv", "confidentiality.tsv")
FOLDER = os.path.join(os.path.dirname(__file__), "..", "..", "..", "crates", "assent-core", "ruleset", "v1")
RESOURCE_TYPES = "http://hl7.org/fhir/resource-types"


@dataclass(frozen=True)
class Hierarchy:
    """A code system; each code with all that subsume it, itself included."""

    system: str
    above: Mapping[str, frozenset[str]]

    def subsumes(self, upper: str, lower: str) -> bool:
        return upper == lower or upper in self.above.get(lower, ())


@dataclass(frozen=True)
class Ruleset:
    purposes: Hierarchy
    sensitivity: Hierarchy
    confidentiality: Hierarchy

    def subsumes(self, system: str, upper: str, lower: str) -> bool:
        for hierarchy in (self.purposes, self.sensitivity, self.confidentiality):
            if hierarchy.system == system:
                return hierarchy.subsumes(upper, lower)
        return upper == lower

    def knows_purpose(self, code: str) -> bool:
        return code in self.purposes.above

    def knows_label(self, system: str, code: str) -> bool:
        return all(h.system != system or code in h.above for h in (self.sensitivity, self.confidentiality))


def read_hierarchy(data: bytes) -> Hierarchy:
    lines = data.decode().splitlines()
    parents = {}
    for line in lines:
        if line and not line.startswith("#"):
            code, *above = line.split("\t")
            parents[code] = above

    def all_above(code: str) -> frozenset[str]:
        return frozenset([code]).union(*(all_above(parent) for parent in parents[code]))

    return Hierarchy(lines[0].removeprefix("# "), {code: all_above(code) for code in parents})


@cache
def load(folder: str = FOLDER) -> Ruleset:
    """The ruleset, if its files are those whose hash is known."""
    parts, hierarchies = b"", []
    for name in FILES:
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        hierarchies.append(read_hierarchy(data))
        system = hierarchies[-1].system.encode()
        parts += bytes([len(system)]) + system + sha256(data)
    found = tagged_hash(0x1E, NUMBER.to_bytes(4, "big"), len(FILES).to_bytes(2, "big"), parts)
    if found != HASH:
        raise FormatError(f"{folder}: the ruleset {HASH.hex()} expected, {found.hex()} found")
    return Ruleset(*hierarchies)
