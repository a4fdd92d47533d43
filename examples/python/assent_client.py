#!/usr/bin/env python3
"""A client of Assent: keys, accounts, consents, accesses, and proofs that it checks itself.

Whatever the node answers is checked before it is believed: receipts and refusals against the ledger's
manifest, proof files by the verifier. Run it with the Python of the environment that setup.sh makes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from assent_formats import ed25519, files, layouts, merkle, names
from assent_formats.checks import CheckError, Pins, ReadError
from assent_formats.codec import FormatError, decode, sha256
from assent_formats.layouts import GroupStatement, Manifest, OutcomeKind, OutcomeLeaf, Receipt, Refusal
from assent_formats.say import say_outcome, say_time
from assent_formats.transaction import read_body, read_bytes, read_varint
from assent_formats.verify import Report, check_outcome_form, verify

sys.path.append(os.path.join(sys.prefix, "generated"))
try:
    import grpc
    from assent.v1 import prover_pb2, prover_pb2_grpc, sequencer_pb2, sequencer_pb2_grpc
    from assent.v1 import transaction_pb2 as pb
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
except ImportError as error:
    raise ImportError(f"{error}: run setup.sh, then this program with the Python of the environment it made") from error

T = TypeVar("T")

OK, FAILED, REFUSED, DENIED = 0, 1, 3, 4
KEY_FORMAT = "assent-key-1"
# Long enough for some retries, short enough that a lost transaction does not surprise anybody later.
VALIDITY_MS = 10 * 60 * 1000
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
RESOURCE_TYPES = "http://hl7.org/fhir/resource-types"
SETTLED = (OutcomeKind.ACCESS_DENIED, OutcomeKind.ACCESS_UNCOVERED)


class ClientError(Exception):
    """It did not work; the message says why."""


class CallError(ClientError):
    """A gRPC error, with the reason of docs/errors.md where Assent gave one."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str | None, retry_after: float | None) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        self.reason = reason
        self.retry_after = retry_after

    @property
    def may_succeed_later(self) -> bool:
        # RESOURCE_EXHAUSTED without a reason is a message over the transport's limit, which stays over it.
        exhausted = self.code == grpc.StatusCode.RESOURCE_EXHAUSTED and self.reason is not None
        return exhausted or self.code == grpc.StatusCode.UNAVAILABLE


class UntrueError(ClientError):
    """The node's answer does not hold."""


def proto_fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a protobuf message of which only varints, bytes and messages are wanted."""
    position = 0
    while position < len(data):
        key, position = read_varint(data, position)
        if key & 7 == 0:
            value: Any
            value, position = read_varint(data, position)
        elif key & 7 == 2:
            value, position = read_bytes(data, position)
        else:
            raise FormatError(f"wire type {key & 7} was not expected")
        yield key >> 3, value


def status_details(error: Any) -> tuple[str | None, float | None]:
    """Reason and time to wait from the google.rpc.Status that came with a gRPC error."""
    reason = retry_after = None
    for name, data in error.trailing_metadata() or ():
        if name != "grpc-status-details-bin":
            continue
        try:
            for detail in (value for number, value in proto_fields(data) if number == 3):
                anything = dict(proto_fields(detail))
                kind, inner = anything.get(1, b"").decode(), dict(proto_fields(anything.get(2, b"")))
                if kind.endswith("/google.rpc.ErrorInfo") and inner.get(2) == b"assent":
                    reason = inner.get(1, b"").decode()
                elif kind.endswith("/google.rpc.RetryInfo"):
                    delay = dict(proto_fields(inner.get(1, b"")))
                    retry_after = delay.get(1, 0) + delay.get(2, 0) / 1e9
        except (FormatError, UnicodeDecodeError, AttributeError):
            return None, None  # details that cannot be read are as good as none
    return reason, retry_after


def call_error(error: Any) -> CallError:
    return CallError(error.code(), error.details() or "no message", *status_details(error))


class Key:
    """An Ed25519 key pair and the account that it opens."""

    def __init__(self, seed: bytes) -> None:
        self.seed = seed
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self.private.public_key().public_bytes_raw()
        self.account = names.account_id(self.public)

    @property
    def did(self) -> str:
        return names.write_did(self.account)

    @classmethod
    def new(cls) -> Key:
        return cls(os.urandom(32))

    @classmethod
    def load(cls, path: str) -> Key:
        with open(path, encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ClientError(f"{path}: mode 0600 expected, {mode:04o} found: others can read the key")
            try:
                content = json.load(file)
            except ValueError as error:
                raise ClientError(f"{path}: JSON expected: {error}") from error
        if not isinstance(content, dict) or (content.get("format"), content.get("scheme")) != (KEY_FORMAT, "ed25519"):
            raise ClientError(f"{path}: a key file of the format {KEY_FORMAT} expected")
        seed = content.get("seed")
        if not isinstance(seed, str) or not re.fullmatch(r"[0-9a-f]{64}", seed):
            raise ClientError(f"{path}: a seed of 64 hexadecimal digits expected")
        key = cls(bytes.fromhex(seed))
        if content.get("account") != key.did:
            raise ClientError(f"{path}: the account {key.did} expected, {content.get('account')} found")
        return key

    def save(self, path: str) -> None:
        """Writes a new file; an existing one is never overwritten."""
        content = {"format": KEY_FORMAT, "scheme": "ed25519", "account": self.did, "seed": self.seed.hex()}
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Signed:
    """A signed transaction."""

    transaction: Any
    id: bytes


@dataclass(frozen=True)
class Sequenced:
    """A transaction that is on the ledger, by a receipt that holds."""

    id: bytes
    signed_receipt: layouts.SignedReceipt
    receipt: Receipt
    outcomes: tuple[OutcomeLeaf, ...]
    already_sequenced: bool


@dataclass(frozen=True)
class Refused:
    """A transaction that was judged and not sequenced, by a refusal that holds."""

    id: bytes
    refusal: Refusal
    message: str


@dataclass(frozen=True)
class Failed:
    """One of several transactions that was not sequenced, or of which that is not known."""

    id: bytes
    code: int
    reason: str
    message: str
    field: str
    retry_after: float | None


Answer = Sequenced | Refused | Failed


class Bearer(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Shows a token with every call."""

    def __init__(self, token: str) -> None:
        self.header = ("authorization", f"Bearer {token.strip()}")

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(metadata=[*(details.metadata or []), self.header]), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _call


