#!/usr/bin/env python3
"""Executes exported batches again (assent batches export DIR), and compares everything with what was signed.

Exits with 0 if all is as it has to be, 1 if it cannot be told, and 5 if the sequencer or the prover broke its word.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assent_formats import merkle, note
from assent_formats.checks import CheckError, Pins, ReadError, check_manifest
from assent_formats.codec import FormatError, decode
from assent_formats.execution import Ledger, hold_together
from assent_formats.files import read_file
from assent_formats.layouts import Batch, ExportedBatches
from assent_verify import hash_argument, read_proof, shown

OK, FAILED, CONTRADICTED = 0, 1, 5


class ReplayError(Exception):
    """The export is not such that anybody can be accused by it."""


class Contradiction(Exception):
    """What was signed is not what the log records give."""


@dataclass(frozen=True)
class Compared:
    """A checkpoint, and whether enough batches were there to compare it."""

    size: int
    with_history: bool

    def __str__(self) -> str:
        compared = "with the same root" if self.with_history else "more than are here: NOT compared"
        return f"over {self.size} batches, {compared}"


@dataclass(frozen=True)
class Replayed:
    """What was compared."""

    chain_id: bytes
    batches: int
    entries: int
    checkpoint: Compared | None
    root: bytes


def exported(folder: str, manifest: bytes) -> Iterator[Batch]:
    """The batches of an export, in order from 0 on."""
    number = 0
    for name in sorted(os.listdir(folder)):
        match = re.fullmatch(r"batches-([0-9]{12})\.assent", name)
        if not match:
            continue
        content, digest_holds = read_file(read_proof(os.path.join(folder, name)))
        if not isinstance(content, ExportedBatches) or not digest_holds:
            raise ReplayError(f"{name}: damaged, or no exported batches")
        if content.manifest != manifest:
            raise ReplayError(f"{name}: of another ledger")
        if content.first != number or int(match[1]) != number:
            raise ReplayError(f"{name}: batch {number} expected, {content.first} found")
        for data in content.batches:
            yield decode(Batch, data)
            number += 1


def replay(folder: str, chain_id: bytes | None = None) -> Replayed:
    with open(os.path.join(folder, "manifest.bin"), "rb") as file:
        manifest_bytes = file.read(1_025)
    manifest, found_chain = check_manifest(manifest_bytes, Pins(chain_id))
    ledger = Ledger(manifest, found_chain)
    for number, batch in enumerate(exported(folder, manifest_bytes)):
        header = hold_together(batch, manifest, found_chain)
        if header.number != number:
            raise ReplayError(f"batch {number} expected, {header.number} found")
        try:
            ledger.follow(batch)
        except FormatError as error:
            raise Contradiction(f"the sequencer signed batch {number}, which does not follow: {error}") from error
    compared = compare_checkpoint(os.path.join(folder, "checkpoint"), ledger)
    root = merkle.root_of(ledger.history)
    return Replayed(found_chain, len(ledger.headers), ledger.sequence, compared, root)


def compare_checkpoint(path: str, ledger: Ledger) -> Compared | None:
    """The checkpoint of the export, if there is one: its root has to be that of the history."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        text = file.read(note.MAX_BYTES + 1)
    checkpoint = note.open_checkpoint(text, ledger.chain_id, ledger.manifest.prover_key)
    if checkpoint.size > len(ledger.history):
        return Compared(checkpoint.size, False)
    root = merkle.root_of(ledger.history[: checkpoint.size])
    if root != checkpoint.root:
        raise Contradiction(
            f"the prover signed {checkpoint.root.hex()} over {checkpoint.size} batches, whose root is {root.hex()}"
        )
    return Compared(checkpoint.size, True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="folder of an export")
    parser.add_argument("--chain", metavar="ID", type=hash_argument, help="chain id, from a source that you trust")
    given = parser.parse_args(arguments)
    try:
        found = replay(given.folder, given.chain)
    except Contradiction as error:
        print(f"CONTRADICTED: {shown(error)}")
        return CONTRADICTED
    except CheckError as error:
        print(f"FAILED at check {error.name}: {shown(error)}", file=sys.stderr)
        return FAILED
    except (ReplayError, ReadError, FormatError, OSError, UnicodeDecodeError) as error:
        print(f"FAILED: {shown(error)}", file=sys.stderr)
        return FAILED
    print(f"ledger      {found.chain_id.hex()}{'' if given.chain else ' (NOT pinned: give --chain)'}")
    print(f"executed    {found.batches} batches, {found.entries} entries: all as they were signed")
    print(f"checkpoint  {found.checkpoint or 'none to compare'}")
    print(f"history     {found.root.hex()}")
    return OK


if __name__ == "__main__":
    sys.exit(main())
