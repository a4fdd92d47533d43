"""The policy of ruleset 1: what consents say to a request ("Policy of ruleset 1" of docs/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from . import layouts
from .codec import U64_MAX
from .layouts import Decider, Obligation, Reason, Verdict
from .ruleset import RESOURCE_TYPES, Ruleset
from .transaction import AccessScope, ActorRole, Coding, ConsentTerms, Effect, Period, Provision

MAX_OBLIGATIONS = 32
ALL_OF_TIME = layouts.Period(0, U64_MAX)


class Extent(IntEnum):
    NONE = 0
    PART = 1
    WHOLE = 2


def read_period(period: Period | None) -> layouts.Period | None:
    """A period of a message with its open ends written out."""
    return None if period is None else layouts.Period(period.start_ms, period.end_ms or U64_MAX)


def covers(outer: layouts.Period, inner: layouts.Period) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def overlap(a: layouts.Period, b: layouts.Period) -> bool:
    return a.start < b.end and b.start < a.end


def contains(period: Period | None, time: int) -> bool:
    found = read_period(period)
    return found is None or found.start <= time < found.end


def read_codings(codings: Sequence[Coding]) -> tuple[layouts.Coding, ...]:
    return tuple(layouts.Coding(coding.system, coding.code) for coding in codings)


@dataclass(frozen=True)
class Question:
    """One class and at most one label of what is asked for."""

    recipient: bytes
    scope: AccessScope
    data_class: Coding
    label: Coding | None
    time: int

    @property
    def data_period(self) -> layouts.Period:
        return read_period(self.scope.data_period) or ALL_OF_TIME


@dataclass(frozen=True)
class Answer:
    effect: Effect
    path: tuple[int, ...]


@dataclass(frozen=True)
class Decision:
    permitted: bool
    reason: Reason
    decider: Decider | None
    verdicts: tuple[Verdict, ...]
    obligations: tuple[Obligation, ...]


def questions(recipient: bytes, scope: AccessScope, time: int) -> list[Question]:
    labels: Sequence[Coding | None] = scope.labels or (None,)
    return [Question(recipient, scope, one, label, time) for one in scope.classes for label in labels]


class Policy:
    def __init__(self, ruleset: Ruleset) -> None:
        self.ruleset = ruleset

    def decide(self, active: Mapping[bytes, ConsentTerms], recipient: bytes, scope: AccessScope, time: int) -> Decision:
        """What the active consents say to a request, by their ids."""
        consents = sorted(active.items())
        if not consents:
            return Decision(False, Reason.NO_CONSENT, None, (), ())
        obligations: list[Obligation] = []
        said: dict[bytes, Effect] = {consent: Effect.UNSPECIFIED for consent, _ in consents}
        first: dict[Effect, tuple[bytes, Answer]] = {}
        all_permitted = True
        for question in questions(recipient, scope, time):
            permitted = False
            for consent, terms in consents:
                answer = self.ask(terms, question, obligations)
                if answer is None:
                    continue
                said[consent] = max(said[consent], answer.effect)
                first.setdefault(answer.effect, (consent, answer))
                permitted = permitted or answer.effect == Effect.PERMIT
            all_permitted = all_permitted and permitted
        verdicts = tuple(Verdict(consent, int(said[consent])) for consent, _ in consents)

        def by(effect: Effect) -> tuple[Decider, bool]:
            consent, answer = first[effect]
            return Decider(consent, answer.path), bool(answer.path)

        if Effect.DENY in first:
            decider, by_provision = by(Effect.DENY)
            reason = Reason.DENIED_BY_PROVISION if by_provision else Reason.DENIED_BY_DEFAULT
            return Decision(False, reason, decider, verdicts, ())
        if not all_permitted:
            return Decision(False, Reason.NONE_APPLICABLE, None, verdicts, ())
        decider, by_provision = by(Effect.PERMIT)
        if len(obligations) > MAX_OBLIGATIONS:
            return Decision(False, Reason.TOO_MANY_OBLIGATIONS, decider, verdicts, ())
        reason = Reason.PERMITTED_BY_PROVISION if by_provision else Reason.PERMITTED_BY_DEFAULT
        return Decision(True, reason, decider, verdicts, tuple(obligations))

    def ask(self, terms: ConsentTerms, question: Question, obligations: list[Obligation]) -> Answer | None:
        """What one consent says to one question; obligations are added to the list."""
        if not contains(terms.period, question.time):
            return None
        answer = self.walk(terms.provisions, question, obligations)
        if answer is None and terms.default_effect:
            return Answer(Effect(terms.default_effect), ())
        return answer

    def walk(self, siblings: Sequence[Provision], question: Question, obligations: list[Obligation]) -> Answer | None:
        kept: Answer | None = None
        for index, provision in enumerate(siblings):
            extent = self.extent(provision, question)
            if extent == Extent.PART and provision.effect == Effect.DENY:
                obligation = Obligation(
                    provision.purposes,
                    read_codings(provision.classes),
                    read_codings(provision.labels),
                    read_period(provision.data_period),
                )
                if obligation not in obligations:
                    obligations.append(obligation)
            if extent != Extent.WHOLE:
                continue
            inner = self.walk(provision.provisions, question, obligations)
            answer = Answer(Effect(provision.effect), (index,))
            if inner is not None:
                answer = Answer(inner.effect, (index, *inner.path))
            if kept is None or (answer.effect == Effect.DENY and kept.effect == Effect.PERMIT):
                kept = answer
        return kept

    def extent(self, provision: Provision, question: Question) -> Extent:
        parties = {ActorRole.RECIPIENT: question.recipient, ActorRole.CUSTODIAN: question.scope.custodian}
        for role, party in parties.items():
            named = [actor.account for actor in provision.actors if actor.role == role]
            if named and party not in named:
                return Extent.NONE
        if not contains(provision.period, question.time):
            return Extent.NONE
        if provision.actions and question.scope.action not in provision.actions:
            return Extent.NONE
        return min(
            self.extent_of_purposes(provision, question),
            self.extent_of_classes(provision, question),
            self.extent_of_labels(provision, question),
            self.extent_of_data_period(provision, question),
        )

    def extent_of_purposes(self, provision: Provision, question: Question) -> Extent:
        asked, subsumes = question.scope.purpose, self.ruleset.purposes.subsumes
        if not provision.purposes or any(subsumes(named, asked) for named in provision.purposes):
            return Extent.WHOLE
        return Extent.PART if any(subsumes(asked, named) for named in provision.purposes) else Extent.NONE

    def extent_of_classes(self, provision: Provision, question: Question) -> Extent:
        if not provision.classes or question.data_class in provision.classes:
            return Extent.WHOLE
        all_resource_types = all(
            coding.system == RESOURCE_TYPES for coding in (question.data_class, *provision.classes)
        )
        return Extent.NONE if all_resource_types else Extent.PART

    def extent_of_labels(self, provision: Provision, question: Question) -> Extent:
        label = question.label
        if not provision.labels:
            return Extent.WHOLE
        subsumed = label is not None and any(
            named.system == label.system and self.ruleset.subsumes(label.system, named.code, label.code)
            for named in provision.labels
        )
        return Extent.WHOLE if subsumed else Extent.PART

    def extent_of_data_period(self, provision: Provision, question: Question) -> Extent:
        period = read_period(provision.data_period)
        if period is None or covers(period, question.data_period):
            return Extent.WHOLE
        return Extent.PART if overlap(period, question.data_period) else Extent.NONE
