//! All accesses that were recorded about a subject, or by a recipient, within a period, as a file: complete, or refused.

use assent_core::{
    AccountId, Hash, TransactionId,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    limits,
    outcome::{Detail, OutcomeLeaf},
    records::{AccessLogLeaf, ActorAccesses, ActorLogLeaf, Moment, Record, StateKey, SubjectAccesses},
};
use assent_merkle::{CompactRange, leaf_hash, root_from_range};
use serde::{Serialize, Serializer};

use super::{
    MAX_LOG_LEAF_BYTES, OpenedRecord, StateRoot, decision::open_decision, describe_reason, read_range_path,
};
use crate::{
    check::{CheckError, Pins, VerifyError, check_digest, check_ledger},
    file::{self, ReadError, write_path},
    report::{Finding, utc},
};

/// First bytes of the file.
pub const MAGIC: &[u8] = b"assent-history\n";
/// Bytes of a file that is read: the most accesses, at some 500 bytes each.
pub const MAX_HISTORY_FILE_BYTES: usize = 512 * 1024 * 1024;
/// Accesses in one file. A longer log is proven in periods, whose files meet: each shows its neighbours outside.
pub const MAX_HISTORY_ACCESSES: usize = 500_000;
/// Accesses that are listed in words; JSON has all.
const MAX_LINES: usize = 1_000;
/// Bytes of one decision or detail that is read.
const MAX_LEAF_BYTES: usize = 1 << 20;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A subject's: who accessed its data.
    Subject(AccountId),
    /// A recipient's: what it asked and read.
    Recipient(AccountId),
}

impl Whose {
    /// The account.
    #[must_use]
    pub fn account(self) -> AccountId {
        match self {
            Self::Subject(account) | Self::Recipient(account) => account,
        }
    }

    /// Key of the state record that holds the log's compact range.
    #[must_use]
    pub fn key(self) -> StateKey {
        match self {
            Self::Subject(account) => StateKey::subject_accesses(account),
            Self::Recipient(account) => StateKey::actor(account),
        }
    }
}

/// One leaf of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// Its index in the log.
    pub index: u64,
    /// The encoded leaf.
    pub leaf: Vec<u8>,
    /// The encoded decision; `None` for a neighbour outside of the period.
    pub decision: Option<Vec<u8>>,
    /// The encoded detail; a subject's only.
    pub detail: Option<Vec<u8>>,
}

/// A complete list (layout 0x39).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// The state.
    pub state: StateRoot,
    /// Whose log.
    pub whose: Whose,
    /// Begin of the period, inclusive, in milliseconds since 1970.
    pub from_ms: u64,
    /// End of the period, exclusive; 2^64−1 for none.
    pub to_ms: u64,
    /// Record of the log, or its absence.
    pub log: OpenedRecord,
    /// All accesses of the period, and the neighbours outside of it, where there are such.
    pub items: Vec<HistoryItem>,
    /// From their leaves to the log's root. Empty where there are none.
    pub path: Vec<Hash>,
}

impl HistoryFile {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let e = self.state.write(Encoder::new(Layout::HistoryFile).long(&self.manifest));
        let e = e
            .u8(match self.whose {
                Whose::Subject(_) => 1,
                Whose::Recipient(_) => 2,
            })
            .fixed(&self.whose.account().0)
            .u64(self.from_ms)
            .u64(self.to_ms);
        let e = self.log.write(e).long_list(&self.items, |e, item| {
            e.u64(item.index)
                .long(&item.leaf)
                .option(item.decision.as_ref(), |e, decision| e.long(decision))
                .option(item.detail.as_ref(), |e, detail| e.long(detail))
        });
        file::seal(MAGIC, write_path(e, &self.path))
    }

    /// Reads a file, and gives back the digest at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::HistoryFile, MAX_HISTORY_FILE_BYTES, bytes)?;
        let found = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            state: StateRoot::read(&mut d)?,
            whose: match (d.u8("whose")?, AccountId(d.hash("account")?)) {
                (1, account) => Whose::Subject(account),
                (2, account) => Whose::Recipient(account),
                (other, _) => {
                    return Err(DecodeError::invalid("whose", format!("unknown number {other}")).into());
                }
            },
            from_ms: d.u64("from")?,
            to_ms: d.u64("to")?,
            log: OpenedRecord::read(&mut d)?,
            items: d.long_list("accesses", MAX_HISTORY_ACCESSES + 2, |d| {
                let bytes = |d: &mut Decoder<'_>| d.long("decision", MAX_LEAF_BYTES).map(<[u8]>::to_vec);
                Ok(HistoryItem {
                    index: d.u64("index")?,
                    leaf: d.long("log leaf", MAX_LOG_LEAF_BYTES)?.to_vec(),
                    decision: d.option("decision", bytes)?,
                    detail: d.option("detail", bytes)?,
                })
            })?,
            path: read_range_path(&mut d)?,
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((found, digest))
    }
}

