"""Executing batches again: entries, headers and state are functions of the manifest and the log records
("Execution" and "Other files" of docs/formats.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from . import ed25519, merkle, names, ruleset
from .codec import FormatError, decode, encode, layout_hash, sha256
from .layouts import (
    MAX_TIME,
    STATE_TREE,
    Batch,
    BatchHeader,
    BatchRecord,
    Decider,
    Detail,
    Entry,
    LoggedTransaction,
    LogRecord,
    Manifest,
    Obligation,
    OutcomeKind,
    OutcomeLeaf,
    Question,
    Reason,
    RefusalReason,
    Verdict,
    authorizations_hash,
)
from .policy import ALL_OF_TIME, Decision, Policy, covers, read_period
from .state import (
    AccessLogLeaf,
    Account,
    AccountKey,
    ActiveConsent,
    Actor,
    ActorLogLeaf,
    Consent,
    ConsentLogLeaf,
    Kind,
    Moment,
    RevocationCode,
    State,
    SubjectAccesses,
    SubjectConsents,
    detail_salt,
)
from .terms import encode_terms, question_of, terms_hash
from .transaction import (
    AccessScope,
    ConsentTerms,
    GrantConsent,
    OpenAccount,
    Provision,
    RecordAccess,
    RequestAccess,
    RevokeConsent,
    TransactionBody,
    check_sender,
    read_body,
)

MAX_ACTIVE_CONSENTS = 32
COMBINING_RULE = 1


class RuleError(FormatError):
    """The rules refuse a transaction."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(f"refused by the rules: {reason.name}")
        self.reason = reason


class NotFollowing(FormatError):
    """A batch does not follow from those before it."""


@dataclass(frozen=True)
class Decided:
    """What a leaf says, before its detail is salted."""

    kind: OutcomeKind
    object: bytes
    question: Question | None = None
    permit_until: int = 0
    obligations: tuple[Obligation, ...] = ()
    consent_log_size: int = 0
    reason: Reason = Reason.NO_DECISION
    decider: Decider | None = None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class PastRequest:
    """What a record of access may rely on."""

    sender: bytes
    time: int
    scope: AccessScope
    outcomes: dict[bytes, Decided]


@dataclass(frozen=True)
class Moved:
    """A change of a subject's active consents, logged once its entry is known."""

    subject: bytes
    active: tuple[ActiveConsent, ...]


@dataclass(frozen=True)
class Executed:
    """A transaction after its execution."""

    entry: Entry
    leaves: tuple[bytes, ...]
    details: tuple[bytes, ...]


@dataclass
class Open:
    """The batch that is being filled."""

    records: list[bytes] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    size: int = 0
    last: LogRecord | None = None


