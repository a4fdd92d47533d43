//! That a decision was right, as a file: everything that it rested on is opened, and the policy runs again.

use assent_core::{
    AccountId, Hash, TransactionId,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    log::{LoggedTransaction, decode_authorizations},
    outcome::{AccessQuestion, Detail, OutcomeKind, OutcomeLeaf},
    policy::{self, CitedRequest, Decision, Question, Reason},
    records::{
        AccessLogLeaf, AccountRecord, ConsentLogLeaf, LogLeaf, Moment, StateKey, SubjectAccesses,
        SubjectConsents, active_set_digest,
    },
    signature::ED25519,
    terms::{ConsentTerms, Effect},
    transaction::{Act, Transaction},
};
use assent_merkle::{CompactRange, leaf_hash};

use super::{AsOf, LogSlice, OpenedRecord, StateRoot, describe_reason};
use crate::{
    check::{CheckError, Ledger, Pins, VerifyError, check_digest, check_ledger, decode_transaction},
    file::{self, ReadError},
    report::{Finding, describe_leaf, utc},
};

/// First bytes of the file.
pub const MAGIC: &[u8] = b"assent-decision\n";
/// Bytes of a file that is read: a subject's consents at all limits, and the accesses of a validity window.
pub const MAX_DECISION_FILE_BYTES: usize = 8 * 1024 * 1024;
/// Accesses to one subject's data within the validity window that are shown to prove that none is the request that a record
/// cites. More would be no file that a person handles.
pub const MAX_WINDOW: usize = 4_096;
/// Bytes of one outcome leaf or detail that is read.
const MAX_LEAF_BYTES: usize = 1 << 20;

/// An access-log leaf with what it commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedAccess {
    /// Where it stands: one leaf.
    pub place: LogSlice,
    /// The encoded decision.
    pub decision: Vec<u8>,
}

impl OpenedAccess {
    fn write(&self, e: Encoder) -> Encoder {
        self.place.write(e).long(&self.decision)
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self { place: LogSlice::read(d, 1)?, decision: d.long("decision", MAX_LEAF_BYTES)?.to_vec() })
    }

    fn check(&self, log: &CompactRange) -> Result<(AccessLogLeaf, OutcomeLeaf), CheckError> {
        let leaves: Vec<AccessLogLeaf> = self.place.check(log, "access log")?;
        let leaf = leaves[0];
        Ok((leaf, open_decision(&leaf.decision_leaf_hash, &self.decision)?))
    }
}

/// A decision that a log's leaf commits to.
pub(crate) fn open_decision(hash: &Hash, decision: &[u8]) -> Result<OutcomeLeaf, CheckError> {
    let opened = OutcomeLeaf::decode(decision).map_err(CheckError::OutcomeLeaf)?;
    if leaf_hash(decision) == *hash { Ok(opened) } else { Err(CheckError::DecisionLeaf) }
}

/// What shows whether a record of access could rely on the request that it cites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cited {
    /// The request is in the subject's access log.
    Request(OpenedAccess),
    /// It is not: all accesses of the validity window, with the one before it, and, where one of them has the cited id and is
    /// of another recipient or no request, its decision.
    Window {
        /// The leaves.
        accesses: LogSlice,
        /// The decision of the one with the cited id.
        decision: Option<Vec<u8>>,
    },
}

/// A transaction as it was signed: body and authorizations.
pub type SignedBody = LoggedTransaction;

/// A consent that was in force: id, salt of its terms hash, encoded terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedConsent {
    /// Its id.
    pub id: TransactionId,
    /// The salt of the granting transaction.
    pub salt: Vec<u8>,
    /// Layout 0x13.
    pub terms: Vec<u8>,
}

/// A decision about one subject, with everything that it rested on, under a state (layout 0x37).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionFile {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// The state.
    pub state: StateRoot,
    /// The transaction, where it names no other subject.
    pub transaction: Option<SignedBody>,
    /// Record of the subject's access log.
    pub accesses: OpenedRecord,
    /// The decision in it.
    pub access: OpenedAccess,
    /// The encoded detail.
    pub detail: Vec<u8>,
    /// Record of the subject's consents and consent log, or its absence.
    pub consents: OpenedRecord,
    /// The leaves of the consent log before and after the decision, where there are such.
    pub around: Option<LogSlice>,
    /// The consents that were in force, in ascending order of their ids.
    pub active: Vec<OpenedConsent>,
    /// The subject's account or its absence, where there was no consent log yet.
    pub account: Option<OpenedRecord>,
    /// For a record of access: the request that it cites.
    pub cited: Option<Cited>,
}

