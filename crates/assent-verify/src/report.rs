//! What a checked file means, in words.

use assent_core::{
    AccountId, ChainId, TransactionId,
    batch::BatchHeader,
    note::{Checkpoint, Cosignature},
    outcome::{Detail, Entry, OutcomeKind, OutcomeLeaf},
    transaction::{Act, RevokeBy, Transaction},
};
use bitcoin::{BlockHash, Network, Txid, hashes::Hash as _};
use serde::Serialize;

use crate::{
    base::{Anchor, HeaderChain},
    check::{Ledger, Pins},
    state::history::Access,
};

/// Whether the ledger was pinned from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// All checks hold and the chain id is the pinned one.
    Verified,
    /// All checks hold, but nothing says that this is the ledger that was meant.
    ConsistentNotPinned,
}

/// What the checks have established so far.
pub(crate) struct Facts {
    pub(crate) ledger: Ledger,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) entry: Option<Entry>,
    pub(crate) leaves: Vec<OutcomeLeaf>,
    pub(crate) details: Vec<Detail>,
    pub(crate) header: Option<BatchHeader>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) cosigned: Vec<Cosignature>,
    pub(crate) anchor: Option<Anchor>,
    pub(crate) anchor_count: usize,
    pub(crate) chain: Option<HeaderChain>,
}

impl Facts {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            transaction: None,
            entry: None,
            leaves: Vec::new(),
            details: Vec::new(),
            header: None,
            checkpoint: None,
            cosigned: Vec::new(),
            anchor: None,
            anchor_count: 0,
            chain: None,
        }
    }
}

/// The result of checking a file that is no proof bundle.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Pinned or not.
    pub status: Status,
    /// The kind of file.
    pub kind: &'static str,
    /// Ledger.
    pub chain_id: ChainId,
    /// What is particular to the kind.
    #[serde(flatten)]
    pub facts: serde_json::Value,
    /// For a history: each access of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesses: Option<Vec<Access>>,
    /// The checks that were made, in order.
    pub steps: Vec<String>,
    /// What the file proves.
    pub proves: Vec<String>,
    /// What it does not.
    pub does_not_prove: Vec<String>,
    /// Who had to be trusted for what.
    pub trusted: Vec<String>,
}

impl Finding {
    pub(crate) fn new(kind: &'static str, ledger: &Ledger, pins: &Pins) -> Self {
        Self {
            status: status(pins),
            kind,
            chain_id: ledger.chain_id,
            facts: serde_json::json!({}),
            accesses: None,
            steps: vec![manifest_step(pins)],
            proves: Vec::new(),
            does_not_prove: Vec::new(),
            trusted: vec![trusted_for_the_ledger(pins)],
        }
    }
}

fn status(pins: &Pins) -> Status {
    if pins.chain_id.is_some() { Status::Verified } else { Status::ConsistentNotPinned }
}

fn manifest_step(pins: &Pins) -> String {
    match pins.chain_id {
        Some(_) => "genesis manifest: its hash is the pinned chain id".to_owned(),
        None => "genesis manifest: readable; its hash was NOT compared with a pinned chain id".to_owned(),
    }
}

fn trusted_for_the_ledger(pins: &Pins) -> String {
    match pins.chain_id {
        Some(chain) => {
            format!("You, for the chain id {chain}: it names the sequencer's and the prover's keys.")
        }
        None => {
            "NOBODY vouches for the ledger: give its chain id with --chain, from a source that you trust."
                .to_owned()
        }
    }
}

/// Who has executed the batches again.
pub(crate) fn trusted_for_execution(cosigned: &[Cosignature]) -> String {
    if cosigned.is_empty() {
        return "The prover, for having executed the batch again before it signed the checkpoint.".to_owned();
    }
    let names: Vec<&str> = cosigned.iter().map(|one| one.name.as_str()).collect();
    format!(
        "The prover and these validators, for having executed the batch again; one honest one among them is enough: {}.",
        names.join(", ")
    )
}

/// The result of checking a proof bundle.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Pinned or not.
    pub status: Status,
    /// `bundle`.
    pub kind: &'static str,
    /// Ledger.
    pub chain_id: ChainId,
    /// Transaction.
    pub transaction_id: TransactionId,
    /// Its place among all entries.
    pub sequence: u64,
    /// Its time, in milliseconds since 1970.
    pub time_ms: u64,
    /// The outcome of each decision or act, by its stable name.
    pub outcomes: Vec<&'static str>,
    /// Number of its batch.
    pub batch_number: u64,
    /// Size of the checkpoint.
    pub checkpoint_size: u64,
    /// Anchor transaction, as Bitcoin Core prints it.
    pub anchor_txid: String,
    /// Block of the anchor, as Bitcoin Core prints it.
    pub block_hash: String,
    /// Blocks in the file from the anchor's on.
    pub depth: usize,
    /// Base network.
    pub network: String,
    /// Expected hashes that the headers stand for, in hexadecimal.
    pub work: String,
    /// The checks that were made, in order.
    pub steps: Vec<String>,
    /// What the file proves.
    pub proves: Vec<String>,
    /// What it does not.
    pub does_not_prove: Vec<String>,
    /// Who had to be trusted for what.
    pub trusted: Vec<String>,
}