class Ledger:
    """A ledger as it is after the log records that it was given."""

    def __init__(self, manifest: Manifest, chain_id: bytes) -> None:
        self.manifest = manifest
        self.chain_id = chain_id
        self.rules = ruleset.load()
        self.policy = Policy(self.rules)
        self.state = State()
        self.sequenced: set[bytes] = set()
        self.requests: dict[bytes, PastRequest] = {}
        self.sequence = 0
        self.position = 0
        self.last: LogRecord | None = None
        self.open = Open()
        self.headers: list[bytes] = []
        self.history: list[bytes] = []

    # Log records and batches.

    def check_record(self, record: LogRecord) -> None:
        """The rules of layout 0x2a."""
        last, manifest = self.last, self.manifest

        def rule(condition: bool, message: str) -> None:
            if not condition:
                raise NotFollowing(f"log record {record.position}: {message}")

        rule(record.position == self.position, f"position {self.position} expected")
        before = last.time if last else manifest.created
        rule(record.time >= before, f"time {record.time} is before {before}")
        rule(record.time <= MAX_TIME, f"time {record.time} is after the year 9999")
        rule(last is None or record.epoch >= last.epoch, f"epoch {record.epoch} is below that of the record before")
        rule(last is None or record.base_height >= last.base_height, "the base height falls")
        median = record.base_median_time * 1000
        rule(median <= record.time, "the base block's median time is after the record's time")
        limit = manifest.max_time_step_ms
        confirmed = record.step_is_confirmed or median + limit >= record.time
        rule(record.time - before <= limit or confirmed, f"an unconfirmed step of time of {record.time - before} ms")
        count = len(self.open.entries) + len(record.transactions)
        rule(bool(record.transactions) or (record.seals and count > 0), "no transactions, and no batch to seal")
        rule(count <= manifest.max_batch_entries, f"{count} entries in a batch")
        size = self.open.size + sum(5 + len(t.body) + 97 * len(t.authorizations) for t in record.transactions)
        rule(size <= manifest.max_batch_bytes, f"{size} bytes in a batch")
        self.open.size = size

    def check_transaction(self, logged: LoggedTransaction) -> TransactionBody:
        """The checks without state."""
        body = read_body(logged.body, self.chain_id)
        authorization = check_sender(body, logged.authorizations)
        if authorization is not None:
            signed = names.transaction_id(logged.body)
            if not ed25519.verify(authorization.public_key, signed, authorization.signature):
                raise NotFollowing(f"transaction {signed.hex()}: the sender's signature does not verify")
        return body

    def execute_record(self, data: bytes) -> list[Executed]:
        record = decode(LogRecord, data)
        self.check_record(record)
        bodies = [self.check_transaction(logged) for logged in record.transactions]
        executed = [self.execute(record, logged, body) for logged, body in zip(record.transactions, bodies)]
        self.open.records.append(data)
        self.open.entries += [encode(one.entry) for one in executed]
        self.open.last = self.last = record
        self.position += 1
        return executed

    def seal(self) -> bytes:
        """The header of the batch whose records were executed."""
        last = self.open.last
        assert last is not None
        header = encode(
            BatchHeader(
                chain_id=self.chain_id,
                epoch=last.epoch,
                ruleset=self.manifest.ruleset,
                number=len(self.headers),
                first_sequence=self.sequence - len(self.open.entries),
                entry_count=len(self.open.entries),
                entries_root=merkle.root_of(self.open.entries),
                effects_root=self.state.seal(),
                log_root=merkle.root_of(self.open.records),
                previous_hash=sha256(self.headers[-1]) if self.headers else bytes(32),
                time=last.time,
                base_height=last.base_height,
                base_hash=last.base_hash,
                key_id=names.key_id(self.manifest.sequencer_key),
            )
        )
        self.headers.append(header)
        self.history.append(batch_record(header, self.state.tree.root()))
        self.open = Open()
        return header

    def follow(self, batch: Batch) -> None:
        """Executes a batch again. Raises a `FormatError` where it does not follow from those before it."""
        if not batch.log_records:
            raise NotFollowing("a batch without log records")
        for number, data in enumerate(batch.log_records):
            self.execute_record(data)
            assert self.last is not None
            if self.last.seals != (number == len(batch.log_records) - 1):
                raise NotFollowing(f"log record {self.last.position}: the last of a batch and no other seals it")
        if tuple(self.open.entries) != batch.entries:
            raise NotFollowing(f"batch {len(self.headers)}: other entries than the log records give")
        header = self.seal()
        if header != batch.header:
            raise NotFollowing(f"batch {len(self.headers) - 1}: {difference(header, batch.header)}")

    # Transactions.

    def execute(self, record: LogRecord, logged: LoggedTransaction, body: TransactionBody) -> Executed:
        transaction_id = names.transaction_id(logged.body)
        left = body.expires_at_ms - record.time
        refuse_if(left <= 0, RefusalReason.EXPIRED)
        refuse_if(left > self.manifest.max_validity_ms, RefusalReason.EXPIRY_TOO_FAR)
        refuse_if(transaction_id in self.sequenced, RefusalReason.DUPLICATE)
        decided, moved = self.act(record, logged, body, transaction_id)

        leaves, details = [], []
        for index, one in enumerate(decided):
            leaf, detail = leaf_and_detail(one, detail_salt(record.seed, transaction_id, index))
            leaves.append(leaf)
            details.append(detail)
        entry = Entry(
            self.sequence,
            record.time,
            transaction_id,
            authorizations_hash(logged.authorizations),
            merkle.root_of(leaves),
        )
        self.write_logs(record, body, entry, decided, leaves, moved)
        self.sequenced.add(transaction_id)
        self.sequence += 1
        return Executed(entry, tuple(leaves), tuple(details))

    def act(
        self, record: LogRecord, logged: LoggedTransaction, body: TransactionBody, transaction_id: bytes
    ) -> tuple[list[Decided], Moved | None]:
        """What a transaction decides and writes, but for the logs. Refuses before it writes."""
        match body.act:
            case OpenAccount(kind=kind):
                refuse_if(self.is_open(body.sender), RefusalReason.ACCOUNT_EXISTS)
                key = AccountKey(names.ED25519, logged.authorizations[0].public_key)
                self.state.put(Kind.ACCOUNT, body.sender, Account(kind, self.sequence, (key,)), record.seed)
                return [Decided(OutcomeKind.ACCOUNT_OPENED, body.sender)], None
            case GrantConsent() as grant:
                return self.grant(record, body, grant, transaction_id)
            case RevokeConsent() as revocation:
                return self.revoke(record, body, revocation)
            case RequestAccess(subjects=subjects, scope=scope):
                assert scope is not None
                self.check_asker(body.sender, scope)
                decided = [self.request(body.sender, subject, scope, record.time) for subject in subjects]
                outcomes = {one.object: one for one in decided}
                self.requests[transaction_id] = PastRequest(body.sender, record.time, scope, outcomes)
                return decided, None
            case RecordAccess() as access:
                assert access.scope is not None
                self.check_asker(body.sender, access.scope)
                return [self.record_access(body.sender, access, record.time)], None
        raise AssertionError("read_body refuses a body without act")

    def is_open(self, account: bytes) -> bool:
        return self.state.get(Kind.ACCOUNT, account) is not None

    def consents_of(self, subject: bytes) -> SubjectConsents:
        return self.state.get(Kind.SUBJECT_CONSENTS, subject) or SubjectConsents()

    def grant(
        self, record: LogRecord, body: TransactionBody, grant: GrantConsent, transaction_id: bytes
    ) -> tuple[list[Decided], Moved]:
        terms = grant.terms
        assert terms is not None
        refuse_if(not self.is_open(body.sender), RefusalReason.UNKNOWN_ACCOUNT)
        refuse_if(not self.knows_codes(terms), RefusalReason.UNKNOWN_CODE)
        consents = self.consents_of(body.sender)
        refuse_if(len(consents.active) >= MAX_ACTIVE_CONSENTS, RefusalReason.TOO_MANY_CONSENTS)
        code = grant.revocation_code_hash or None
        taken = code is not None and self.state.get(Kind.REVOCATION_CODE, code) is not None
        refuse_if(taken, RefusalReason.REVOCATION_CODE_TAKEN)

        moment = Moment(self.sequence, record.time)
        consent = Consent(body.sender, moment, None, code, grant.source_hash or None, body.salt, terms)
        self.state.put(Kind.CONSENT, transaction_id, consent, record.seed)
        if code is not None:
            self.state.put(Kind.REVOCATION_CODE, code, RevocationCode(transaction_id), record.seed)
        added = ActiveConsent(transaction_id, terms_hash(encode_terms(terms), body.salt))
        active = tuple(sorted((*consents.active, added), key=lambda one: one.consent))
        decided = Decided(OutcomeKind.CONSENT_GRANTED, transaction_id, consent_log_size=consents.log.size)
        return [decided], Moved(body.sender, active)

    def knows_codes(self, terms: ConsentTerms) -> bool:
        def known(provision: Provision) -> bool:
            return (
                all(map(self.rules.knows_purpose, provision.purposes))
                and all(self.rules.knows_label(label.system, label.code) for label in provision.labels)
                and all(map(known, provision.provisions))
            )

        return all(map(known, terms.provisions))

    def revoke(
        self, record: LogRecord, body: TransactionBody, revocation: RevokeConsent
    ) -> tuple[list[Decided], Moved | None]:
        if revocation.revocation_code is not None:
            code = self.state.get(Kind.REVOCATION_CODE, names.revocation_code_hash(revocation.revocation_code))
            refuse_if(code is None, RefusalReason.UNKNOWN_REVOCATION_CODE)
            consent_id = code.consent
        else:
            assert revocation.consent_id is not None
            consent_id = revocation.consent_id
        consent: Consent | None = self.state.get(Kind.CONSENT, consent_id)
        may = consent is not None and (revocation.revocation_code is not None or consent.subject == body.sender)
        if consent is None or consent.revoked is not None or not may:
            return [Decided(OutcomeKind.REVOCATION_WITHOUT_EFFECT, consent_id)], None
        revoked = replace(consent, revoked=Moment(self.sequence, record.time))
        self.state.put(Kind.CONSENT, consent_id, revoked, record.seed)
        consents = self.consents_of(consent.subject)
        active = tuple(one for one in consents.active if one.consent != consent_id)
        decided = Decided(OutcomeKind.CONSENT_REVOKED, consent_id, consent_log_size=consents.log.size)
        return [decided], Moved(consent.subject, active)

    def check_asker(self, sender: bytes, scope: AccessScope) -> None:
        refuse_if(not self.is_open(sender), RefusalReason.UNKNOWN_ACCOUNT)
        known = self.rules.knows_purpose(scope.purpose) and all(
            self.rules.knows_label(label.system, label.code) for label in scope.labels
        )
        refuse_if(not known, RefusalReason.UNKNOWN_CODE)

    def decide(self, sender: bytes, subject: bytes, scope: AccessScope, time: int) -> Decision:
        if self.state.get(Kind.SUBJECT_CONSENTS, subject) is None and not self.is_open(subject):
            return Decision(False, Reason.UNKNOWN_SUBJECT, None, (), ())
        active = {
            one.consent: self.state.get(Kind.CONSENT, one.consent).terms for one in self.consents_of(subject).active
        }
        return self.policy.decide(active, sender, scope, time)

    def request(self, sender: bytes, subject: bytes, scope: AccessScope, time: int) -> Decided:
        decision = self.decide(sender, subject, scope, time)
        size = self.consents_of(subject).log.size
        return outcome_of_request(decision, subject, question_of(sender, scope), time, size, self.manifest)

    def record_access(self, sender: bytes, access: RecordAccess, time: int) -> Decided:
        assert access.scope is not None
        decision = self.decide(sender, access.subject, access.scope, time)
        size = self.consents_of(access.subject).log.size
        past = self.requests.get(access.request_id)
        reason = cannot_rely(past, sender, access.subject, access.scope, time, self.manifest)
        return outcome_of_record(decision, reason, access.subject, question_of(sender, access.scope), size)

    def write_logs(
        self,
        record: LogRecord,
        body: TransactionBody,
        entry: Entry,
        decided: Sequence[Decided],
        leaves: Sequence[bytes],
        moved: Moved | None,
    ) -> None:
        if moved is not None:
            consents = replace(self.consents_of(moved.subject), active=moved.active)
            leaf = ConsentLogLeaf(entry.sequence, entry.time, merkle.leaf_hash(encode(entry)), consents.digest())
            consents = replace(consents, log=consents.log.append(encode(leaf)))
            self.state.put(Kind.SUBJECT_CONSENTS, moved.subject, consents, record.seed)
        if not isinstance(body.act, (RequestAccess, RecordAccess)):
            return
        for one, data in zip(decided, leaves):
            fields = entry.sequence, entry.time, entry.transaction_id, merkle.leaf_hash(data)
            accesses = self.state.get(Kind.SUBJECT_ACCESSES, one.object) or SubjectAccesses()
            access = encode(AccessLogLeaf(*fields, self.consents_of(one.object).log.size))
            self.state.put(Kind.SUBJECT_ACCESSES, one.object, SubjectAccesses(accesses.log.append(access)), record.seed)
            actor = self.state.get(Kind.ACTOR, body.sender) or Actor()
            asked = encode(ActorLogLeaf(*fields))
            self.state.put(Kind.ACTOR, body.sender, Actor(actor.log.append(asked)), record.seed)