/// A leaf of either log, as far as a list needs it.
struct Leaf {
    at: Moment,
    id: TransactionId,
    decision: Hash,
    hash: Hash,
    consent_log_size: Option<u64>,
}

fn read_leaf(whose: Whose, bytes: &[u8]) -> Result<Leaf, DecodeError> {
    Ok(match whose {
        Whose::Subject(_) => {
            let leaf = AccessLogLeaf::decode(bytes)?;
            Leaf {
                at: leaf.at,
                id: leaf.id,
                decision: leaf.decision_leaf_hash,
                hash: leaf_hash(bytes),
                consent_log_size: Some(leaf.consent_log_size),
            }
        }
        Whose::Recipient(_) => {
            let leaf = ActorLogLeaf::decode(bytes)?;
            Leaf {
                at: leaf.at,
                id: leaf.id,
                decision: leaf.decision_leaf_hash,
                hash: leaf_hash(bytes),
                consent_log_size: None,
            }
        }
    })
}

/// Checks a history file.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_history(bytes: &[u8], pins: &Pins) -> Result<Finding, VerifyError> {
    let (file, digest) = HistoryFile::decode(bytes)?;
    let ledger = check_ledger(&file.manifest, pins)?;
    let as_of = file.state.check(&ledger, pins)?;
    if file.from_ms >= file.to_ms {
        return Err(CheckError::Period("its end is not after its begin".to_owned()).into());
    }
    if file.from_ms > as_of.header.time_ms {
        let problem = format!("it begins after the state, which reaches to {}", as_of.words());
        return Err(CheckError::Period(problem).into());
    }
    let key = file.whose.key();
    let range: CompactRange = match file.whose {
        Whose::Subject(_) => file.log.check::<SubjectAccesses>(key, &as_of)?.unwrap_or_default().0,
        Whose::Recipient(_) => file.log.check::<ActorAccesses>(key, &as_of)?.unwrap_or_default().0,
    };
    let leaves = check_places(&file, &range)?;
    let mut accesses = Vec::new();
    for (item, leaf) in file.items.iter().zip(&leaves) {
        if let Some(decision) = &item.decision {
            accesses.push(check_item(&file, item, leaf, decision)?);
        }
    }
    check_digest(bytes, digest)?;
    let mut finding = Finding::new("history", &ledger, pins);
    let account = file.whose.account();
    finding.facts = serde_json::json!({
        "whose": match file.whose { Whose::Subject(_) => "subject", Whose::Recipient(_) => "recipient" },
        "account": account,
        "from_ms": file.from_ms,
        "to_ms": (file.to_ms != u64::MAX).then_some(file.to_ms),
    });
    // No later entry is of a time below the state's own; from that time on nothing is known.
    let end = match file.to_ms {
        to if to <= as_of.header.time_ms => format!("up to (and without) {}", utc(to)),
        _ => format!("to {}", as_of.words()),
    };
    let period = match file.from_ms {
        0 => format!("from the ledger's begin {end}"),
        from => format!("from {} {end}", utc(from)),
    };
    let what = match file.whose {
        Whose::Subject(_) => format!("access to data of {account} that was asked for or recorded"),
        Whose::Recipient(_) => format!("access that {account} asked for or recorded"),
    };
    finding.proves.push(match accesses.len() {
        0 => format!("There is no {what} on this ledger {period}."),
        1 => format!("The only {what} on this ledger {period} is this one:"),
        count => {
            format!("Every {what} on this ledger {period} is in this list of {count}, and nothing else:")
        }
    });
    let shown = accesses.iter().take(MAX_LINES);
    finding.proves.extend(shown.map(|access| format!("  {}", access.words(file.whose))));
    if accesses.len() > MAX_LINES {
        finding.proves.push(format!("  … and {} more: --json lists all", accesses.len() - MAX_LINES));
    }
    let accesses_are_none = accesses.is_empty();
    finding.accesses = Some(accesses);
    as_of.describe(&mut finding);
    finding.steps.push(format!("log of the account: has {} leaf or leaves in that state", range.size()));
    finding.steps.push(match (file.items.first(), file.items.last()) {
        (Some(first), Some(last)) => format!(
            "accesses: numbers {} to {} without gap, with the neighbours outside of the period; they lead to the log's root",
            first.index, last.index
        ),
        _ => "accesses: the log is empty".to_owned(),
    });
    if !accesses_are_none {
        finding.steps.push("each access: its decision is the one that the log commits to".to_owned());
    }
    finding.does_not_prove.extend([
        "Who stands behind an account id: keys are known, names are not.".to_owned(),
        "That nobody read the data around Assent: complete means that nothing recorded is missing."
            .to_owned(),
        "That the decisions were right: assent audit decision shows that for each.".to_owned(),
    ]);
    Ok(finding)
}