impl Report {
    pub(crate) fn of(facts: Facts, pins: &Pins) -> Self {
        let entry = facts.entry.as_ref();
        let header = facts.header.as_ref();
        let block = facts.chain.as_ref().and_then(|chain| chain.hashes.first());
        let mut report = Self {
            status: status(pins),
            kind: "bundle",
            chain_id: facts.ledger.chain_id,
            transaction_id: entry.map_or(TransactionId([0; 32]), |entry| entry.transaction_id),
            sequence: entry.map_or(0, |entry| entry.sequence),
            time_ms: entry.map_or(0, |entry| entry.time_ms),
            outcomes: facts.leaves.iter().map(|leaf| leaf.kind.name()).collect(),
            batch_number: header.map_or(0, |header| header.number),
            checkpoint_size: facts.checkpoint.map_or(0, |checkpoint| checkpoint.size),
            anchor_txid: facts
                .anchor
                .as_ref()
                .map_or_else(String::new, |anchor| Txid::from_byte_array(anchor.txid).to_string()),
            block_hash: block.map_or_else(String::new, |hash| BlockHash::from_byte_array(*hash).to_string()),
            depth: facts.chain.as_ref().map_or(0, |chain| chain.hashes.len()),
            network: facts.ledger.manifest.base.name.clone(),
            work: facts
                .chain
                .as_ref()
                .map_or_else(String::new, |chain| hex::encode(chain.work).trim_start_matches('0').to_owned()),
            steps: Vec::new(),
            proves: Vec::new(),
            does_not_prove: Vec::new(),
            trusted: Vec::new(),
        };
        report.steps = report.steps(&facts, pins);
        report.proves = report.proves(&facts);
        report.does_not_prove = does_not_prove(&facts);
        report.trusted = trusted(&facts, pins);
        report
    }

    fn steps(&self, facts: &Facts, pins: &Pins) -> Vec<String> {
        let mut steps = vec![
            manifest_step(pins),
            match facts.transaction.as_ref().and_then(|transaction| transaction.sender) {
                Some(sender) => format!("transaction: in canonical form, signed by {sender}"),
                None => "transaction: in canonical form, authorized by the revocation code in it".to_owned(),
            },
            format!(
                "entry: commits to the transaction, its authorization and {} outcome(s)",
                facts.leaves.len()
            ),
            format!("batch {}: contains the entry; header signed by the sequencer", self.batch_number),
            format!("checkpoint of size {}: contains the batch; signed by the prover", self.checkpoint_size),
            format!(
                "anchors: {} single-use seal(s) from the manifest's outpoint, the last is the first over the batch",
                facts.anchor_count
            ),
            format!(
                "base chain ({}): anchor in block {}, {} block(s) deep",
                self.network, self.block_hash, self.depth
            ),
        ];
        for one in &facts.cosigned {
            let time = utc(one.time_s.saturating_mul(1000));
            steps.push(format!("cosignature: by validator {} at {time}", one.name));
        }
        if !facts.details.is_empty() {
            steps.push("detail: opens to the outcome's salted hash".to_owned());
        }
        if pins.base_block.is_some() {
            steps.push("pinned base block: among the headers".to_owned());
        }
        if pins.least_work.is_some() {
            steps.push("least work: reached".to_owned());
        }
        steps
    }

    fn proves(&self, facts: &Facts) -> Vec<String> {
        let time = utc(self.time_ms);
        let mut proves = Vec::new();
        if let Some(transaction) = &facts.transaction {
            proves.push(format!("{} {}", describe_act(transaction), describe_signer(transaction)));
        }
        proves.push(format!(
            "It was sequenced as number {} of ledger {} at {time}, with this outcome:",
            self.sequence, self.chain_id
        ));
        for leaf in &facts.leaves {
            proves.push(format!("  {}", describe_leaf(leaf)));
        }
        for detail in &facts.details {
            if let Some(reason) = detail.reason {
                let decider = detail
                    .decider
                    .as_ref()
                    .map_or_else(String::new, |d| format!(", by consent {} at {:?}", d.consent, d.path));
                proves.push(format!("  the sequencer's reason: {reason:?}{decider}"));
            }
        }
        proves.push(format!(
            "No later than block {} of the base chain ({}, block time {}), nobody can have changed, moved or inserted it since.",
            self.block_hash,
            self.network,
            utc(facts.chain.as_ref().map_or(0, |chain| u64::from(chain.first_time_s) * 1000))
        ));
        proves
    }
}