class Client:
    """A connection to a node, and what its ledger's manifest says.

    The token says who is calling; `ca` is the authority of a node behind https, in PEM.
    """

    def __init__(
        self,
        node: str,
        chain_id: bytes | None = None,
        timeout: float = 30.0,
        token: str | None = None,
        ca: bytes | None = None,
    ) -> None:
        match = re.fullmatch(r"(https?)://([^/]+)/?", node)
        if not match:
            raise ClientError(f"the address of a node as http://host:port expected, {node!r} found")
        self.timeout = timeout
        options = [
            # A proof file may be longer than the 4 MiB that gRPC takes by default.
            ("grpc.max_receive_message_length", files.MAX_PROOF_BYTES + (1 << 20)),
            ("grpc.enable_http_proxy", 0),
        ]
        if match[1] == "https":
            plain = grpc.secure_channel(match[2], grpc.ssl_channel_credentials(ca), options=options)
        else:
            plain = grpc.insecure_channel(match[2], options=options)
        self.plain = plain
        self.channel = grpc.intercept_channel(plain, Bearer(token)) if token else plain
        self.sequencer = sequencer_pb2_grpc.SequencerServiceStub(self.channel)
        self.prover = prover_pb2_grpc.ProverServiceStub(self.channel)
        answer = self.call(self.sequencer.GetLedger, sequencer_pb2.GetLedgerRequest())
        self.chain_id = sha256(answer.manifest)
        if chain_id is not None and chain_id != self.chain_id:
            raise UntrueError(f"the ledger {chain_id.hex()} expected, the node serves {self.chain_id.hex()}")
        self.manifest_bytes = answer.manifest
        try:
            self.manifest = decode(Manifest, answer.manifest)
        except FormatError as error:
            raise UntrueError(f"the manifest: {error}") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.plain.close()

    def retry(self, attempt: Callable[[float], T]) -> T:
        """Tries, with the time that is left, until it works, cannot work, or took too long."""
        end = time.monotonic() + self.timeout
        delay = FIRST_DELAY
        while True:
            try:
                return attempt(max(end - time.monotonic(), 0.001))
            except grpc.RpcError as rpc_error:
                error = call_error(rpc_error)
                # Some of the wait is random, so that many clients do not come back at one moment.
                pause = (error.retry_after or delay) * random.uniform(1, 1.5)
                if not error.may_succeed_later or time.monotonic() + pause >= end:
                    raise error from rpc_error
                time.sleep(pause)
                delay = min(delay * 2, LONGEST_DELAY)

    def call(self, method: Any, request: Any) -> Any:
        return self.retry(lambda left: method(request, timeout=left))

    def sign(self, key: Key | None, **act: Any) -> Signed:
        """A transaction with the one act given by its field's name; without key for a revocation by code."""
        body = pb.TransactionBody(
            chain_id=self.chain_id,
            sender=key.account if key else b"",
            salt=os.urandom(16),
            expires_at_ms=time.time_ns() // 1_000_000 + min(VALIDITY_MS, self.manifest.max_validity_ms),
            **act,
        ).SerializeToString(deterministic=True)
        try:
            read_body(body, self.chain_id)
        except FormatError as error:
            raise ClientError(f"no such transaction is allowed: {error}") from error
        transaction_id = names.transaction_id(body)
        authorizations = []
        if key:
            authorizations.append(
                pb.Authorization(
                    scheme=pb.SIGNATURE_SCHEME_ED25519,
                    public_key=key.public,
                    signature=key.private.sign(transaction_id),
                )
            )
        return Signed(pb.SignedTransaction(body=body, authorizations=authorizations), transaction_id)

    def submit(self, signed: Signed) -> Sequenced | Refused:
        """Submits, again where that may help: a transaction is sequenced once, and always gets the same receipt."""
        answer = self.call(self.sequencer.Submit, sequencer_pb2.SubmitRequest(transaction=signed.transaction))
        result = self.check_answer(signed, answer)
        if isinstance(result, Failed):
            raise UntrueError(f"the answer to transaction {signed.id.hex()}: neither receipt nor refusal")
        return result

    def submit_many(self, signed: Sequence[Signed]) -> list[Answer]:
        """Submits up to 1,000 transactions in one call; they are executed in this order."""
        request = sequencer_pb2.SubmitManyRequest(transactions=[one.transaction for one in signed])
        results = self.call(self.sequencer.SubmitMany, request).results
        if len(results) != len(signed):
            raise UntrueError(f"{len(signed)} results expected, {len(results)} found")
        return [self.check_answer(one, result) for one, result in zip(signed, results)]

    def submit_stream(self, signed: Sequence[Signed]) -> Iterator[Answer]:
        """Submits without waiting for answers, which come in the same order. A stream that breaks is opened again."""
        answers: list[Answer] = []

        def attempt(left: float) -> None:
            rest = signed[len(answers) :]
            requests = (sequencer_pb2.SubmitStreamRequest(transaction=one.transaction) for one in rest)
            for one, answer in zip(rest, self.sequencer.SubmitStream(requests, timeout=left)):
                answers.append(self.check_answer(one, answer.result))
            if len(answers) != len(signed):
                raise UntrueError(f"{len(signed)} results expected, the stream ended after {len(answers)}")

        if signed:
            self.retry(attempt)
        return iter(answers)

    def check_answer(self, signed: Signed, answer: Any) -> Answer:
        """What became of a transaction, if the answer holds."""
        try:
            match answer.WhichOneof("result"):
                case "sequenced":
                    return self.check_receipt(signed, answer.sequenced)
                case "refusal":
                    return self.check_refusal(signed, answer.refusal)
                case "error":
                    error = answer.error
                    retry_after = error.retry_after_ms / 1000 if error.retry_after_ms else None
                    return Failed(signed.id, error.code, error.reason, error.message, error.field, retry_after)
        except FormatError as error:
            raise UntrueError(f"the answer to transaction {signed.id.hex()}: {error}") from error
        raise UntrueError(f"the answer to transaction {signed.id.hex()}: neither receipt nor refusal")

    def check_receipt(self, signed: Signed, sequenced: Any) -> Sequenced:
        """That the sequencer signed a receipt for this transaction, and which outcomes it stands for."""
        signed_receipt = sequenced.receipt
        statement = decode(GroupStatement, signed_receipt.group_statement)
        self.check_signature("group statement", signed_receipt.group_statement, signed_receipt.signature)
        expect_equal("chain id of the group", self.chain_id, statement.chain_id)
        leaf = merkle.leaf_hash(signed_receipt.receipt)
        for sibling in signed_receipt.path:
            expect_equal("bytes of a hash in the path", 32, len(sibling))
        root = merkle.root_from_path(leaf, signed_receipt.index, statement.count, signed_receipt.path)
        expect_equal("root of the group", statement.root, root)
        receipt = decode(Receipt, signed_receipt.receipt)
        entry = receipt.entry
        expect_equal("chain id", self.chain_id, receipt.chain_id)
        expect_equal("key id", names.key_id(self.manifest.sequencer_key), receipt.key_id)
        expect_equal("transaction id", signed.id, entry.transaction_id)
        authorizations = tuple(
            layouts.Authorization(a.scheme, a.public_key, a.signature) for a in signed.transaction.authorizations
        )
        expect_equal("authorizations", layouts.authorizations_hash(authorizations), entry.authorizations_hash)
        expect_equal("deadline", entry.time + self.manifest.max_seal_delay_ms, receipt.deadline)
        expect_equal("outcome root", entry.outcome_root, merkle.root_of(sequenced.outcome_leaves))
        outcomes = tuple(decode(OutcomeLeaf, leaf) for leaf in sequenced.outcome_leaves)
        check_outcome_form(read_body(signed.transaction.body, self.chain_id), signed.id, outcomes)
        kept = layouts.SignedReceipt(
            signed_receipt.receipt,
            signed_receipt.group_statement,
            signed_receipt.index,
            tuple(signed_receipt.path),
            signed_receipt.signature,
        )
        return Sequenced(signed.id, kept, receipt, outcomes, sequenced.already_sequenced)

    def check_refusal(self, signed: Signed, signed_refusal: Any) -> Refused:
        refusal = decode(Refusal, signed_refusal.refusal)
        self.check_signature("refusal", signed_refusal.refusal, signed_refusal.signature)
        expect_equal("chain id", self.chain_id, refusal.chain_id)
        expect_equal("key id", names.key_id(self.manifest.sequencer_key), refusal.key_id)
        expect_equal("transaction id", signed.id, refusal.transaction_id)
        return Refused(signed.id, refusal, signed_refusal.message)

    def check_signature(self, what: str, data: bytes, signature: bytes) -> None:
        if not ed25519.verify(self.manifest.sequencer_key, sha256(data), signature):
            raise FormatError(f"{what}: the sequencer's signature does not verify")

    def wait(self, transaction_id: bytes, until: int, tell: Callable[[str], None] = lambda line: None) -> Any:
        """Watches a transaction until it has come as far as the tier."""
        request = prover_pb2.WatchTierRequest(transaction_id=transaction_id)
        last = "the prover does not know it yet"

        def watch(left: float) -> Any:
            nonlocal last
            for answer in self.prover.WatchTier(request, timeout=left):
                last = say_tier(answer.status)
                tell(last)
                if answer.status.tier >= until:
                    return answer.status
            raise ClientError("the node ended the watch")

        try:
            return self.retry(watch)
        except CallError as error:
            if error.code != grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
            raise ClientError(
                f"transaction {transaction_id.hex()}: gave up after {self.timeout:g} s: {last}"
            ) from error

    def receipt_file(self, sequenced: Sequenced) -> bytes:
        """The receipt as a file, with which the sequencer can be held to its word."""
        return files.write_file(layouts.ReceiptFile(self.manifest_bytes, sequenced.signed_receipt), files.RECEIPT_MAGIC)

    def bundle(self, transaction_id: bytes, open_details: bool = False) -> tuple[bytes, Report]:
        """A proof file that holds for the ledger and is about the transaction."""
        request = prover_pb2.GetBundleRequest(transaction_id=transaction_id, open_details=open_details)
        data = self.call(self.prover.GetBundle, request).bundle
        try:
            report = verify(data, Pins(self.chain_id))
        except CheckError as error:
            raise UntrueError(f"the proof file fails at {error.name}: {error}") from error
        except ReadError as error:
            raise UntrueError(f"the proof file cannot be read: {error}") from error
        if report.transaction_id != transaction_id:
            raise UntrueError(f"a proof of {transaction_id.hex()} expected, of {report.transaction_id.hex()} found")
        return data, report