def outcome_of_request(
    decision: Decision, subject: bytes, question: Question, time: int, log_size: int, manifest: Manifest
) -> Decided:
    return Decided(
        OutcomeKind.ACCESS_PERMITTED if decision.permitted else OutcomeKind.ACCESS_DENIED,
        subject,
        question,
        time + manifest.permit_validity_ms if decision.permitted else 0,
        decision.obligations,
        log_size,
        decision.reason,
        decision.decider,
        decision.verdicts,
    )


def outcome_of_record(
    decision: Decision, cannot_rely: Reason | None, subject: bytes, question: Question, log_size: int
) -> Decided:
    if cannot_rely is not None:
        decision = Decision(False, cannot_rely, None, decision.verdicts, ())
    return Decided(
        OutcomeKind.ACCESS_COVERED if decision.permitted else OutcomeKind.ACCESS_UNCOVERED,
        subject,
        question,
        0,
        decision.obligations,
        log_size,
        decision.reason,
        decision.decider,
        decision.verdicts,
    )


def cannot_rely(
    past: PastRequest | None, sender: bytes, subject: bytes, scope: AccessScope, time: int, manifest: Manifest
) -> Reason | None:
    """Why a record of access cannot rely on the request that it cites."""
    if past is None or time - past.time > manifest.max_validity_ms or past.sender != sender:
        return Reason.NO_SUCH_REQUEST
    outcome = past.outcomes.get(subject)
    if outcome is None:
        return Reason.NO_SUCH_REQUEST
    if outcome.kind != OutcomeKind.ACCESS_PERMITTED:
        return Reason.REQUEST_DENIED
    if outcome.permit_until <= time:
        return Reason.PERMIT_EXPIRED
    return None if scope_covers(past.scope, scope) else Reason.BEYOND_THE_REQUEST


