#!/usr/bin/env python3
"""Runs the verifier over a folder of proof files and compares with what its index.json expects.

The index is a list of {"file": name, "chain": hex or null, "base_block": hex or null (as Bitcoin Core prints
it), "least_work": hex or null, "validators": list of keys or null, "require": number or null, "expect": "verified",
"not-pinned", "unreadable" or the name of a check}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from assent_verify import (
    CheckError,
    Pins,
    ReadError,
    block_argument,
    hash_argument,
    read_proof,
    validator_argument,
    verify_any,
    work_argument,
)


def verdict(path: str, pins: Pins) -> str:
    try:
        return "verified" if verify_any(read_proof(path), pins).pinned else "not-pinned"
    except CheckError as error:
        return error.name
    except ReadError:
        return "unreadable"


def pins_of(case: dict[str, Any]) -> Pins:
    def read(name: str, reader: Any) -> Any:
        text = case.get(name)
        return None if text is None else reader(text)

    return Pins(
        read("chain", hash_argument),
        read("base_block", block_argument),
        read("least_work", work_argument),
        tuple(map(validator_argument, case.get("validators") or ())),
        case.get("require") or 0,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", help="folder with index.json and the files that it names")
    folder = parser.parse_args().folder
    with open(os.path.join(folder, "index.json"), encoding="utf-8") as file:
        cases = json.load(file)
    mismatches = 0
    for case in cases:
        found = verdict(os.path.join(folder, case["file"]), pins_of(case))
        if found != case["expect"]:
            mismatches += 1
            print(f"{case['file']}: {case['expect']} expected, {found} found")
    print(f"{len(cases)} files, {mismatches} mismatches")
    return 1 if mismatches or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
