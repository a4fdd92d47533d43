//! What commands print: words for people, JSON for machines.

use std::io::IsTerminal;

use assent_client::{Sequenced, Submitted};
use assent_core::{
    AccountId,
    outcome::{OutcomeKind, OutcomeLeaf},
};
use assent_verify::{
    command::{print_line, printable},
    utc,
};
use serde_json::{Value, json};

/// How a command ended, apart from errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// The rules refused the transaction.
    Refused,
    /// Sequenced, and denied or uncovered.
    Denied,
    /// The sequencer or the prover broke its word; evidence was written.
    Contradicted,
    /// Evidence was looked for and there is none.
    NothingFound,
}

impl Outcome {
    /// The exit code, as `--help` lists it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 3,
            Self::Denied => 4,
            Self::Contradicted => 5,
            Self::NothingFound => 6,
        }
    }
}

/// Prints one result.
pub fn print(as_json: bool, human: impl FnOnce() -> String, machine: impl FnOnce() -> Value) {
    print_line(&printable(&if as_json { format!("{:#}", machine()) } else { human() }));
}

/// Prints a line for people.
pub fn print_text(text: &str) {
    print_line(&printable(text));
}

/// A line that says what is being waited for, on terminals and for people only.
pub fn progress(as_json: bool, text: &str) {
    if !as_json && std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

/// Ends a progress line.
pub fn progress_done(as_json: bool) {
    progress(as_json, "");
}

/// Prints what became of a submission and says how the command ends.
pub fn submitted(as_json: bool, what: &str, submitted: &Submitted, extra: &[(&str, String)]) -> Outcome {
    match submitted {
        Submitted::Refused(refusal) => {
            print(
                as_json,
                || {
                    format!(
                        "REFUSED: {} ({})\n  transaction  {}\n  nothing was sequenced; the refusal is signed by the sequencer",
                        refusal.reason,
                        refusal.reason.name(),
                        refusal.transaction_id
                    )
                },
                || {
                    json!({
                        "result": "REFUSED",
                        "reason": refusal.reason.name(),
                        "message": refusal.reason.to_string(),
                        "transaction_id": refusal.transaction_id,
                        "judged_at_sequence": refusal.sequence,
                    })
                },
            );
            Outcome::Refused
        }
        Submitted::Sequenced(sequenced) => {
            print(
                as_json,
                || {
                    let mut lines = vec![what.to_owned()];
                    lines.extend(receipt_lines(sequenced));
                    if sequenced.already_sequenced {
                        lines.push("  it had been sequenced before; this is the receipt of then".to_owned());
                    }
                    lines.extend(extra.iter().map(|(name, value)| format!("  {name:<12} {value}")));
                    lines.join("\n")
                },
                || {
                    let mut value = receipt_json(sequenced);
                    for (name, text) in extra {
                        value[name.replace(' ', "_")] = json!(text);
                    }
                    value
                },
            );
            outcome_of(&sequenced.leaves)
        }
    }
}

fn outcome_of(leaves: &[OutcomeLeaf]) -> Outcome {
    let denied =
        |leaf: &OutcomeLeaf| matches!(leaf.kind, OutcomeKind::AccessDenied | OutcomeKind::AccessUncovered);
    if leaves.iter().any(denied) { Outcome::Denied } else { Outcome::Done }
}

/// A receipt for people.
pub fn receipt_lines(sequenced: &Sequenced) -> Vec<String> {
    let entry = &sequenced.receipt.entry;
    let mut lines = vec![format!("  {:<12} {}", "transaction", entry.transaction_id)];
    for leaf in &sequenced.leaves {
        lines.push(format!("  {:<12} {}", "outcome", leaf_line(leaf)));
        for obligation in obligations(leaf) {
            lines.push(format!("  {:<12} must leave out {obligation}", ""));
        }
    }
    lines.push(format!(
        "  {:<12} number {} in batch {}, {}",
        "sequenced",
        entry.sequence,
        sequenced.receipt.batch_number,
        utc(entry.time_ms)
    ));
    lines.push(format!("  {:<12} durable, signature checked", "receipt"));
    lines
}

fn about_subject(kind: OutcomeKind) -> bool {
    use OutcomeKind::*;
    matches!(kind, AccessPermitted | AccessDenied | AccessCovered | AccessUncovered)
}

fn leaf_line(leaf: &OutcomeLeaf) -> String {
    let mut text = leaf.kind.describe().to_owned();
    if about_subject(leaf.kind) {
        text.push_str(&format!(" for {}", AccountId(leaf.object)));
    }
    if leaf.permit_until_ms > 0 {
        text.push_str(&format!(", until {}", utc(leaf.permit_until_ms)));
    }
    text
}

fn obligations(leaf: &OutcomeLeaf) -> Vec<String> {
    leaf.obligations
        .iter()
        .map(|obligation| {
            let mut parts = Vec::new();
            let codes = |codings: &[assent_core::terms::Coding]| {
                codings.iter().map(|coding| coding.code.clone()).collect::<Vec<_>>().join(", ")
            };
            if !obligation.labels.is_empty() {
                parts.push(format!("data labelled {}", codes(&obligation.labels)));
            }
            if !obligation.classes.is_empty() {
                parts.push(format!("classes {}", codes(&obligation.classes)));
            }
            if !obligation.purposes.is_empty() {
                parts.push(format!("use for {}", obligation.purposes.join(", ")));
            }
            if let Some(period) = obligation.data_period {
                let end = if period.end_ms == u64::MAX { "…".to_owned() } else { utc(period.end_ms) };
                parts.push(format!("data from {} to {end}", utc(period.start_ms)));
            }
            parts.join(" and ")
        })
        .collect()
}

/// A receipt for machines. The receipt itself is in hexadecimal, to be kept as evidence.
pub fn receipt_json(sequenced: &Sequenced) -> Value {
    let (receipt, entry) = (&sequenced.receipt, &sequenced.receipt.entry);
    let outcomes: Vec<Value> = sequenced
        .leaves
        .iter()
        .map(|leaf| {
            json!({
                "kind": leaf.kind.name(),
                "subject": about_subject(leaf.kind).then_some(AccountId(leaf.object)),
                "permit_until_ms": leaf.permit_until_ms,
                "must_leave_out": obligations(leaf),
            })
        })
        .collect();
    json!({
        "result": "SEQUENCED",
        "transaction_id": entry.transaction_id,
        "sequence": entry.sequence,
        "time_ms": entry.time_ms,
        "batch_number": receipt.batch_number,
        "seal_deadline_ms": receipt.deadline_ms,
        "already_sequenced": sequenced.already_sequenced,
        "outcomes": outcomes,
        "signed_receipt": signed_receipt(sequenced),
    })
}

fn signed_receipt(sequenced: &Sequenced) -> Option<Value> {
    let signed = sequenced.message.receipt.as_ref()?;
    Some(json!({
        "receipt": hex::encode(&signed.receipt),
        "group_statement": hex::encode(&signed.group_statement),
        "index": signed.index,
        "path": signed.path.iter().map(hex::encode).collect::<Vec<_>>(),
        "signature": hex::encode(&signed.signature),
    }))
}