def expect_equal(what: str, expected: object, found: object) -> None:
    if expected != found:
        shown = [value.hex() if isinstance(value, bytes) else value for value in (expected, found)]
        raise FormatError(f"{what}: {shown[0]} expected, {shown[1]} found")


def say_tier(status: Any) -> str:
    words = [prover_pb2.Tier.Name(status.tier).removeprefix("TIER_"), f"sequence {status.sequence}"]
    if status.tier >= prover_pb2.TIER_SEALED:
        words.append(f"batch {status.batch_number}")
    if status.tier >= prover_pb2.TIER_CHECKPOINTED:
        words.append(f"checkpoint of size {status.checkpoint_size}")
    if status.tier >= prover_pb2.TIER_ANCHORED:
        words.append(
            f"anchor {status.anchor_txid.hex()} at height {status.anchor_height} of {status.network}, "
            f"{status.depth} of {status.required_depth} blocks"
        )
    return "  ".join(words)


def read_class(text: str) -> Any:
    """A FHIR resource type, or SYSTEM|CODE."""
    system, separator, code = text.rpartition("|")
    return pb.Coding(system=system if separator else RESOURCE_TYPES, code=code)


def make_scope(custodian: bytes, purpose: str, action: str, classes: Sequence[str]) -> Any:
    return pb.AccessScope(
        custodian=custodian,
        purpose=purpose,
        action=pb.Action.Value(f"ACTION_{action.upper()}"),
        classes=[read_class(text) for text in classes],
    )