impl DecisionFile {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let e = self.state.write(Encoder::new(Layout::DecisionFile).long(&self.manifest));
        let e = e.option(self.transaction.as_ref(), |e, transaction| {
            let count = u8::try_from(transaction.authorizations.len()).unwrap_or(u8::MAX);
            transaction.authorizations.iter().fold(e.long(&transaction.body).u8(count), |e, one| {
                e.u8(ED25519).fixed(&one.key.0).fixed(&one.signature)
            })
        });
        let e = self.access.write(self.accesses.write(e)).long(&self.detail);
        let e = self
            .consents
            .write(e)
            .option(self.around.as_ref(), |e, around| around.write(e))
            .list(&self.active, |e, one| e.fixed(&one.id.0).short(&one.salt).long(&one.terms))
            .option(self.account.as_ref(), |e, account| account.write(e));
        let e = match &self.cited {
            None => e.u8(0),
            Some(Cited::Request(request)) => request.write(e.u8(1)),
            Some(Cited::Window { accesses, decision }) => {
                accesses.write(e.u8(2)).option(decision.as_ref(), |e, decision| e.long(decision))
            }
        };
        file::seal(MAGIC, e)
    }

    /// Reads a file, and gives back the digest at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::DecisionFile, MAX_DECISION_FILE_BYTES, bytes)?;
        let found = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            state: StateRoot::read(&mut d)?,
            transaction: d.option("transaction", |d| {
                Ok(LoggedTransaction {
                    body: d.long("body", limits::MAX_BODY_BYTES)?.to_vec().into(),
                    authorizations: decode_authorizations(d)?,
                })
            })?,
            accesses: OpenedRecord::read(&mut d)?,
            access: OpenedAccess::read(&mut d)?,
            detail: d.long("detail", MAX_LEAF_BYTES)?.to_vec(),
            consents: OpenedRecord::read(&mut d)?,
            around: d.option("consent log", |d| LogSlice::read(d, 2))?,
            active: d.list("active consents", limits::MAX_ACTIVE_CONSENTS, |d| {
                Ok(OpenedConsent {
                    id: TransactionId(d.hash("consent")?),
                    salt: d.short("terms salt")?.to_vec(),
                    terms: d.long("terms", 2 * limits::MAX_BODY_BYTES)?.to_vec(),
                })
            })?,
            account: d.option("account", OpenedRecord::read)?,
            cited: match d.u8("cited request")? {
                0 => None,
                1 => Some(Cited::Request(OpenedAccess::read(&mut d)?)),
                2 => Some(Cited::Window {
                    accesses: LogSlice::read(&mut d, MAX_WINDOW)?,
                    decision: d
                        .option("decision", |d| d.long("decision", MAX_LEAF_BYTES).map(<[u8]>::to_vec))?,
                }),
                other => {
                    return Err(
                        DecodeError::invalid("cited request", format!("unknown number {other}")).into()
                    );
                }
            },
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((found, digest))
    }
}

/// A decision as it was recorded.
struct Recorded<'a> {
    at: Moment,
    id: TransactionId,
    subject: AccountId,
    consent_log_size: u64,
    leaf: &'a OutcomeLeaf,
    question: &'a AccessQuestion,
}

/// Checks a decision file.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_decision(bytes: &[u8], pins: &Pins) -> Result<Finding, VerifyError> {
    let (file, digest) = DecisionFile::decode(bytes)?;
    let ledger = check_ledger(&file.manifest, pins)?;
    let as_of = file.state.check(&ledger, pins)?;
    // The decision names its subject; that the log is this subject's is checked by the key.
    let subject = OutcomeLeaf::decode(&file.access.decision).map_err(CheckError::OutcomeLeaf)?.object;
    let subject = AccountId(subject);
    let log: SubjectAccesses = file
        .accesses
        .check(StateKey::subject_accesses(subject), &as_of)?
        .ok_or(CheckError::Decision("no access to this subject's data was recorded"))?;
    let (access, leaf) = file.access.check(&log.0)?;
    let question = leaf.question.as_ref().ok_or(CheckError::Decision("it is no decision"))?;
    let recorded = Recorded {
        at: access.at,
        id: access.id,
        subject,
        consent_log_size: access.consent_log_size,
        leaf: &leaf,
        question,
    };
    let act = check_transaction(&file, &recorded, &ledger)?;
    let (active, known) = check_consents(&file, &recorded, &as_of)?;
    let decision = decide(&ledger, &recorded, &active, known)?;
    let fault = check_cited(&file, &recorded, &log.0, act.as_ref(), &ledger)?;
    let decision = policy::with_fault(decision, fault);
    let detail = compare(&file, &recorded, &decision, &ledger)?;
    check_digest(bytes, digest)?;
    Ok(report(&file, &recorded, &detail, &as_of, &ledger, pins))
}

