#!/usr/bin/env python3
"""The main job against a running node: consents and accesses become proofs that are checked here.

Exits with 0 only if everything in the story held.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from assent_client import (
    Answer,
    CallError,
    Client,
    ClientError,
    Failed,
    Key,
    Refused,
    Sequenced,
    Signed,
    add_credentials,
    connect,
    hash_argument,
    make_grant,
    make_scope,
    pb,
    prover_pb2,
)
from assent_formats import names
from assent_formats.checks import CheckError, Pins, ReadError
from assent_formats.layouts import OutcomeKind, Reason, RefusalReason
from assent_formats.say import say_outcome
from assent_formats.verify import verify_any
from assent_verify import read_proof

STREAMED = 100


def tell(line: str) -> None:
    print(line, flush=True)


def with_forged_signature(signed: Signed) -> Signed:
    forged = pb.SignedTransaction()
    forged.CopyFrom(signed.transaction)
    forged.authorizations[0].signature = bytes(64)
    return replace(signed, transaction=forged)


def say_answer(answer: Answer) -> str:
    match answer:
        case Sequenced():
            return " ".join(outcome.kind.name for outcome in answer.outcomes)
        case Refused():
            return answer.refusal.reason.name
    assert isinstance(answer, Failed)
    return answer.reason


def expect_answers(title: str, answers: Sequence[Answer], expected: Sequence[str]) -> list[Sequenced]:
    """Insists on what became of each of several transactions; those that were sequenced."""
    found = [say_answer(answer) for answer in answers]
    if found != list(expected):
        raise ClientError(f"{title}: {list(expected)} expected, {found} found")
    return [answer for answer in answers if isinstance(answer, Sequenced)]


class Story:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.sequenced: dict[str, Sequenced] = {}

    def act(self, title: str, signed: Signed, expected: OutcomeKind) -> Sequenced:
        """Submits, and insists on one outcome."""
        answer = self.client.submit(signed)
        if isinstance(answer, Refused):
            raise ClientError(f"{title}: {expected.name} expected, refused: {answer.refusal.reason.name}")
        (outcome,) = answer.outcomes
        if outcome.kind != expected:
            raise ClientError(f"{title}: {expected.name} expected, {outcome.kind.name} found")
        tell(f"{title}: {say_outcome(outcome)}")
        self.sequenced[title] = answer
        return answer

    def open_account(self, who: str, kind: int) -> Key:
        key = Key.new()
        signed = self.client.sign(key, open_account=pb.OpenAccount(kind=kind))
        self.act(f"{who} opens an account", signed, OutcomeKind.ACCOUNT_OPENED)
        return key

    def refused_by_rules(self, key: Key) -> None:
        """A second opening is refused, and the refusal is signed."""
        answer = self.client.submit(self.client.sign(key, open_account=pb.OpenAccount(kind=pb.ACCOUNT_KIND_PATIENT)))
        if not isinstance(answer, Refused) or answer.refusal.reason != RefusalReason.ACCOUNT_EXISTS:
            raise ClientError(f"the patient opens an account again: ACCOUNT_EXISTS expected, {answer} found")
        tell(f"the patient opens an account again: refused, {answer.refusal.reason.name}")

    def refused_before_rules(self, signed: Signed) -> None:
        """A transaction with another signature is not judged at all."""
        try:
            self.client.submit(with_forged_signature(signed))
        except CallError as error:
            if error.reason != "SIGNATURE_INVALID":
                raise
            tell(f"somebody submits it with a forged signature: not taken, {error.reason}")
        else:
            raise ClientError("a forged signature was taken")

    def same_again(self, signed: Signed, first: Sequenced) -> None:
        again = self.client.submit(signed)
        if not isinstance(again, Sequenced) or not again.already_sequenced or again.receipt != first.receipt:
            raise ClientError(f"the same transaction again: the same receipt expected, {again} found")
        tell(f"the same transaction again: the same receipt, number {again.receipt.entry.sequence}")

    def several_at_once(self, patient: Key) -> None:
        """One call with several transactions: each has a result of its own, in order."""
        key = Key.new()
        opening = self.client.sign(key, open_account=pb.OpenAccount(kind=pb.ACCOUNT_KIND_PRACTITIONER))
        again = self.client.sign(patient, open_account=pb.OpenAccount(kind=pb.ACCOUNT_KIND_PATIENT))
        answers = self.client.submit_many([opening, again, with_forged_signature(again), opening])
        expected = ["ACCOUNT_OPENED", "ACCOUNT_EXISTS", "SIGNATURE_INVALID", "ACCOUNT_OPENED"]
        first, second = expect_answers("four transactions in one call", answers, expected)
        if first.receipt != second.receipt:
            raise ClientError("four transactions in one call: the same receipt for the same transaction expected")
        self.sequenced["a practitioner opens an account"] = first
        tell(f"four transactions in one call: {', '.join(map(say_answer, answers))}")

    def many_in_a_stream(self, asker: Key, subject: bytes, scope: Any) -> None:
        """Requests that do not wait for each other's answers, which come in order."""
        signed = [
            self.client.sign(asker, request_access=pb.RequestAccess(subjects=[subject], scope=scope))
            for _ in range(STREAMED)
        ]
        signed.insert(STREAMED // 2, with_forged_signature(signed[0]))
        answers = list(self.client.submit_stream(signed))
        expected = ["ACCESS_DENIED"] * len(signed)
        expected[STREAMED // 2] = "SIGNATURE_INVALID"
        sequences = [one.receipt.entry.sequence for one in expect_answers("a stream", answers, expected)]
        if sequences != sorted(set(sequences)):
            raise ClientError(f"a stream: sequences in order expected, {sequences} found")
        tell(f"{STREAMED} requests in a stream: sequenced in order, as {sequences[0]} to {sequences[-1]}")

    def keep_receipt(self, title: str) -> None:
        """A receipt as a file, which anybody can check offline; a changed one cannot be passed off."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "receipt.assent")
            with open(path, "wb") as file:
                file.write(self.client.receipt_file(self.sequenced[title]))
            data = read_proof(path)
        found = verify_any(data, Pins(self.client.chain_id)).to_json()
        if (found["kind"], found["transaction_id"]) != ("receipt", self.sequenced[title].id.hex()):
            raise ClientError(f"{title}: a receipt for it expected, {found} found")
        damaged = bytearray(data)
        damaged[-40] ^= 1
        self.refused_as_file("receipt", bytes(damaged))
        tell(f"receipt that {title}: {len(data)} bytes, every check holds")

    def refused_as_file(self, what: str, data: bytes) -> None:
        try:
            verify_any(data, Pins(self.client.chain_id))
        except (CheckError, ReadError) as error:
            tell(f"a {what} with one bit changed: refused, {getattr(error, 'name', 'cannot be read')}")
        else:
            raise ClientError(f"a {what} with one bit changed was accepted")

    def prove(self, title: str, open_details: bool) -> tuple[bytes, Reason | None]:
        """A proof of something that was sequenced, compared with its receipt."""
        sequenced = self.sequenced[title]
        self.client.wait(sequenced.id, prover_pb2.TIER_ANCHORED)
        data, report = self.client.bundle(sequenced.id, open_details)
        if (report.entry, report.outcomes) != (sequenced.receipt.entry, sequenced.outcomes):
            raise ClientError(f"{title}: the proof is about another entry than the receipt")
        if report.header.number != sequenced.receipt.batch_number:
            raise ClientError(f"{title}: batch {sequenced.receipt.batch_number} expected, {report.header.number} found")
        if open_details != bool(report.details):
            raise ClientError(f"{title}: details {'expected' if open_details else 'found'}")
        reason = report.details[0].reason if report.details else None
        because = f", because: {reason.name}" if reason else ""
        tell(f"proof that {title}: {len(data)} bytes, every check holds{because}")
        return data, reason


def run(client: Client) -> None:
    story = Story(client)
    tell(f"ledger {client.chain_id.hex()}")
    patient = story.open_account("the patient", pb.ACCOUNT_KIND_PATIENT)
    clinic = story.open_account("the clinic", pb.ACCOUNT_KIND_ORGANISATION)
    custodian = story.open_account("the custodian", pb.ACCOUNT_KIND_ORGANISATION)
    story.refused_by_rules(patient)

    granting = client.sign(patient, grant_consent=make_grant(clinic.account, "TREAT"))
    story.refused_before_rules(granting)
    consent = story.act("the patient grants", granting, OutcomeKind.CONSENT_GRANTED)
    story.same_again(granting, consent)

    scope = make_scope(custodian.account, "TREAT", "access", ["Observation"])

    def ask() -> Signed:
        return client.sign(clinic, request_access=pb.RequestAccess(subjects=[patient.account], scope=scope))

    def record(request: bytes) -> Signed:
        fields = pb.RecordAccess(request_id=request, subject=patient.account, scope=scope)
        return client.sign(clinic, record_access=fields)

    permitted = story.act("the clinic asks", ask(), OutcomeKind.ACCESS_PERMITTED)
    story.act("the clinic records what it read", record(permitted.id), OutcomeKind.ACCESS_COVERED)
    revoking = client.sign(patient, revoke_consent=pb.RevokeConsent(consent_id=consent.id))
    story.act("the patient revokes", revoking, OutcomeKind.CONSENT_REVOKED)
    story.act("the clinic asks after that", ask(), OutcomeKind.ACCESS_DENIED)
    story.act("the clinic records after that", record(permitted.id), OutcomeKind.ACCESS_UNCOVERED)

    story.several_at_once(patient)
    story.many_in_a_stream(clinic, patient.account, scope)

    last = story.sequenced["the clinic records after that"]
    client.wait(last.id, prover_pb2.TIER_ANCHORED, lambda line: tell(f"  {line}"))
    reasons = {}
    for title in story.sequenced:
        story.prove(title, open_details=False)
        data, reasons[title] = story.prove(title, open_details=True)
    if reasons["the clinic asks"] != Reason.PERMITTED_BY_PROVISION:
        raise ClientError(f"the clinic asks: PERMITTED_BY_PROVISION expected, {reasons['the clinic asks']} found")
    if reasons["the clinic asks after that"] != Reason.NO_CONSENT:
        raise ClientError(f"NO_CONSENT expected, {reasons['the clinic asks after that']} found")

    damaged = bytearray(data)
    damaged[len(damaged) // 2] ^= 1
    story.refused_as_file("proof", bytes(damaged))
    story.keep_receipt("the clinic asks")
    tell(f"all of it held, for {names.write_did(patient.account)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--node", metavar="URL", required=True, help="such as http://127.0.0.1:7420")
    parser.add_argument("--chain", metavar="ID", type=hash_argument, required=True, help="chain id of the ledger")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=120.0, help="default: %(default)s")
    add_credentials(parser)
    given = parser.parse_args()
    try:
        with connect(given) as client:
            run(client)
    except ClientError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
