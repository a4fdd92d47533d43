"""Transactions: the canonical encoding of their bodies, and the checks that need no state.

The decoder knows the messages of proto/assent/v1/transaction.proto and refuses every encoding but the
canonical one, so nothing has to be encoded again to compare it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Annotated, Any, TypeVar, get_type_hints

from . import names
from .codec import U64_MAX, FormatError
from .layouts import Authorization, check_code

MAX_BODY_BYTES = 65_536
# Body, act, terms, 4 provisions, and what is in the last of them.
MAX_DEPTH = 8

VARINT, LENGTH_DELIMITED = 0, 2

T = TypeVar("T")


class AccountKind(IntEnum):
    PATIENT = 1
    ORGANISATION = 2
    PRACTITIONER = 3
    DEVICE = 4
    RESEARCHER = 5


class Action(IntEnum):
    COLLECT = 1
    ACCESS = 2
    USE = 3
    DISCLOSE = 4
    CORRECT = 5


class Effect(IntEnum):
    UNSPECIFIED = 0
    PERMIT = 1
    DENY = 2


class ActorRole(IntEnum):
    RECIPIENT = 1
    CUSTODIAN = 2


@dataclass(frozen=True)
class Field:
    """How a field of a message is encoded. `kind` is bytes, str, int, an enumeration, or a message."""

    number: int
    kind: Any
    repeated: bool = False
    oneof: bool = False

    @property
    def is_varint(self) -> bool:
        return self.kind is int or issubclass(self.kind, IntEnum)


@dataclass(frozen=True)
class Coding:
    system: Annotated[str, Field(1, str)] = ""
    code: Annotated[str, Field(2, str)] = ""


@dataclass(frozen=True)
class Period:
    start_ms: Annotated[int, Field(1, int)] = 0
    end_ms: Annotated[int, Field(2, int)] = 0


@dataclass(frozen=True)
class Actor:
    role: Annotated[int, Field(1, ActorRole)] = 0
    account: Annotated[bytes, Field(2, bytes)] = b""


@dataclass(frozen=True)
class Provision:
    effect: Annotated[int, Field(1, Effect)] = 0
    period: Annotated[Period | None, Field(2, Period)] = None
    actors: Annotated[tuple[Actor, ...], Field(3, Actor, repeated=True)] = ()
    purposes: Annotated[tuple[str, ...], Field(4, str, repeated=True)] = ()
    actions: Annotated[tuple[int, ...], Field(5, Action, repeated=True)] = ()
    classes: Annotated[tuple[Coding, ...], Field(6, Coding, repeated=True)] = ()
    labels: Annotated[tuple[Coding, ...], Field(7, Coding, repeated=True)] = ()
    data_period: Annotated[Period | None, Field(8, Period)] = None
    provisions: Annotated[tuple[Provision, ...], Field(9, None, repeated=True)] = ()


@dataclass(frozen=True)
class ConsentTerms:
    default_effect: Annotated[int, Field(1, Effect)] = 0
    period: Annotated[Period | None, Field(2, Period)] = None
    provisions: Annotated[tuple[Provision, ...], Field(3, Provision, repeated=True)] = ()


@dataclass(frozen=True)
class AccessScope:
    custodian: Annotated[bytes, Field(1, bytes)] = b""
    purpose: Annotated[str, Field(2, str)] = ""
    action: Annotated[int, Field(3, Action)] = 0
    classes: Annotated[tuple[Coding, ...], Field(4, Coding, repeated=True)] = ()
    labels: Annotated[tuple[Coding, ...], Field(5, Coding, repeated=True)] = ()
    data_period: Annotated[Period | None, Field(6, Period)] = None
    acting_person_hash: Annotated[bytes, Field(7, bytes)] = b""


@dataclass(frozen=True)
class OpenAccount:
    kind: Annotated[int, Field(1, AccountKind)] = 0


@dataclass(frozen=True)
class GrantConsent:
    terms: Annotated[ConsentTerms | None, Field(1, ConsentTerms)] = None
    revocation_code_hash: Annotated[bytes, Field(2, bytes)] = b""
    source_hash: Annotated[bytes, Field(3, bytes)] = b""


@dataclass(frozen=True)
class RevokeConsent:
    consent_id: Annotated[bytes | None, Field(1, bytes, oneof=True)] = None
    revocation_code: Annotated[bytes | None, Field(2, bytes, oneof=True)] = None


@dataclass(frozen=True)
class RequestAccess:
    subjects: Annotated[tuple[bytes, ...], Field(1, bytes, repeated=True)] = ()
    scope: Annotated[AccessScope | None, Field(2, AccessScope)] = None


@dataclass(frozen=True)
class RecordAccess:
    request_id: Annotated[bytes, Field(1, bytes)] = b""
    subject: Annotated[bytes, Field(2, bytes)] = b""
    scope: Annotated[AccessScope | None, Field(3, AccessScope)] = None


Act = OpenAccount | GrantConsent | RevokeConsent | RequestAccess | RecordAccess


@dataclass(frozen=True)
class TransactionBody:
    chain_id: Annotated[bytes, Field(1, bytes)] = b""
    sender: Annotated[bytes, Field(2, bytes)] = b""
    salt: Annotated[bytes, Field(3, bytes)] = b""
    expires_at_ms: Annotated[int, Field(4, int)] = 0
    open_account: Annotated[OpenAccount | None, Field(16, OpenAccount, oneof=True)] = None
    grant_consent: Annotated[GrantConsent | None, Field(17, GrantConsent, oneof=True)] = None
    revoke_consent: Annotated[RevokeConsent | None, Field(18, RevokeConsent, oneof=True)] = None
    request_access: Annotated[RequestAccess | None, Field(19, RequestAccess, oneof=True)] = None
    record_access: Annotated[RecordAccess | None, Field(20, RecordAccess, oneof=True)] = None

    @property
    def act(self) -> Act | None:
        acts = (self.open_account, self.grant_consent, self.revoke_consent, self.request_access, self.record_access)
        return next((act for act in acts if act is not None), None)

    @property
    def is_revocation_by_code(self) -> bool:
        return self.revoke_consent is not None and self.revoke_consent.revocation_code is not None


def fields_of(cls: Any) -> dict[int, tuple[str, Field]]:
    """The fields of a message by their numbers."""
    found = {}
    hints = get_type_hints(cls, include_extras=True)
    for member in fields(cls):
        (field,) = hints[member.name].__metadata__
        if field.kind is None:  # a message that contains itself
            field = Field(field.number, cls, field.repeated, field.oneof)
        found[field.number] = (member.name, field)
    return found


FIELDS: dict[Any, dict[int, tuple[str, Field]]] = {
    cls: fields_of(cls)
    for cls in (
        Coding,
        Period,
        Actor,
        Provision,
        ConsentTerms,
        AccessScope,
        OpenAccount,
        GrantConsent,
        RevokeConsent,
        RequestAccess,
        RecordAccess,
        TransactionBody,
    )
}


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A varint in its shortest form, and where it ends."""
    value = 0
    for length in range(10):
        if position + length >= len(data):
            raise FormatError("cut off within a varint")
        byte = data[position + length]
        value |= (byte & 0x7F) << 7 * length
        if byte < 0x80:
            if length and not byte:
                raise FormatError("a varint is not in its shortest form")
            if value > U64_MAX:
                raise FormatError("a varint is above 64 bits")
            return value, position + length + 1
    raise FormatError("a varint is longer than 10 bytes")


