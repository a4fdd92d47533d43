"""What is found in files of other kinds than a bundle, and what it is checked against."""

from __future__ import annotations

from dataclasses import dataclass, field

from . import names, note
from .checks import Pins
from .layouts import Manifest


@dataclass(frozen=True)
class Context:
    """What the parts of a file are checked against."""

    manifest: Manifest
    chain_id: bytes
    pins: Pins

    @property
    def key_id(self) -> bytes:
        return names.key_id(self.manifest.sequencer_key)


@dataclass(frozen=True)
class Finding:
    """What a file proves, after all checks held."""

    kind: str
    proven: list[str]
    not_proven: list[str]
    trusted_for: list[str]
    more: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class StatementReport:
    """What a file of another kind than a bundle proves."""

    context: Context
    finding: Finding

    @property
    def pinned(self) -> bool:
        return self.context.pins.chain_id is not None

    @property
    def status(self) -> str:
        return "VERIFIED" if self.pinned else "CONSISTENT_NOT_PINNED"

    def proves(self) -> list[str]:
        return self.finding.proven

    def does_not_prove(self) -> list[str]:
        return self.finding.not_proven

    def trusted(self) -> list[str]:
        chain = (
            "You, for the chain id: it names the keys of the sequencer and of the prover."
            if self.pinned
            else "NOBODY vouches for the ledger: give its chain id (--chain) from a source that you trust."
        )
        return [chain, *self.finding.trusted_for]

    def to_json(self) -> dict[str, object]:
        return {
            "status": self.status,
            "kind": self.finding.kind,
            "chain_id": self.context.chain_id.hex(),
            **self.finding.more,
            "proves": self.proves(),
            "does_not_prove": self.does_not_prove(),
            "trusted": self.trusted(),
        }


def names_of(checkpoint: note.Checkpoint) -> list[str]:
    return sorted(validator.name for validator in checkpoint.cosigned_by)


def say_cosigned(checkpoint: note.Checkpoint) -> list[str]:
    """Whom of those that were named it takes as well to lie."""
    if not checkpoint.cosigned_by:
        return []
    return [f"Not the prover alone: {', '.join(names_of(checkpoint))} executed the batches again and cosigned."]
