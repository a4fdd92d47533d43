"""The checks of decisions, consents and histories, which rest on the state tree ("Other files" of docs/formats.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import execution, merkle, names, note, ruleset
from .checks import (
    ReadError,
    check,
    check_batch_record,
    check_checkpoint,
    check_cosignatures,
    check_header_ruleset,
    check_header_signature,
    check_inclusion,
    check_transaction,
    read_header,
    require,
    require_equal,
)
from .codec import FormatError, decode, sha256
from .execution import Decided, PastRequest
from .findings import Context, Finding, names_of, say_cosigned
from .layouts import (
    BatchHeader,
    CitesNothing,
    ConsentFile,
    DecisionFile,
    Detail,
    HistoryFile,
    HistoryItem,
    LogSlice,
    MomentKind,
    NoRequest,
    OpenedRecord,
    OutcomeKind,
    OutcomeLeaf,
    Present,
    Question,
    Reason,
    ShownAccess,
    StateRoot,
    Whose,
)
from .policy import Decision, Policy
from .say import say_detail, say_outcome, say_period, say_question, say_time
from .state import (
    RECORDS,
    AccessLogLeaf,
    ActiveConsent,
    ActorLogLeaf,
    Consent,
    ConsentLogLeaf,
    Kind,
    SubjectAccesses,
    SubjectConsents,
    active_digest,
    key_hash,
    state_key,
    value_hash,
)
from .statetree import root_from_way
from .terms import question_of, read_terms, scope_of, terms_hash
from .transaction import Action, RecordAccess, RequestAccess, TransactionBody

REQUESTS = (OutcomeKind.ACCESS_PERMITTED, OutcomeKind.ACCESS_DENIED)
RECORDED = (OutcomeKind.ACCESS_COVERED, OutcomeKind.ACCESS_UNCOVERED)


# Parts.


@dataclass(frozen=True)
class ProvenState:
    """The state after a batch, for which the prover vouched."""

    header: BatchHeader
    root: bytes
    checkpoint: note.Checkpoint

    @property
    def end(self) -> int:
        """The first sequence that it does not reach."""
        return self.header.first_sequence + self.header.entry_count

    def __str__(self) -> str:
        return f"the state after batch {self.header.number}, sealed at {say_time(self.header.time)}"

    def facts(self) -> dict[str, object]:
        return {
            "as_of_batch": self.header.number,
            "as_of_entries": self.end,
            "as_of_time_ms": self.header.time,
            "checkpoint_size": self.checkpoint.size,
            "cosigned_by": names_of(self.checkpoint),
        }

    def trusted(self) -> list[str]:
        return [
            "The sequencer, for the times of the entries.",
            "The prover, for having executed all batches again before it signed their state.",
            *say_cosigned(self.checkpoint),
        ]


def check_state(part: StateRoot, context: Context) -> ProvenState:
    header = read_header(part.header.header, context.manifest, context.chain_id)
    check_header_ruleset(header, context.manifest)
    check_header_signature(header, context.manifest, part.header.signature)
    record = check_batch_record(part.record, part.header.header)
    checkpoint = check_checkpoint(part.checkpoint, context.manifest, context.chain_id, context.pins)
    check_cosignatures(checkpoint, context.pins)
    check_inclusion(part.record, header.number, part.path, checkpoint.size, checkpoint.root)
    return ProvenState(header, record.state_root, checkpoint)


def check_opened(part: OpenedRecord, kind: Kind, id: bytes, state: ProvenState) -> Any:
    """The record that the state has under a key, or None where it has none."""
    key = state_key(kind, id)
    require_equal("state-key", "state key", key, part.key)
    present = part.terminal if isinstance(part.terminal, Present) else None
    with check("state-proof"):
        value = value_hash(present.salt, present.record) if present else b""
        root = root_from_way(key_hash(key), part.siblings, part.terminal, value)
    require_equal("state-proof", "state root", state.root, root)
    if present is None:
        return None
    with check("state-record"):
        return decode(RECORDS[kind], present.record)


def read_leaves(cls: Any, leaves: Sequence[bytes]) -> list[Any]:
    with check("log-root"):
        return [decode(cls, leaf) for leaf in leaves]


def check_range(leaves: Sequence[bytes], start: int, path: Sequence[bytes], log: merkle.Range) -> None:
    with check("log-root"):
        root = merkle.root_from_range([merkle.leaf_hash(leaf) for leaf in leaves], start, log.size, path)
    require_equal("log-root", "root of the log", log.root(), root)


def check_slice(part: LogSlice, cls: Any, log: merkle.Range) -> list[Any]:
    leaves = read_leaves(cls, part.leaves)
    check_range(part.leaves, part.start, part.path, log)
    return leaves


def check_accesses(part: LogSlice, log: merkle.Range) -> list[AccessLogLeaf]:
    return check_slice(part, AccessLogLeaf, log)


def check_decision_leaf(leaf: AccessLogLeaf, decision: bytes) -> OutcomeLeaf:
    with check("outcome-leaf"):
        found = decode(OutcomeLeaf, decision)
    require_equal("decision-leaf", "hash of the decision", leaf.decision_leaf_hash, merkle.leaf_hash(decision))
    return found


# Decisions.


@dataclass(frozen=True)
class Judged:
    """A decision, and what it was made of."""

    leaf: AccessLogLeaf
    outcome: OutcomeLeaf
    question: Question

    @property
    def subject(self) -> bytes:
        return self.outcome.object


def check_decision_file(content: DecisionFile, context: Context) -> Finding:
    state = check_state(content.state, context)
    accesses, judged = check_access(content, state)
    body = check_decided_transaction(content, judged, context)
    active = check_active(content, judged, state)
    size = judged.leaf.consent_log_size
    require("decision", (content.account is not None) == (size == 0), "an account where there are no consents expected")
    known = False
    if content.account is not None:
        account = check_opened(content.account, Kind.ACCOUNT, judged.subject, state)
        known = account is not None and account.opened_sequence < judged.leaf.sequence
    past = check_cited(content, judged, body, accesses, context)
    with check("detail"):
        detail = decode(Detail, content.detail)
    require_equal("detail", "hash of the detail", judged.outcome.detail_hash, sha256(content.detail))

    if size == 0:
        decision = Decision(False, Reason.NO_CONSENT if known else Reason.UNKNOWN_SUBJECT, None, (), ())
    else:
        terms = {one.consent: read_terms(one.terms) for one in content.active}
        question = judged.question
        decision = load_policy().decide(terms, question.recipient, scope_of(question), judged.leaf.time)
    expected = decide_again(decision, judged, past, context)
    for what, right, found in zip(
        ("decision", "detail"),
        execution.leaf_and_detail(expected, detail.salt),
        (content.access.decision, content.detail),
    ):
        require("wrong-decision", right == found, f"another {what} than {expected.kind.name}, {expected.reason.name}")
    return decision_finding(state, judged, detail, active)


def load_policy() -> Policy:
    try:
        return Policy(ruleset.load())
    except (FormatError, OSError) as error:
        raise ReadError(f"deciding again needs the ruleset's files: {error}") from error


def check_access(content: DecisionFile, state: ProvenState) -> tuple[merkle.Range, Judged]:
    with check("outcome-leaf"):
        subject = decode(OutcomeLeaf, content.access.decision).object
    record: SubjectAccesses | None = check_opened(content.accesses, Kind.SUBJECT_ACCESSES, subject, state)
    require("decision", record is not None, "accesses to the subject's data expected, none found")
    assert record is not None
    (leaf,) = check_accesses(content.access.slice, record.log)
    outcome = check_decision_leaf(leaf, content.access.decision)
    question = outcome.question
    require("decision", question is not None, f"a decision with a question expected, {outcome.kind.name} found")
    require("decision", outcome.kind in REQUESTS + RECORDED, f"a decision expected, {outcome.kind.name} found")
    assert question is not None
    return record.log, Judged(leaf, outcome, question)


def check_decided_transaction(content: DecisionFile, judged: Judged, context: Context) -> TransactionBody | None:
    """The transaction, where it is there: it has to be for a record of access."""
    if content.transaction is None:
        require("decision", judged.outcome.kind in REQUESTS, "the transaction of a record of access expected")
        return None
    transaction = content.transaction
    body = check_transaction(transaction.body, transaction.authorizations, context.chain_id)
    found = names.transaction_id(transaction.body)
    require_equal("transaction-id", "transaction id of the access", judged.leaf.transaction_id, found)
    match body.act:
        case RequestAccess(subjects=subjects, scope=scope) if judged.outcome.kind in REQUESTS:
            pass
        case RecordAccess(subject=subject, scope=scope) if judged.outcome.kind in RECORDED:
            subjects = (subject,)
        case _:
            subjects, scope = (), None
    require("decision", subjects == (judged.subject,), f"a transaction about {judged.subject.hex()} alone expected")
    assert scope is not None
    same = question_of(body.sender, scope) == judged.question
    require("decision", same, "the transaction's sender and scope as the question expected")
    return body


def check_active(content: DecisionFile, judged: Judged, state: ProvenState) -> list[bytes]:
    """That the file has the terms of all consents that were active when the decision was made."""
    record: SubjectConsents | None = check_opened(content.consents, Kind.SUBJECT_CONSENTS, judged.subject, state)
    log = SubjectConsents().log if record is None else record.log
    size = judged.leaf.consent_log_size
    require("consent-log", log.size >= size, f"a consent log of at least {size} leaves expected, {log.size} found")
    around = range(max(size - 1, 0), min(size + 1, log.size))
    found = content.around
    place = range(0) if found is None else range(found.start, found.start + len(found.leaves))
    same = place == around and (found is None) == (not around)
    require("consent-log", same, f"leaves {list(around)} of the consent log expected, {list(place)} found")
    digest = active_digest(())
    if found is not None:
        leaves: list[ConsentLogLeaf] = check_slice(found, ConsentLogLeaf, log)
        for index, leaf in zip(place, leaves):
            in_order = leaf.sequence < judged.leaf.sequence if index < size else leaf.sequence > judged.leaf.sequence
            require("consent-log", in_order, f"leaf {index} of the consent log is of sequence {leaf.sequence}")
        if size > 0:
            digest = leaves[0].active_digest
    with check("state-record"):
        for one in content.active:
            read_terms(one.terms)
    active = tuple(ActiveConsent(one.consent, terms_hash(one.terms, one.salt)) for one in content.active)
    require_equal("active-consents", "digest of the active consents", digest, active_digest(active))
    return [one.consent for one in content.active]


def check_cited(
    content: DecisionFile,
    judged: Judged,
    body: TransactionBody | None,
    log: merkle.Range,
    context: Context,
) -> PastRequest | None:
    """The request that a record of access can rely on."""

    def cited(condition: bool, message: str) -> None:
        require("cited-request", condition, message)

    is_record = judged.outcome.kind in RECORDED
    cited(is_record != isinstance(content.cited, CitesNothing), "a cited request for records of access only expected")
    if not is_record:
        return None
    assert body is not None and body.record_access is not None
    request_id = body.record_access.request_id

    def by_the_same(outcome: OutcomeLeaf) -> bool:
        same = outcome.question is not None and outcome.question.recipient == judged.question.recipient
        return same and outcome.kind in REQUESTS

    if isinstance(content.cited, ShownAccess):
        (leaf,) = check_accesses(content.cited.slice, log)
        outcome = check_decision_leaf(leaf, content.cited.decision)
        cited(by_the_same(outcome), f"a request by the same recipient expected, {outcome.kind.name} found")
        cited(leaf.transaction_id == request_id, f"request {request_id.hex()} expected")
        cited(leaf.sequence < judged.leaf.sequence, f"a request before {judged.leaf.sequence} expected")
        assert outcome.question is not None
        decided = Decided(outcome.kind, judged.subject, permit_until=outcome.permit_until)
        scope = scope_of(outcome.question)
        return PastRequest(outcome.question.recipient, leaf.time, scope, {judged.subject: decided})

    assert isinstance(content.cited, NoRequest)
    part = content.cited.slice
    leaves = check_accesses(part, log)
    ends = part.start + len(leaves) - 1 == content.access.slice.start
    cited(ends, "accesses that end with the record's own expected")
    window = judged.leaf.time - context.manifest.max_validity_ms
    cited(part.start == 0 or leaves[0].time < window, f"accesses from the first on, or from before {window}, expected")
    named = [leaf for leaf in leaves if leaf.time >= window and leaf.transaction_id == request_id]
    cited(bool(named) == (content.cited.decision is not None), "the decision of what the record names expected")
    for leaf in named:
        assert content.cited.decision is not None
        outcome = check_decision_leaf(leaf, content.cited.decision)
        cited(not by_the_same(outcome), "the request is there")
    return None


def decide_again(decision: Decision, judged: Judged, past: PastRequest | None, context: Context) -> Decided:
    leaf, question, subject = judged.leaf, judged.question, judged.subject
    if judged.outcome.kind in REQUESTS:
        return execution.outcome_of_request(
            decision, subject, question, leaf.time, leaf.consent_log_size, context.manifest
        )
    reason = execution.cannot_rely(past, question.recipient, subject, scope_of(question), leaf.time, context.manifest)
    return execution.outcome_of_record(decision, reason, subject, question, leaf.consent_log_size)


def decision_finding(state: ProvenState, judged: Judged, detail: Detail, active: list[bytes]) -> Finding:
    leaf, question = judged.leaf, judged.question
    recipient = names.write_did(question.recipient)
    return Finding(
        "decision",
        [
            f"The decision on transaction {leaf.transaction_id.hex()}, number {leaf.sequence}, was right at "
            f"{say_time(leaf.time)}:",
            f"  {say_outcome(judged.outcome)}",
            f"  to {say_question(question)}, by {recipient} at custodian {names.write_did(question.custodian)}",
            f"  {say_detail(detail)}",
            f"All consents of the subject that were active then ({len(active)}) were put to it again.",
            f"It is part of {state}.",
        ],
        [
            "Who stands behind an account id: keys are known, names are not.",
            "That a consent is still in force.",
            "What the data were, or that nobody read them around the ledger.",
        ],
        state.trusted(),
        {
            "transaction_id": leaf.transaction_id.hex(),
            "sequence": leaf.sequence,
            "time_ms": leaf.time,
            "subject": names.write_did(judged.subject),
            "recipient": recipient,
            "action": Action(question.action).name.lower(),
            "purpose": question.purpose,
            "outcome": judged.outcome.kind.name,
            "reason": detail.reason.name,
            "consents": [consent.hex() for consent in active],
            **state.facts(),
        },
    )


# Consents.


def check_consent_file(content: ConsentFile, context: Context) -> Finding:
    state = check_state(content.state, context)
    kind, moment = content.moment_kind, content.moment
    reached = {
        MomentKind.END_OF_STATE: True,
        MomentKind.TIME: moment < state.header.time,
        MomentKind.SEQUENCE: moment < state.end,
    }
    limits = f"{state.header.time} and sequence {state.end}"
    require("moment-not-reached", reached[kind], f"a moment before {limits} expected, {kind.name} {moment} found")
    consent: Consent | None = check_opened(content.record, Kind.CONSENT, content.consent, state)

    def is_by_then(what: Any) -> bool:
        if kind == MomentKind.END_OF_STATE:
            return True
        return (what.time if kind == MomentKind.TIME else what.sequence) <= moment

    status = "ABSENT"
    if consent is not None and is_by_then(consent.granted):
        status = "REVOKED" if consent.revoked is not None and is_by_then(consent.revoked) else "ACTIVE"
    then = {
        MomentKind.END_OF_STATE: f"In {state}",
        MomentKind.TIME: f"At {say_time(moment)}",
        MomentKind.SEQUENCE: f"After entry {moment}",
    }[kind]
    lines = [f"{then} consent {content.consent.hex()} was {status}."]
    more: dict[str, object] = {}
    if consent is not None and status != "ABSENT":
        granted = consent.granted
        lines.append(
            f"{names.write_did(consent.subject)} granted it as number {granted.sequence} at {say_time(granted.time)}."
        )
        more = {
            "subject": names.write_did(consent.subject),
            "granted_sequence": granted.sequence,
            "granted_time_ms": granted.time,
        }
        if status == "REVOKED":
            assert consent.revoked is not None
            revoked = consent.revoked
            lines.append(f"It was revoked as number {revoked.sequence} at {say_time(revoked.time)}.")
            more |= {"revoked_sequence": revoked.sequence, "revoked_time_ms": revoked.time}
    return Finding(
        "consent",
        lines,
        ["That it is in force now: a state ends with its batch.", "Who stands behind an account id."],
        state.trusted(),
        {
            "consent": content.consent.hex(),
            "consent_status": status,
            "moment": kind.name,
            "moment_value": moment,
            **more,
            **state.facts(),
        },
    )


# Histories.


@dataclass(frozen=True)
class ListedAccess:
    leaf: AccessLogLeaf | ActorLogLeaf
    outcome: OutcomeLeaf
    question: Question


def check_history_file(content: HistoryFile, context: Context) -> Finding:
    state = check_state(content.state, context)
    require("period", content.start < content.end, f"a period expected, {content.start} to {content.end} found")
    require("period", content.start <= state.header.time, "a period that begins before the state ends expected")
    by_subject = content.whose == Whose.SUBJECT
    kind = Kind.SUBJECT_ACCESSES if by_subject else Kind.ACTOR
    record = check_opened(content.log, kind, content.account, state)
    log = merkle.Range() if record is None else record.log
    items = content.items
    check_indices(content, log)
    require("log-root", not items or items[-1].index < log.size, f"an index below {log.size} expected")
    leaves = read_leaves(AccessLogLeaf if by_subject else ActorLogLeaf, [item.leaf for item in items])
    for before, after in zip(leaves, leaves[1:]):
        rises = before.sequence <= after.sequence and before.time <= after.time
        require("log-root", rises, f"sequence or time falls after {before.sequence}")
    within = [content.start <= leaf.time < content.end for leaf in leaves]
    for item, inside in zip(items, within):
        require("period", (item.decision is not None) == inside, f"access {item.index}: a decision just in the period")
    require("period", all(within[1:-1]), "one access before the period and one after it at most")
    check_edges(content, [leaf.time for leaf in leaves], within, log)
    if items:
        check_range([item.leaf for item in items], items[0].index, content.path, log)
    listed = [check_item(item, leaf, content) for item, leaf in zip(items, leaves)]
    return history_finding(content, state, [one for one in listed if one is not None])


def check_indices(content: HistoryFile, log: merkle.Range) -> None:
    items, empty = content.items, log.size == 0
    require("history-gap", bool(items) != empty, f"accesses of a log of {log.size} expected, {len(items)} found")
    require("history-gap", not (empty and content.path), "no range proof of an empty log expected")
    indices = [item.index for item in items]
    for name, wrong in (("order", int.__gt__), ("duplicate", int.__eq__), ("gap", lambda a, b: b > a + 1)):
        for before, after in zip(indices, indices[1:]):
            require(f"history-{name}", not wrong(before, after), f"access {before + 1} expected, {after} found")


def check_edges(content: HistoryFile, times: list[int], within: list[bool], log: merkle.Range) -> None:
    """That there is nothing more within the period on either side."""
    if not times:
        return
    begins = content.items[0].index == 0 or times[0] < content.start
    ends = content.items[-1].index == log.size - 1 or times[-1] >= content.end
    if len(times) == 2 and not any(within):
        begins, ends = times[0] < content.start, times[1] >= content.end
    require("history-gap", begins, f"accesses from the first on, or from before the period, expected from {times[0]}")
    require("history-gap", ends, f"accesses to the last, or to after the period, expected until {times[-1]}")


def check_item(item: HistoryItem, leaf: AccessLogLeaf | ActorLogLeaf, content: HistoryFile) -> ListedAccess | None:
    def rule(condition: bool, message: str) -> None:
        require("history-item", condition, f"access {item.index}: {message}")

    if item.decision is None:
        rule(item.detail is None, "a detail without its decision")
        return None
    rule(merkle.leaf_hash(item.decision) == leaf.decision_leaf_hash, "another decision than the log's")
    with check("history-item"):
        outcome = decode(OutcomeLeaf, item.decision)
    question = outcome.question
    rule(question is not None, "a decision without a question")
    assert question is not None
    by_subject = content.whose == Whose.SUBJECT
    whose = outcome.object if by_subject else question.recipient
    require_equal("history-foreign", f"account of access {item.index}", content.account, whose)
    rule((item.detail is not None) == by_subject, "a detail for subjects, and only for them, expected")
    if isinstance(leaf, AccessLogLeaf) and item.detail is not None:
        rule(sha256(item.detail) == outcome.detail_hash, "another detail than the decision's")
        with check("history-item"):
            detail = decode(Detail, item.detail)
        rule(detail.consent_log_size == leaf.consent_log_size, "another size of the consent log than the log's")
    return ListedAccess(leaf, outcome, question)


def history_finding(content: HistoryFile, state: ProvenState, listed: list[ListedAccess]) -> Finding:
    by_subject = content.whose == Whose.SUBJECT
    account = names.write_did(content.account)
    whose = f"to the data of {account}" if by_subject else f"by {account}"
    lines = [
        f"{len(listed)} requests and accesses {whose} {say_period(content.start, content.end)}: these are all up to "
        f"{state}."
    ]
    for one in listed:
        by = f", by {names.write_did(one.question.recipient)}" if by_subject else ""
        lines.append(
            f"  number {one.leaf.sequence} at {say_time(one.leaf.time)}, to {say_question(one.question)}{by}: "
            f"{say_outcome(one.outcome)}"
        )
    return Finding(
        "history",
        lines,
        [
            "What was asked or read after that batch.",
            "That the decisions were right: that is what a decision file is for.",
            "That nobody read the data around the ledger.",
        ],
        state.trusted(),
        {
            "of": content.whose.name.lower(),
            "account": account,
            "from_ms": content.start,
            "to_ms": content.end,
            "accesses": len(listed),
            "outcomes": dict(sorted(Counter(one.outcome.kind.name for one in listed).items())),
            **state.facts(),
        },
    )