def read_bytes(data: bytes, position: int) -> tuple[bytes, int]:
    size, position = read_varint(data, position)
    if position + size > len(data):
        raise FormatError(f"{size} bytes expected, {len(data) - position} found")
    return data[position : position + size], position + size


def read_enum(kind: type[IntEnum], value: int) -> IntEnum:
    try:
        return kind(value)
    except ValueError as error:
        raise FormatError(f"a number of {kind.__name__} expected, {value} found") from error


def read_packed(kind: type[IntEnum], data: bytes) -> tuple[IntEnum, ...]:
    if not data:
        raise FormatError("an empty list is written out")
    values, position = [], 0
    while position < len(data):
        value, position = read_varint(data, position)
        values.append(read_enum(kind, value))
    return tuple(values)


def read_value(field: Field, data: bytes, position: int, depth: int) -> tuple[Any, int]:
    """The value of one field behind its key, and where it ends."""
    if field.is_varint and not field.repeated:
        number, position = read_varint(data, position)
        return (number if field.kind is int else read_enum(field.kind, number)), position
    payload, position = read_bytes(data, position)
    if field.is_varint:
        return read_packed(field.kind, payload), position
    if field.kind is bytes:
        return payload, position
    if field.kind is str:
        try:
            return payload.decode(), position
        except UnicodeDecodeError as error:
            raise FormatError(f"UTF-8 expected: {error.reason}") from error
    return decode(field.kind, payload, depth + 1), position


