"""Consent terms (layout 0x13) and questions, between their layouts and the messages of transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import layouts
from .codec import U64_MAX, Codec, FormatError, Reader, list_of, option_of, read_all, sha256, short, text, uint
from .layouts import Question
from .policy import read_codings, read_period
from .transaction import AccessScope, Actor, ActorRole, Coding, ConsentTerms, Period, Provision

START = b"\x13\x01"
MAX_PROVISIONS = 64
MAX_LEVELS = 4


def message_period(period: layouts.Period | None) -> Period | None:
    return None if period is None else Period(period.start, 0 if period.end == U64_MAX else period.end)


def message_codings(codings: Sequence[layouts.Coding]) -> tuple[Coding, ...]:
    return tuple(Coding(coding.system, coding.code) for coding in codings)


def read_actor(reader: Reader) -> Actor:
    return Actor(ROLE.read(reader), reader.take(32))


EFFECT, ROLE = uint(1, 1, 2), uint(1, ActorRole.RECIPIENT, ActorRole.CUSTODIAN)
OPTION_OF_PERIOD = option_of(layouts.Period)
CODING_LIST = list_of(layouts.Coding, 8)
PERIOD = Codec(
    lambda reader: message_period(OPTION_OF_PERIOD.read(reader)),
    lambda period: OPTION_OF_PERIOD.write(read_period(period)),
)
CODINGS = Codec(
    lambda reader: message_codings(CODING_LIST.read(reader)),
    lambda codings: CODING_LIST.write(read_codings(codings)),
)
# The fields of a provision, but for the provisions inside it.
FIELDS: tuple[tuple[str, Codec], ...] = (
    ("effect", EFFECT),
    ("period", PERIOD),
    ("actors", list_of(Codec(read_actor, lambda actor: ROLE.write(actor.role) + actor.account), 16)),
    ("purposes", list_of(text(short()), 16)),
    ("actions", list_of(uint(1, 1, 5), 5)),
    ("classes", CODINGS),
    ("labels", CODINGS),
    ("data_period", PERIOD),
)


def provisions(level: int = 1) -> Codec:
    """A list of siblings and what is below them."""

    def read(reader: Reader) -> Provision:
        values: dict[str, Any] = {name: codec.read(reader) for name, codec in FIELDS}
        return Provision(**values, provisions=below().read(reader))

    def write(provision: Provision) -> bytes:
        fields = b"".join(codec.write(getattr(provision, name)) for name, codec in FIELDS)
        return fields + below().write(provision.provisions)

    def below() -> Codec:
        return provisions(level + 1)

    return list_of(Codec(read, write), MAX_PROVISIONS if level <= MAX_LEVELS else 0)


PROVISIONS = provisions()


def count(siblings: Sequence[Provision]) -> int:
    return sum(1 + count(provision.provisions) for provision in siblings)


def read_terms(data: bytes) -> ConsentTerms:
    return read_all(TERMS, data)


def encode_terms(terms: ConsentTerms) -> bytes:
    return START + bytes([terms.default_effect]) + PERIOD.write(terms.period) + PROVISIONS.write(terms.provisions)


def read_from(reader: Reader) -> ConsentTerms:
    found = reader.take(len(START))
    if found != START:
        raise FormatError(f"layout {START.hex()} (type and version) expected, {found.hex()} found")
    terms = ConsentTerms(uint(1, 0, 2).read(reader), PERIOD.read(reader), PROVISIONS.read(reader))
    if count(terms.provisions) > MAX_PROVISIONS:
        raise FormatError(f"at most {MAX_PROVISIONS} provisions expected, {count(terms.provisions)} found")
    return terms


TERMS = Codec(read_from, encode_terms)


def terms_hash(terms: bytes, salt: bytes) -> bytes:
    return sha256(terms, salt)


def question_of(sender: bytes, scope: AccessScope) -> Question:
    """What the outcome of a transaction with this scope says was asked, or read."""
    return Question(
        sender,
        scope.custodian,
        scope.purpose,
        scope.action,
        read_codings(scope.classes),
        read_codings(scope.labels),
        read_period(scope.data_period),
        scope.acting_person_hash or None,
    )


def scope_of(question: Question) -> AccessScope:
    return AccessScope(
        question.custodian,
        question.purpose,
        question.action,
        message_codings(question.classes),
        message_codings(question.labels),
        message_period(question.data_period),
        question.acting_person or b"",
    )
