#!/usr/bin/env python3
"""Checks a proof file of Assent offline: what it proves, what it does not, and who was trusted."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence

from assent_formats.base import from_shown
from assent_formats.checks import CheckError, Pins, ReadError
from assent_formats.codec import FormatError
from assent_formats.files import LONGEST_MAGIC, kind_of
from assent_formats.findings import StatementReport
from assent_formats.note import Validator, read_validator
from assent_formats.verify import Report, verify, verify_any

__all__ = ["CheckError", "Pins", "ReadError", "Report", "verify", "verify_any"]

VERIFIED, WRONG_ARGUMENTS, NOT_PINNED, CHECK_FAILED, UNREADABLE = 0, 2, 10, 20, 30


def hash_argument(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"64 hexadecimal digits expected, {text!r} found")
    return bytes.fromhex(text)


def block_argument(text: str) -> bytes:
    return from_shown(hash_argument(text).hex())


def work_argument(text: str) -> int:
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{1,64}", text):
        raise argparse.ArgumentTypeError(f"1 to 64 hexadecimal digits expected, {text!r} found")
    return int(text, 16)


def validator_argument(text: str) -> Validator:
    try:
        return read_validator(text)
    except FormatError as error:
        raise argparse.ArgumentTypeError(f"a validator's key, NAME+HASH+BASE64, expected: {error}") from error


def count_argument(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text):
        raise argparse.ArgumentTypeError(f"how many validators expected, {text!r} found")
    return int(text)


def read_proof(path: str) -> bytes:
    """The file's bytes, and no more than one over the limit of its kind."""
    try:
        with open(path, "rb") as file:
            start = file.read(LONGEST_MAGIC)
            return start + file.read(kind_of(start).max_bytes + 1 - len(start))
    except OSError as error:
        raise ReadError(error.strerror or str(error)) from error
    except FormatError as error:
        raise ReadError(str(error)) from error


def shown(text: object) -> str:
    """Words that may be a file's, without characters that would write to a terminal what they like."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def print_report(report: Report | StatementReport) -> None:
    print("VERIFIED" if report.pinned else "CONSISTENT, NOT PINNED: all checks hold, for a ledger that nobody named")
    for title, lines in (
        ("This file PROVES", report.proves()),
        ("It DOES NOT PROVE", report.does_not_prove()),
        ("TRUSTED were", report.trusted()),
    ):
        print(f"\n{title}")
        for line in lines:
            print(f"  {shown(line)}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="the proof file")
    parser.add_argument("--chain", metavar="ID", type=hash_argument, help="chain id, from a source that you trust")
    parser.add_argument(
        "--base-block", metavar="HASH", type=block_argument, help="a block of the base chain, as Bitcoin Core prints it"
    )
    parser.add_argument("--least-work", metavar="HEX", type=work_argument, help="least work of the headers in the file")
    parser.add_argument(
        "--validator",
        metavar="NAME+HASH+BASE64",
        type=validator_argument,
        action="append",
        default=[],
        help="key of a validator whose cosignature counts; may be repeated",
    )
    parser.add_argument(
        "--require", metavar="K", type=count_argument, default=0, help="how many of these have to have cosigned"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)

    if given.require > len(given.validator):
        parser.error(f"--require {given.require} with {len(given.validator)} keys given by --validator")
    pins = Pins(given.chain, given.base_block, given.least_work, tuple(given.validator), given.require)
    answer: dict[str, object]
    try:
        report = verify_any(read_proof(given.file), pins)
    except ReadError as error:
        code, answer = UNREADABLE, {"status": "UNREADABLE", "error": str(error)}
        message = f"COULD NOT READ {shown(given.file)}: {shown(error)}"
    except CheckError as error:
        code, answer = CHECK_FAILED, {"status": "FAILED", "check": error.name, "error": str(error)}
        message = f"FAILED at check {error.name}: {shown(error)}\n\nThis file proves nothing."
    else:
        code, answer = (VERIFIED if report.pinned else NOT_PINNED), report.to_json()
        message = ""

    if given.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif message:
        print(message)
    else:
        print_report(report)
    return code


if __name__ == "__main__":
    sys.exit(main())