/// That the transaction is the one that the log names, asks the question that was decided, and names no other subject. Gives
/// its act.
fn check_transaction(
    file: &DecisionFile,
    recorded: &Recorded<'_>,
    ledger: &Ledger,
) -> Result<Option<Act>, CheckError> {
    let is_record = matches!(recorded.leaf.kind, OutcomeKind::AccessCovered | OutcomeKind::AccessUncovered);
    let Some(signed) = &file.transaction else {
        // What it cites stands in it alone.
        return if is_record {
            Err(CheckError::Decision("a record of access without its transaction"))
        } else {
            Ok(None)
        };
    };
    let transaction: Transaction = decode_transaction(&ledger.chain_id, &signed.to_proto())?;
    if transaction.id != recorded.id {
        return Err(CheckError::TransactionId { entry: recorded.id, found: transaction.id });
    }
    let fits = match &transaction.act {
        Act::RequestAccess { subjects, scope } => {
            !is_record && *subjects == [recorded.subject] && *scope == recorded.question.scope
        }
        Act::RecordAccess { subject, scope, .. } => {
            is_record && *subject == recorded.subject && *scope == recorded.question.scope
        }
        _ => false,
    };
    if !fits || transaction.sender != Some(recorded.question.recipient) {
        return Err(CheckError::Decision("the transaction asks another question than was decided"));
    }
    Ok(Some(transaction.act))
}

/// Consents in force, with their terms, in ascending order of their ids.
type InForce = Vec<(TransactionId, ConsentTerms)>;

/// The consents that were in force at the decision, and whether the subject had an account, where that was looked at.
fn check_consents(
    file: &DecisionFile,
    recorded: &Recorded<'_>,
    as_of: &AsOf,
) -> Result<(InForce, Option<bool>), CheckError> {
    let record: Option<SubjectConsents> =
        file.consents.check(StateKey::subject_consents(recorded.subject), as_of)?;
    let log = record.map(|record| record.log).unwrap_or_default();
    let size = recorded.consent_log_size;
    let (first, last) = (size.saturating_sub(1), (size.saturating_add(1)).min(log.size()));
    if size > log.size() {
        return Err(CheckError::ConsentLog("it is shorter now than at the decision"));
    }
    let shown = file.around.as_ref().map_or((first, 0), |around| (around.start, around.leaves.len() as u64));
    if shown != (first, last - first) {
        return Err(CheckError::ConsentLog(
            "the leaves are not the one before the decision and the one after it",
        ));
    }
    let leaves: Vec<ConsentLogLeaf> = match &file.around {
        Some(around) if shown.1 > 0 => around.check(&log, "consent log")?,
        None => Vec::new(),
        Some(_) => return Err(CheckError::ConsentLog("there is none, and it is not left out")),
    };
    let (before, after) = leaves.split_at(usize::from(size > 0));
    if before.iter().any(|leaf| leaf.at().sequence >= recorded.at.sequence)
        || after.iter().any(|leaf| leaf.at().sequence <= recorded.at.sequence)
    {
        return Err(CheckError::ConsentLog("the leaves are not of before and after the decision"));
    }
    let mut active = Vec::with_capacity(file.active.len());
    let mut digests = Vec::with_capacity(file.active.len());
    for one in &file.active {
        let terms = ConsentTerms::decode(&one.terms).map_err(CheckError::StateRecord)?;
        digests.push((one.id, ConsentTerms::hash(&one.terms, &one.salt)));
        active.push((one.id, terms));
    }
    let expected = before.first().map_or_else(|| active_set_digest(&[]), |leaf| leaf.active_digest);
    if active_set_digest(&digests) != expected {
        return Err(CheckError::ActiveConsents);
    }
    let known = match &file.account {
        Some(account) if size == 0 => {
            let account: Option<AccountRecord> = account.check(StateKey::account(recorded.subject), as_of)?;
            Some(account.is_some_and(|account| account.opened_sequence < recorded.at.sequence))
        }
        None if size > 0 => None,
        _ => {
            return Err(CheckError::Decision(
                "the account is shown where there was no consent log, and only there",
            ));
        }
    };
    Ok((active, known))
}