def make_grant(recipient: bytes, purpose: str, revocation_code: bytes | None = None) -> Any:
    """Permits one recipient to do anything for one purpose, and says nothing about others."""
    provision = pb.Provision(
        effect=pb.EFFECT_PERMIT,
        actors=[pb.Actor(role=pb.ACTOR_ROLE_RECIPIENT, account=recipient)],
        purposes=[purpose],
    )
    code_hash = names.revocation_code_hash(revocation_code) if revocation_code else b""
    return pb.GrantConsent(terms=pb.ConsentTerms(provisions=[provision]), revocation_code_hash=code_hash)


def did_argument(text: str) -> bytes:
    try:
        return names.read_did(text)
    except FormatError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def hash_argument(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"64 hexadecimal digits expected, {text!r} found")
    return bytes.fromhex(text)


def code_argument(text: str) -> bytes:
    try:
        return names.read_revocation_code(text)
    except FormatError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = parser.add_subparsers(required=True, metavar="COMMAND")

    online = argparse.ArgumentParser(add_help=False)
    online.add_argument("--node", metavar="URL", default="http://127.0.0.1:7420", help="default: %(default)s")
    online.add_argument(
        "--chain", metavar="ID", type=hash_argument, help="the ledger that is meant; without it the node is believed"
    )
    online.add_argument("--timeout", metavar="SECONDS", type=float, default=30.0, help="default: %(default)s")
    add_credentials(online)
    acting = argparse.ArgumentParser(add_help=False, parents=[online])
    acting.add_argument("--key", metavar="FILE", required=True, help="key file of the account that acts")
    scoped = argparse.ArgumentParser(add_help=False, parents=[acting])
    scoped.add_argument("--subject", metavar="DID", type=did_argument, required=True)
    scoped.add_argument("--custodian", metavar="DID", type=did_argument, required=True, help="who holds the data")
    scoped.add_argument("--purpose", metavar="CODE", required=True, help="purpose of use, such as TREAT")
    scoped.add_argument("--action", choices=["collect", "access", "use", "disclose", "correct"], default="access")
    scoped.add_argument(
        "--class", metavar="CLASS", dest="classes", action="append", required=True, help="such as Observation"
    )

    def group(name: str, text: str) -> Any:
        return groups.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")

    def command(within: Any, name: str, text: str, run: Callable[..., int], *parents: Any) -> Any:
        sub = within.add_parser(name, help=text, description=text, parents=list(parents))
        sub.set_defaults(run=run)
        return sub

    sub = command(group("keys", "make client keys"), "new", "make a key file", keys_new)
    sub.add_argument("file")
    sub = command(group("account", "open accounts"), "open", "open the key's account", account_open, acting)
    sub.add_argument(
        "--kind", required=True, choices=["patient", "organisation", "practitioner", "device", "researcher"]
    )
    consent = group("consent", "grant and revoke consents")
    sub = command(consent, "grant", "permit a recipient's use for a purpose", consent_grant, acting)
    sub.add_argument("--recipient", metavar="DID", type=did_argument, required=True)
    sub.add_argument("--purpose", metavar="CODE", required=True)
    sub.add_argument("--with-code", action="store_true", help="make a revocation code and print it")
    sub = command(consent, "revoke", "end a consent, by its id or by its code", consent_revoke, online)
    by = sub.add_mutually_exclusive_group(required=True)
    by.add_argument("consent", nargs="?", type=hash_argument)
    by.add_argument("--code", type=code_argument)
    sub.add_argument("--key", metavar="FILE", help="key file of the subject; a code needs none")
    access = group("access", "ask for access and record it")
    command(access, "request", "ask to use a subject's data", access_request, scoped)
    sub = command(access, "record", "record what was read under a request", access_record, scoped)
    sub.add_argument("request", type=hash_argument)
    sub = command(group("tx", "follow transactions"), "watch", "watch how far a transaction comes", tx_watch, online)
    sub.add_argument("transaction", type=hash_argument)
    sub.add_argument("--until", choices=["sealed", "checkpointed", "anchored", "confirmed"], default="confirmed")
    sub = command(group("audit", "get proofs"), "bundle", "fetch a proof file and check it", audit_bundle, online)
    sub.add_argument("transaction", type=hash_argument)
    sub.add_argument("-o", "--output", metavar="FILE", required=True)
    sub.add_argument("--open-details", action="store_true", help="open why each decision was made")
    return parser