def decode(cls: type[T], data: bytes, depth: int = 1) -> T:
    """A message in canonical form: known fields in ascending order, each once, default values left out."""
    if depth > MAX_DEPTH:
        raise FormatError(f"messages are nested more than {MAX_DEPTH} levels deep")
    values: dict[str, Any] = {}
    oneof_seen = False
    position = last = 0
    while position < len(data):
        key, position = read_varint(data, position)
        number, wire_type = key >> 3, key & 7
        if number not in FIELDS[cls]:
            raise FormatError(f"{cls.__name__} has no field {number}")
        name, field = FIELDS[cls][number]
        where = f"{cls.__name__}.{name}"
        packed = field.is_varint and field.repeated
        wanted = VARINT if field.is_varint and not packed else LENGTH_DELIMITED
        if wire_type != wanted:
            raise FormatError(f"{where}: wire type {wanted} expected, {wire_type} found")
        if number < last or (number == last and (packed or not field.repeated)):
            raise FormatError(f"{where} is out of order or repeated")
        if field.oneof and oneof_seen:
            raise FormatError(f"{cls.__name__} has two of the fields that exclude each other")
        last, oneof_seen = number, oneof_seen or field.oneof
        value, position = read_value(field, data, position, depth)
        # A message that is there is no default, and neither are elements of a list and a choice within a oneof.
        if value in (0, b"", "") and not field.oneof and not field.repeated:
            raise FormatError(f"the default value of {where} is written out")
        values[name] = (*values.get(name, ()), value) if field.repeated and not packed else value
    return cls(**values)


def expect(condition: bool, message: str) -> None:
    if not condition:
        raise FormatError(message)


def check_id(value: bytes, name: str, optional: bool = False) -> None:
    expect(len(value) == 32 or (optional and not value), f"{name}: 32 bytes expected, {len(value)} found")


def check_list(values: Sequence[Any], name: str, most: int, least: int = 0) -> None:
    expect(least <= len(values) <= most, f"{name}: {least} to {most} expected, {len(values)} found")
    expect(len(set(values)) == len(values), f"{name}: a value is there twice")


def check_codings(codings: Sequence[Coding], name: str, least: int = 0) -> None:
    check_list(codings, name, 8, least)
    for coding in codings:
        check_code(coding.system, 128)
        check_code(coding.code, 64)


def check_period(period: Period | None, name: str) -> None:
    if period is None:
        return
    expect(period.start_ms != 0 or period.end_ms != 0, f"{name}: a start or an end expected")
    expect(period.end_ms != U64_MAX, f"{name}: an end below 2^64-1 expected")
    end = period.end_ms or U64_MAX
    expect(period.start_ms < end, f"{name}: an end above the start {period.start_ms} expected, {end} found")