fn decide(
    ledger: &Ledger,
    recorded: &Recorded<'_>,
    active: &[(TransactionId, ConsentTerms)],
    known: Option<bool>,
) -> Result<Decision, CheckError> {
    let ruleset = ledger.manifest.ruleset().map_err(CheckError::Ruleset)?;
    Ok(match known {
        Some(false) => Decision::denied(Reason::UnknownSubject),
        Some(true) => Decision::denied(Reason::NoConsent),
        None => {
            let AccessQuestion { recipient, scope } = recorded.question;
            let question = Question { recipient: *recipient, scope, time_ms: recorded.at.time_ms };
            policy::decide(&ruleset, &question, active)
        }
    })
}

/// Why the record could not rely on the request that it cites; `None` for a request, and for a record that could.
fn check_cited(
    file: &DecisionFile,
    recorded: &Recorded<'_>,
    log: &CompactRange,
    act: Option<&Act>,
    ledger: &Ledger,
) -> Result<Option<Reason>, CheckError> {
    let Some(Act::RecordAccess { request, .. }) = act else {
        return match file.cited {
            None => Ok(None),
            Some(_) => Err(CheckError::Cited("a request cites nothing")),
        };
    };
    let (now, validity) = (recorded.at.time_ms, ledger.manifest.limits.max_validity_ms);
    let is_own_request = |leaf: &OutcomeLeaf| {
        matches!(leaf.kind, OutcomeKind::AccessPermitted | OutcomeKind::AccessDenied)
            && leaf.question.as_ref().is_some_and(|asked| asked.recipient == recorded.question.recipient)
    };
    let read = &recorded.question.scope;
    match &file.cited {
        None => Err(CheckError::Cited("the record's request, or that there is none, is not shown")),
        Some(Cited::Request(cited)) => {
            let (access, leaf) = cited.check(log)?;
            let Some(asked) = leaf.question.as_ref().filter(|_| is_own_request(&leaf)) else {
                return Err(CheckError::Cited("it is no request of the same recipient"));
            };
            if access.id != *request || access.at.sequence >= recorded.at.sequence {
                return Err(CheckError::Cited("it is another one, or a later one"));
            }
            let cited = CitedRequest {
                time_ms: access.at.time_ms,
                permit_until_ms: leaf.permit_until_ms,
                scope: &asked.scope,
            };
            Ok(policy::cited_fault(Some(cited), now, validity, read))
        }
        Some(Cited::Window { accesses, decision }) => {
            let leaves: Vec<AccessLogLeaf> = accesses.check(log, "access log")?;
            let end = accesses.start.saturating_add(leaves.len() as u64);
            // It ends with the record itself, and begins before the window, or with the log.
            let outside = |leaf: &AccessLogLeaf| leaf.at.time_ms < now.saturating_sub(validity);
            let begins = accesses.start == 0 || leaves.first().is_some_and(outside);
            if end != file.access.place.start.saturating_add(1) || !begins {
                return Err(CheckError::Cited("the accesses shown do not fill the validity window"));
            }
            let mut named = leaves.iter().filter(|leaf| leaf.id == *request && !outside(leaf));
            match (named.next(), decision) {
                (None, None) => {}
                (Some(leaf), Some(decision)) => {
                    if is_own_request(&open_decision(&leaf.decision_leaf_hash, decision)?) {
                        return Err(CheckError::Cited("it is there, and could be relied on"));
                    }
                }
                _ => {
                    return Err(CheckError::Cited(
                        "the decision on the transaction cited, and no other, is shown",
                    ));
                }
            }
            Ok(policy::cited_fault(None, now, validity, read))
        }
    }
}

/// That leaf and detail are what this decision gives.
fn compare(
    file: &DecisionFile,
    recorded: &Recorded<'_>,
    decision: &Decision,
    ledger: &Ledger,
) -> Result<Detail, CheckError> {
    let detail = Detail::decode(&file.detail)
        .map_err(|error| CheckError::Detail { index: 0, problem: error.to_string() })?;
    if detail.hash() != recorded.leaf.detail_hash {
        return Err(CheckError::Detail {
            index: 0,
            problem: "it is not the one that the leaf commits to".into(),
        });
    }
    let right = Detail::of_decision(detail.salt, recorded.consent_log_size, decision.clone());
    let is_record = matches!(recorded.leaf.kind, OutcomeKind::AccessCovered | OutcomeKind::AccessUncovered);
    let kind = match (is_record, decision.effect) {
        (false, Effect::Permit) => OutcomeKind::AccessPermitted,
        (false, Effect::Deny) => OutcomeKind::AccessDenied,
        (true, Effect::Permit) => OutcomeKind::AccessCovered,
        (true, Effect::Deny) => OutcomeKind::AccessUncovered,
    };
    let permit_until_ms = match kind {
        OutcomeKind::AccessPermitted => {
            recorded.at.time_ms.saturating_add(ledger.manifest.limits.permit_validity_ms)
        }
        _ => 0,
    };
    let wrong = |field, right: String, found: String| {
        if right == found { Ok(()) } else { Err(CheckError::WrongDecision { field, right, found }) }
    };
    wrong("outcome", kind.name().to_owned(), recorded.leaf.kind.name().to_owned())?;
    wrong("end of the permit", permit_until_ms.to_string(), recorded.leaf.permit_until_ms.to_string())?;
    wrong("obligations", format!("{:?}", decision.obligations), format!("{:?}", recorded.leaf.obligations))?;
    wrong("reason", format!("{:?}", right.reason), format!("{:?}", detail.reason))?;
    wrong("detail", format!("{right:?}"), format!("{detail:?}"))?;
    Ok(detail)
}