def add_credentials(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file", metavar="FILE", default=os.environ.get("ASSENT_TOKEN_FILE"), help="default: ASSENT_TOKEN_FILE"
    )
    parser.add_argument(
        "--ca", metavar="FILE", default=os.environ.get("ASSENT_CA"), help="authority of an https node; default: ASSENT_CA"
    )


def connect(given: argparse.Namespace) -> Client:
    def read(path: str | None) -> bytes | None:
        if not path:
            return None
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise ClientError(f"cannot read {path}: {error.strerror}") from error

    token = read(given.token_file)
    return Client(given.node, given.chain, given.timeout, token.decode() if token else None, read(given.ca))


def say(answer: Sequenced | Refused) -> int:
    """Prints an answer; the exit code that goes with it."""
    print(f"transaction  {answer.id.hex()}")
    if isinstance(answer, Refused):
        print(f"REFUSED      {answer.refusal.reason.name}: {answer.message}")
        return REFUSED
    print(f"sequence     {answer.receipt.entry.sequence}, at {say_time(answer.receipt.entry.time)}")
    for outcome in answer.outcomes:
        print(f"outcome      {say_outcome(outcome)}")
    return DENIED if any(outcome.kind in SETTLED for outcome in answer.outcomes) else OK


def keys_new(given: argparse.Namespace) -> int:
    key = Key.new()
    key.save(given.file)
    print(key.did)
    return OK


