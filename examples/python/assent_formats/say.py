"""What the checks found, in words for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from . import layouts, names
from .codec import U64_MAX
from .layouts import Detail, OutcomeKind, OutcomeLeaf, Question
from .transaction import Action, GrantConsent, OpenAccount, RecordAccess, RequestAccess, RevokeConsent, TransactionBody


def say_time(ms: int) -> str:
    try:
        time = datetime.fromtimestamp(ms // 1000, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms since 1970"
    return f"{time:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def say_act(body: TransactionBody) -> str:
    match body.act:
        case OpenAccount():
            return "opens an account"
        case GrantConsent():
            return "grants a consent"
        case RevokeConsent(consent_id=None):
            return "revokes a consent by its revocation code"
        case RevokeConsent(consent_id=bytes() as consent):
            return f"revokes consent {consent.hex()}"
        case RequestAccess(subjects=subjects, scope=scope):
            assert scope is not None
            action, purpose = Action(scope.action).name.lower(), say_codes([scope.purpose])
            return f"asks to {action} data of {len(subjects)} subject(s) for {purpose}"
        case RecordAccess(request_id=request):
            return f"records an access under request {request.hex()}"
    raise AssertionError("read_body refuses a body without act")


def say_outcome(leaf: OutcomeLeaf) -> str:
    kind = OutcomeKind
    if leaf.kind == kind.ACCOUNT_OPENED:
        return f"account opened: {names.write_did(leaf.object)}"
    if leaf.kind in (kind.CONSENT_GRANTED, kind.CONSENT_REVOKED):
        return f"consent {leaf.object.hex()} {leaf.kind.name.removeprefix('CONSENT_').lower()}"
    if leaf.kind == kind.REVOCATION_WITHOUT_EFFECT:
        return f"revocation without effect on {leaf.object.hex()}"
    words = [f"access {leaf.kind.name.removeprefix('ACCESS_')}, subject {names.write_did(leaf.object)}"]
    if leaf.kind == kind.ACCESS_PERMITTED:
        words.append(f"may be relied on until {say_time(leaf.permit_until)}")
    for obligation in leaf.obligations:
        words.append(f"must leave out {say_obligation(obligation)}")
    return "; ".join(words)


def say_codes(codes: Iterable[str]) -> str:
    # Codes of an outcome are the sequencer's words; they shall not write to a terminal what they like.
    return "/".join(code if code.isprintable() else ascii(code) for code in codes)


def say_obligation(obligation: layouts.Obligation) -> str:
    parts = []
    if obligation.classes:
        parts.append(say_codes(coding.code for coding in obligation.classes))
    if obligation.labels:
        parts.append(f"labelled {say_codes(coding.code for coding in obligation.labels)}")
    if obligation.purposes:
        parts.append(f"for {say_codes(obligation.purposes)}")
    if obligation.data_period:
        parts.append(say_period(obligation.data_period.start, obligation.data_period.end))
    return " ".join(["data", *parts])


def say_period(start: int, end: int) -> str:
    return f"from {say_time(start) if start else 'ever'} until {say_time(end) if end < U64_MAX else 'ever'}"


def say_question(question: Question) -> str:
    action, classes = Action(question.action).name.lower(), say_codes(coding.code for coding in question.classes)
    labels = f" labelled {say_codes(coding.code for coding in question.labels)}" if question.labels else ""
    return f"{action} {classes}{labels} for {say_codes([question.purpose])}"


def say_detail(detail: Detail) -> str:
    words = [f"reason: {detail.reason.name.lower().replace('_', ' ')}"]
    if detail.decider is not None:
        path = ".".join(map(str, detail.decider.path)) or "default"
        words.append(f"decided by consent {detail.decider.consent.hex()}, provision {path}")
    for verdict in detail.verdicts:
        words.append(f"consent {verdict.consent.hex()} said {('nothing', 'permit', 'deny')[verdict.verdict]}")
    return "; ".join(words)