/// That the items are consecutive leaves under the log's root, and just those of the period and its neighbours.
fn check_places(file: &HistoryFile, range: &CompactRange) -> Result<Vec<Leaf>, CheckError> {
    let size = range.size();
    let (Some(first), Some(last)) = (file.items.first(), file.items.last()) else {
        return if size == 0 && file.path.is_empty() {
            Ok(Vec::new())
        } else {
            Err(CheckError::HistoryGap { after: None, found: None, size })
        };
    };
    if size == 0 {
        return Err(CheckError::HistoryGap { after: None, found: Some(first.index), size });
    }
    // In this order, so that each fault has its own name: what is moved leaves a gap too.
    let steps = || file.items.windows(2).map(|pair| (pair[0].index, pair[1].index));
    if let Some((before, after)) = steps().find(|(before, after)| after < before) {
        return Err(CheckError::HistoryOrder { index: after, after: before });
    }
    if let Some((before, _)) = steps().find(|(before, after)| after == before) {
        return Err(CheckError::HistoryDuplicate(before));
    }
    if let Some((before, after)) = steps().find(|(before, after)| after - before > 1) {
        return Err(CheckError::HistoryGap { after: Some(before), found: Some(after), size });
    }
    let wrong = |problem: String| CheckError::LogRoot { log: "history", problem };
    if last.index >= size {
        return Err(wrong(format!("access {} is past its end: it has {size}", last.index)));
    }
    let mut leaves = Vec::with_capacity(file.items.len());
    for item in &file.items {
        let leaf = read_leaf(file.whose, &item.leaf)
            .map_err(|error| wrong(format!("access {}: {error}", item.index)))?;
        let inside = leaf.at.time_ms >= file.from_ms && leaf.at.time_ms < file.to_ms;
        if inside != item.decision.is_some() {
            return Err(CheckError::Period(format!(
                "access {} is {} it, and {}",
                item.index,
                if inside { "within" } else { "outside of" },
                if inside { "its decision is not shown" } else { "its decision is shown" }
            )));
        }
        if leaves.last().is_some_and(|before: &Leaf| {
            leaf.at.sequence < before.at.sequence || leaf.at.time_ms < before.at.time_ms
        }) {
            return Err(wrong(format!("access {} is earlier than the one before it", item.index)));
        }
        leaves.push(leaf);
    }
    // Before the first one and after the last one there is a neighbour outside, or the end of the log.
    let opened = |item: &HistoryItem| item.decision.is_some();
    if first.index > 0 && opened(first) {
        return Err(CheckError::HistoryGap { after: None, found: Some(first.index), size });
    }
    if last.index < size.saturating_sub(1) && opened(last) {
        return Err(CheckError::HistoryGap { after: Some(last.index), found: None, size });
    }
    if let Some(item) = file.items.iter().find(|item| !opened(item) && item.detail.is_some()) {
        let problem = "a detail without its decision".to_owned();
        return Err(CheckError::HistoryItem { index: item.index, problem });
    }
    let outside_only = file.items.iter().all(|item| !opened(item));
    let inner = file.items.len().checked_sub(1).and_then(|end| file.items.get(1..end)).unwrap_or_default();
    if inner.iter().any(|item| !opened(item)) {
        return Err(CheckError::Period("more neighbours outside of it are shown than needed".to_owned()));
    }
    if outside_only {
        // Nothing within the period: the two neighbours are on its two sides, or the log's end is.
        let before = leaves.first().is_some_and(|leaf| leaf.at.time_ms < file.from_ms);
        let after = leaves.last().is_some_and(|leaf| leaf.at.time_ms >= file.to_ms);
        let covered = match (before, after, file.items.len()) {
            (true, true, 2) => true,
            (true, false, 1) => last.index + 1 == size,
            (false, true, 1) => first.index == 0,
            _ => false,
        };
        if !covered {
            return Err(CheckError::HistoryGap { after: Some(last.index), found: None, size });
        }
    }
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf.hash).collect();
    let root =
        root_from_range(first.index, &hashes, size, &file.path).map_err(|error| wrong(error.to_string()))?;
    if root != range.root() {
        return Err(wrong(format!(
            "accesses {} to {} do not lead to its root: one of them was removed, changed or moved",
            first.index, last.index
        )));
    }
    Ok(leaves)
}