fn report(
    file: &DecisionFile,
    recorded: &Recorded<'_>,
    detail: &Detail,
    as_of: &AsOf,
    ledger: &Ledger,
    pins: &Pins,
) -> Finding {
    let mut finding = Finding::new("decision", ledger, pins);
    let AccessQuestion { recipient, scope } = recorded.question;
    let reason = detail.reason.unwrap_or(Reason::NoConsent);
    finding.facts = serde_json::json!({
        "transaction_id": recorded.id,
        "sequence": recorded.at.sequence,
        "time_ms": recorded.at.time_ms,
        "subject": recorded.subject,
        "recipient": recipient,
        "purpose": scope.purpose,
        "action": scope.action.code(),
        "outcome": recorded.leaf.kind.name(),
        "reason": format!("{reason:?}"),
        "consents": file.active.iter().map(|one| one.id).collect::<Vec<_>>(),
    });
    let what = match recorded.leaf.kind {
        OutcomeKind::AccessPermitted => "the access was rightly PERMITTED",
        OutcomeKind::AccessDenied => "the access was rightly DENIED",
        OutcomeKind::AccessCovered => "the recorded access was rightly found COVERED",
        _ => "the recorded access was rightly found UNCOVERED",
    };
    let by = detail.decider.as_ref().map_or_else(String::new, |decider| format!(" ({})", decider.consent));
    finding.proves.push(format!(
        "When {recipient} {} data of {} for {} on {} (transaction {}, number {}), {what}: {}{by}.",
        match file.cited {
            Some(_) => format!("recorded to {}", scope.action.code()),
            None => format!("asked to {}", scope.action.code()),
        },
        recorded.subject,
        scope.purpose,
        utc(recorded.at.time_ms),
        recorded.id,
        recorded.at.sequence,
        describe_reason(reason)
    ));
    finding.proves.push(format!("  {}", describe_leaf(recorded.leaf)));
    finding.proves.push(match file.active.len() {
        0 => "No consent of the subject was in force at that moment.".to_owned(),
        count => format!(
            "Exactly {count} consent(s) of the subject were in force at that moment; all are in this file."
        ),
    });
    as_of.describe(&mut finding);
    finding.steps.push(match &file.transaction {
        Some(_) => {
            "transaction: in canonical form, signed by the recipient; asks the question that was decided"
                .to_owned()
        }
        None => {
            "transaction: not in this file, because it may name other subjects too; its id is in the access log"
                .to_owned()
        }
    });
    finding
        .steps
        .push(format!("access log of the subject: number {} is this decision", file.access.place.start));
    finding.steps.push(format!(
        "consent log of the subject: had {} leaf or leaves then; the one before the decision commits to the consents in force, \
         the one after it, if there is one, is later",
        recorded.consent_log_size
    ));
    match &file.cited {
        None => {}
        Some(Cited::Request(_)) => {
            finding.steps.push("cited request: in the subject's access log".to_owned())
        }
        Some(Cited::Window { accesses, .. }) => finding.steps.push(format!(
            "cited request: none of the {} accesses up to this one that fill the validity window",
            accesses.leaves.len()
        )),
    }
    finding.steps.push(format!(
        "policy of ruleset {}: run again over these consents, gives the same outcome, obligations and detail",
        ledger.manifest.ruleset
    ));
    if file.transaction.is_none() {
        finding.trusted.push(
            "Whoever vouches for the state, for the question being the one that the recipient signed: its transaction is not shown.".to_owned(),
        );
    }
    finding.does_not_prove.extend([
        "Who stands behind an account id: keys are known, names are not.".to_owned(),
        "What the data were, or that nobody read them around Assent.".to_owned(),
    ]);
    finding
}