def check_provisions(provisions: Sequence[Provision], level: int = 1) -> int:
    """Checks a list of siblings and what is below them; how many there are in all."""
    expect(not provisions or level <= 4, "provisions: at most 4 levels expected")
    count = 0
    for provision in provisions:
        expect(provision.effect != Effect.UNSPECIFIED, "a provision: an effect expected")
        check_period(provision.period, "period of a provision")
        check_list(provision.actors, "actors", 16)
        for actor in provision.actors:
            expect(actor.role != 0, "an actor: a role expected")
            check_id(actor.account, "account of an actor")
        check_list(provision.purposes, "purposes", 16)
        for purpose in provision.purposes:
            check_code(purpose, 64)
        check_list(provision.actions, "actions", 5)
        check_codings(provision.classes, "classes")
        check_codings(provision.labels, "labels")
        check_period(provision.data_period, "data period of a provision")
        count += 1 + check_provisions(provision.provisions, level + 1)
    return count


def check_terms(terms: ConsentTerms | None) -> None:
    expect(terms is not None, "terms expected")
    assert terms is not None
    expect(bool(terms.default_effect or terms.provisions), "a default or a provision expected")
    check_period(terms.period, "period of the terms")
    count = check_provisions(terms.provisions)
    expect(count <= 64, f"at most 64 provisions expected, {count} found")


def check_scope(scope: AccessScope | None) -> None:
    expect(scope is not None, "a scope expected")
    assert scope is not None
    check_id(scope.custodian, "custodian")
    check_code(scope.purpose, 64)
    expect(scope.action != 0, "an action expected")
    check_codings(scope.classes, "classes", least=1)
    check_codings(scope.labels, "labels")
    check_period(scope.data_period, "data period")
    check_id(scope.acting_person_hash, "acting_person_hash", optional=True)


def check_act(act: Act | None) -> None:
    match act:
        case OpenAccount():
            expect(act.kind != 0, "a kind of account expected")
        case GrantConsent():
            check_terms(act.terms)
            check_id(act.revocation_code_hash, "revocation_code_hash", optional=True)
            check_id(act.source_hash, "source_hash", optional=True)
        case RevokeConsent(consent_id=bytes() as consent):
            check_id(consent, "consent_id")
        case RevokeConsent(revocation_code=bytes() as code):
            check_id(code, "revocation_code")
        case RequestAccess():
            check_list(act.subjects, "subjects", 32, least=1)
            for subject in act.subjects:
                check_id(subject, "a subject")
            check_scope(act.scope)
        case RecordAccess():
            check_id(act.request_id, "request_id")
            check_id(act.subject, "subject")
            check_scope(act.scope)
        case _:
            raise FormatError("an act expected, none found")


def read_body(data: bytes, chain_id: bytes) -> TransactionBody:
    """A body after the checks without state, as far as they are about the body."""
    if len(data) > MAX_BODY_BYTES:
        raise FormatError(f"a body of at most {MAX_BODY_BYTES} bytes expected, {len(data)} found")
    body = decode(TransactionBody, data)
    expect(body.chain_id == chain_id, f"the chain {chain_id.hex()} expected, {body.chain_id.hex()} found")
    expect(16 <= len(body.salt) <= 32, f"a salt of 16 to 32 bytes expected, {len(body.salt)} found")
    check_act(body.act)
    if body.is_revocation_by_code:
        expect(not body.sender, "a revocation by code: no sender expected")
    else:
        check_id(body.sender, "sender")
    return body


def check_sender(body: TransactionBody, authorizations: Sequence[Authorization]) -> Authorization | None:
    """The one authorization that is to be there, by a key of the sender; its signature is not verified here."""
    wanted = 0 if body.is_revocation_by_code else 1
    expect(len(authorizations) == wanted, f"{wanted} authorizations expected, {len(authorizations)} found")
    if not wanted:
        return None
    account = names.account_id(authorizations[0].public_key)
    expect(
        account == body.sender,
        f"a signature by {names.write_did(body.sender)} expected, by {names.write_did(account)} found",
    )
    return authorizations[0]