def leaf_and_detail(one: Decided, salt: bytes) -> tuple[bytes, bytes]:
    detail = encode(Detail(salt, one.consent_log_size, one.reason, COMBINING_RULE, one.decider, one.verdicts))
    leaf = OutcomeLeaf(one.kind, one.object, one.question, one.permit_until, one.obligations, sha256(detail))
    return encode(leaf), detail


def refuse_if(condition: bool, reason: RefusalReason) -> None:
    if condition:
        raise RuleError(reason)


def scope_covers(asked: AccessScope, read: AccessScope) -> bool:
    """Whether what was read is within what was asked for."""
    if (asked.custodian, asked.purpose, asked.action) != (read.custodian, read.purpose, read.action):
        return False
    if not set(read.classes) <= set(asked.classes):
        return False
    if asked.labels and not (read.labels and set(read.labels) <= set(asked.labels)):
        return False
    return covers(read_period(asked.data_period) or ALL_OF_TIME, read_period(read.data_period) or ALL_OF_TIME)


def batch_record(header: bytes, state_root: bytes) -> bytes:
    return encode(BatchRecord(sha256(header), state_root, STATE_TREE))


def hold_together(batch: Batch, manifest: Manifest, chain_id: bytes) -> BatchHeader:
    """The header of a batch that its sequencer signed as it is; one that does not hold together accuses nobody."""
    header = decode(BatchHeader, batch.header)
    if header.chain_id != chain_id:
        raise FormatError(f"batch {header.number} is of ledger {header.chain_id.hex()}")
    if not ed25519.verify(manifest.sequencer_key, layout_hash(header), batch.signature):
        raise FormatError(f"batch {header.number}: the sequencer's signature does not verify")
    for name, root, leaves in (
        ("log", header.log_root, batch.log_records),
        ("entries", header.entries_root, batch.entries),
    ):
        found = merkle.root_of(leaves)
        if found != root:
            raise FormatError(f"batch {header.number}: the {name} root {root.hex()} expected, {found.hex()} found")
    return header


def difference(expected: bytes, found: bytes) -> str:
    """Which fields of two headers differ."""
    try:
        a, b = decode(BatchHeader, expected), decode(BatchHeader, found)
    except FormatError as error:
        return str(error)
    fields = [name for name in a.__dataclass_fields__ if getattr(a, name) != getattr(b, name)]
    return f"the header differs in {', '.join(fields)}"