fn describe_signer(transaction: &Transaction) -> String {
    match transaction.sender {
        Some(sender) => format!("It was signed by {sender}."),
        None => "Whoever sent it knew the revocation code.".to_owned(),
    }
}

fn describe_act(transaction: &Transaction) -> String {
    let id = transaction.id;
    match &transaction.act {
        Act::OpenAccount(kind) => format!("Transaction {id} opens an account as {}.", kind.name()),
        Act::GrantConsent { .. } => format!("Transaction {id} grants a consent (which has that id)."),
        Act::RevokeConsent(RevokeBy::Consent(consent)) => {
            format!("Transaction {id} revokes consent {consent}.")
        }
        Act::RevokeConsent(RevokeBy::Code(_)) => format!("Transaction {id} revokes a consent by its code."),
        Act::RequestAccess { scope, .. } => {
            format!("Transaction {id} asks to {} data for {}.", scope.action.code(), scope.purpose)
        }
        Act::RecordAccess { scope, request, .. } => format!(
            "Transaction {id} records that data were read ({} for {}) under request {request}.",
            scope.action.code(),
            scope.purpose
        ),
    }
}

pub(crate) fn describe_leaf(leaf: &OutcomeLeaf) -> String {
    let mut text = leaf.kind.describe().to_owned();
    match leaf.kind {
        OutcomeKind::AccessPermitted
        | OutcomeKind::AccessDenied
        | OutcomeKind::AccessCovered
        | OutcomeKind::AccessUncovered => {
            text.push_str(&format!(", subject {}", AccountId(leaf.object)));
        }
        _ => {}
    }
    if leaf.permit_until_ms > 0 {
        text.push_str(&format!(", may be relied on until {}", utc(leaf.permit_until_ms)));
    }
    for obligation in &leaf.obligations {
        let codes: Vec<&str> = obligation
            .labels
            .iter()
            .chain(&obligation.classes)
            .map(|coding| coding.code.as_str())
            .chain(obligation.purposes.iter().map(String::as_str))
            .collect();
        let period = if obligation.data_period.is_some() { " of a certain period" } else { "" };
        text.push_str(&format!("; must leave out: {}{period}", codes.join(" ")));
    }
    text
}

fn does_not_prove(facts: &Facts) -> Vec<String> {
    let mut not = vec![
        "Who stands behind an account id: keys are known, names are not.".to_owned(),
        "What the data were, or that nobody read them around Assent.".to_owned(),
    ];
    match facts.transaction.as_ref().map(|transaction| &transaction.act) {
        Some(Act::GrantConsent { .. }) => {
            not.push(
                "That the consent is still in force: it may have been revoked later (assent audit consent)."
                    .to_owned(),
            );
        }
        Some(Act::RequestAccess { .. } | Act::RecordAccess { .. }) => {
            not.push(
                "That the decision was right: the consents in force at that moment are not in this file (assent audit \
                 decision)."
                    .to_owned(),
            );
        }
        _ => {}
    }
    not.push(
        "That the entry is the only one about this subject: this file is about one transaction.".to_owned(),
    );
    not
}

fn trusted(facts: &Facts, pins: &Pins) -> Vec<String> {
    let mut trusted = vec![trusted_for_the_ledger(pins)];
    trusted.push("The sequencer, for the time of the entry and for its outcome.".to_owned());
    trusted.push(trusted_for_execution(&facts.cosigned));
    trusted.push(match (facts.ledger.network, pins.base_block, pins.least_work) {
        (Network::Regtest, None, None) => {
            "Whoever runs the base chain: its network is regtest, where blocks cost nothing to make.".to_owned()
        }
        (_, Some(_), _) => "You, for the base block that was pinned; the base chain's miners, for the rest.".to_owned(),
        (_, None, Some(_)) => "The base chain's miners; you, for the least work.".to_owned(),
        (_, None, None) => {
            "The base chain's miners; nothing pins which branch is the real one: give --base-block or --least-work.".to_owned()
        }
    });
    trusted
}

/// Milliseconds since 1970 as ISO 8601 in UTC (days from civil, Howard Hinnant's algorithm).
#[must_use]
pub fn utc(ms: u64) -> String {
    let (seconds, millis) = (ms / 1000, ms % 1000);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(utc(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    }
}