/// An access of a history that was checked.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its index in the log.
    pub index: u64,
    /// When it was.
    pub at: Moment,
    /// The transaction.
    pub id: TransactionId,
    /// The decision, with who asked for what.
    pub decision: OutcomeLeaf,
    /// Why; for a subject's history only.
    pub detail: Option<Detail>,
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

fn check_item(
    file: &HistoryFile,
    item: &HistoryItem,
    leaf: &Leaf,
    decision: &[u8],
) -> Result<Access, CheckError> {
    let decision = open_decision(&leaf.decision, decision)
        .map_err(|error| CheckError::HistoryItem { index: item.index, problem: error.to_string() })?;
    let wrong = |problem: &str| CheckError::HistoryItem { index: item.index, problem: problem.to_owned() };
    let Some(question) = &decision.question else { return Err(wrong("it is no decision")) };
    let own = match file.whose {
        Whose::Subject(subject) => decision.object == subject.0,
        Whose::Recipient(recipient) => question.recipient == recipient,
    };
    if !own {
        return Err(CheckError::HistoryForeign { index: item.index });
    }
    let detail = match (&item.detail, file.whose) {
        (Some(detail), Whose::Subject(_)) => {
            // Both are read strictly, so their bytes are their one encoding.
            if sha256(detail) != decision.detail_hash {
                return Err(wrong("its detail is not the one that was committed to"));
            }
            let detail = Detail::decode(detail).map_err(|error| wrong(&error.to_string()))?;
            if Some(detail.consent_log_size) != leaf.consent_log_size {
                return Err(wrong("its detail is not the one that was committed to"));
            }
            Some(detail)
        }
        (None, Whose::Recipient(_)) => None,
        (None, Whose::Subject(_)) => return Err(wrong("its detail is not shown")),
        (Some(_), Whose::Recipient(_)) => return Err(wrong("a detail, which a recipient never sees")),
    };
    Ok(Access { index: item.index, at: leaf.at, id: leaf.id, decision, detail })
}

impl Access {
    fn json(&self) -> serde_json::Value {
        let question = self.decision.question.as_ref();
        serde_json::json!({
            "index": self.index,
            "sequence": self.at.sequence,
            "time_ms": self.at.time_ms,
            "transaction_id": self.id,
            "outcome": self.decision.kind.name(),
            "subject": AccountId(self.decision.object),
            "recipient": question.map(|question| question.recipient),
            "custodian": question.map(|question| question.scope.custodian),
            "purpose": question.map(|question| question.scope.purpose.as_str()),
            "action": question.map(|question| question.scope.action.code()),
            "classes": question.map(|question| {
                question.scope.classes.iter().map(|coding| coding.code.as_str()).collect::<Vec<_>>()
            }),
            "acting_person_hash": question
                .and_then(|question| question.scope.acting_person_hash)
                .map(hex::encode),
            "consent": self.detail.as_ref().and_then(|detail| detail.decider.as_ref()).map(|one| one.consent),
            "reason": self.detail.as_ref().and_then(|detail| detail.reason).map(|reason| format!("{reason:?}")),
        })
    }

    /// When, who, what, what for, under which consent.
    fn words(&self, whose: Whose) -> String {
        let Some(question) = &self.decision.question else { return String::new() };
        let scope = &question.scope;
        let classes: Vec<&str> = scope.classes.iter().map(|coding| coding.code.as_str()).collect();
        let other = match whose {
            Whose::Subject(_) => format!("{} ", question.recipient),
            Whose::Recipient(_) => String::new(),
        };
        let about = match whose {
            Whose::Subject(_) => String::new(),
            Whose::Recipient(_) => format!(" of {}", AccountId(self.decision.object)),
        };
        let why = self.detail.as_ref().map_or_else(String::new, |detail| {
            let consent = detail
                .decider
                .as_ref()
                .map_or_else(String::new, |decider| format!(" (consent {})", decider.consent));
            detail.reason.map_or_else(String::new, |reason| format!("; {}{consent}", describe_reason(reason)))
        });
        format!(
            "{}. {} {other}{} {}{about} for {}: {}{why}",
            self.index,
            utc(self.at.time_ms),
            scope.action.code(),
            classes.join(" "),
            scope.purpose,
            self.decision.kind.describe()
        )
    }
}