def act(given: argparse.Namespace, **fields: Any) -> int:
    key = Key.load(given.key) if given.key else None
    with connect(given) as client:
        return say(client.submit(client.sign(key, **fields)))


def account_open(given: argparse.Namespace) -> int:
    kind = pb.AccountKind.Value(f"ACCOUNT_KIND_{given.kind.upper()}")
    return act(given, open_account=pb.OpenAccount(kind=kind))


def consent_grant(given: argparse.Namespace) -> int:
    code = os.urandom(32) if given.with_code else None
    exit_code = act(given, grant_consent=make_grant(given.recipient, given.purpose, code))
    if code and exit_code == OK:
        print(f"revocation code  {names.write_revocation_code(code)}")
    return exit_code


def consent_revoke(given: argparse.Namespace) -> int:
    if given.code:
        given.key = None  # a revocation by code has no sender
        return act(given, revoke_consent=pb.RevokeConsent(revocation_code=given.code))
    if not given.key:
        raise ClientError("--key is needed to revoke a consent by its id")
    return act(given, revoke_consent=pb.RevokeConsent(consent_id=given.consent))


def scope_of(given: argparse.Namespace) -> Any:
    return make_scope(given.custodian, given.purpose, given.action, given.classes)


def access_request(given: argparse.Namespace) -> int:
    return act(given, request_access=pb.RequestAccess(subjects=[given.subject], scope=scope_of(given)))


def access_record(given: argparse.Namespace) -> int:
    record = pb.RecordAccess(request_id=given.request, subject=given.subject, scope=scope_of(given))
    return act(given, record_access=record)


def tx_watch(given: argparse.Namespace) -> int:
    with connect(given) as client:
        client.wait(given.transaction, prover_pb2.Tier.Value(f"TIER_{given.until.upper()}"), print)
    return OK


def audit_bundle(given: argparse.Namespace) -> int:
    with connect(given) as client:
        client.wait(given.transaction, prover_pb2.TIER_ANCHORED)
        data, report = client.bundle(given.transaction, given.open_details)
    with open(given.output, "wb") as file:
        file.write(data)
    print(f"{given.output}: every check holds, for ledger {report.chain_id.hex()}")
    for line in report.proves():
        print(f"  {line}")
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    given = make_parser().parse_args(arguments)
    try:
        return given.run(given)
    except (ClientError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
