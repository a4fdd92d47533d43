//! Whether a consent was in force at a moment, as a file.

use assent_core::{
    Hash, TransactionId,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    records::{ConsentRecord, Moment, StateKey},
    terms::ConsentTerms,
};

use super::{OpenedRecord, StateRoot};
use crate::{
    check::{CheckError, Pins, VerifyError, check_digest, check_ledger},
    file::{self, ReadError},
    report::{Finding, utc},
};

/// First bytes of the file.
pub const MAGIC: &[u8] = b"assent-consent\n";
/// Bytes of a file that is read: one consent at all limits, and the way to it.
pub const MAX_CONSENT_FILE_BYTES: usize = 512 * 1024;

/// The moment that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The end of the state that the file rests on.
    Newest,
    /// After the last entry whose time is not after this, in milliseconds since 1970.
    Time(u64),
    /// After the entry with this sequence.
    Sequence(u64),
}

impl At {
    fn write(self, e: Encoder) -> Encoder {
        match self {
            Self::Newest => e.u8(0).u64(0),
            Self::Time(time) => e.u8(1).u64(time),
            Self::Sequence(sequence) => e.u8(2).u64(sequence),
        }
    }

    fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match (d.u8("kind of moment")?, d.u64("moment")?) {
            (0, 0) => Ok(Self::Newest),
            (1, time) if time <= limits::MAX_TIME_MS => Ok(Self::Time(time)),
            (2, sequence) => Ok(Self::Sequence(sequence)),
            (kind, _) => Err(DecodeError::invalid("moment", format!("none of kind {kind}"))),
        }
    }

    /// Whether something had happened by then.
    fn includes(self, moment: Moment) -> bool {
        match self {
            Self::Newest => true,
            Self::Time(time) => moment.time_ms <= time,
            Self::Sequence(sequence) => moment.sequence <= sequence,
        }
    }
}

/// What a consent was at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsentStatus {
    /// Granted, and not revoked.
    Active,
    /// Revoked.
    Revoked,
    /// Not granted, or not yet.
    Absent,
}

impl ConsentStatus {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Revoked => "REVOKED",
            Self::Absent => "ABSENT",
        }
    }
}

/// A consent's record, or its absence, under a state (layout 0x38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentFile {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// The state.
    pub state: StateRoot,
    /// The consent.
    pub consent: TransactionId,
    /// When.
    pub at: At,
    /// Its record.
    pub record: OpenedRecord,
}

impl ConsentFile {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let e = self.state.write(Encoder::new(Layout::ConsentFile).long(&self.manifest));
        file::seal(MAGIC, self.record.write(self.at.write(e.fixed(&self.consent.0))))
    }

    /// Reads a file, and gives back the digest at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::ConsentFile, MAX_CONSENT_FILE_BYTES, bytes)?;
        let found = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            state: StateRoot::read(&mut d)?,
            consent: TransactionId(d.hash("consent")?),
            at: At::read(&mut d)?,
            record: OpenedRecord::read(&mut d)?,
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((found, digest))
    }
}

/// Checks a consent file.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_consent(bytes: &[u8], pins: &Pins) -> Result<Finding, VerifyError> {
    let (found, digest) = ConsentFile::decode(bytes)?;
    let ledger = check_ledger(&found.manifest, pins)?;
    let as_of = found.state.check(&ledger, pins)?;
    let reached = match found.at {
        At::Newest => true,
        // Later entries may have the same time as the state's last one.
        At::Time(time) => time < as_of.header.time_ms,
        At::Sequence(sequence) => sequence < as_of.next_sequence(),
    };
    if !reached {
        return Err(CheckError::MomentNotReached(as_of.words()).into());
    }
    let record: Option<ConsentRecord> = found.record.check(StateKey::consent(found.consent), &as_of)?;
    let terms = record
        .as_ref()
        .map(|record| ConsentTerms::decode(&record.terms).map_err(CheckError::StateRecord))
        .transpose()?;
    check_digest(bytes, digest)?;
    let status = match &record {
        Some(record) if found.at.includes(record.granted) => match record.revoked {
            Some(revoked) if found.at.includes(revoked) => ConsentStatus::Revoked,
            _ => ConsentStatus::Active,
        },
        _ => ConsentStatus::Absent,
    };
    let mut finding = Finding::new("consent", &ledger, pins);
    let moment = |moment: Moment| format!("{} (number {})", utc(moment.time_ms), moment.sequence);
    let when = match found.at {
        At::Newest => format!("as of {}", as_of.words()),
        At::Time(time) => format!("at {}", utc(time)),
        At::Sequence(sequence) => format!("after entry {sequence}"),
    };
    let id = found.consent;
    finding.facts = serde_json::json!({
        "consent": id,
        "consent_status": status.name(),
        "subject": record.as_ref().map(|record| record.subject),
        "granted": record.as_ref().map(|record| record.granted.time_ms),
        "granted_sequence": record.as_ref().map(|record| record.granted.sequence),
        "revoked": record.as_ref().and_then(|record| record.revoked).map(|revoked| revoked.time_ms),
        "revoked_sequence": record.as_ref().and_then(|record| record.revoked).map(|revoked| revoked.sequence),
    });
    finding.proves.push(match (&record, status) {
        (Some(record), ConsentStatus::Active) => {
            let later = record.revoked.map_or_else(
                || format!("it had not been revoked by {}", as_of.words()),
                |revoked| format!("it was revoked later, on {}", moment(revoked)),
            );
            format!(
                "Consent {id} of {} was ACTIVE {when}: it was granted on {}, and {later}.",
                record.subject,
                moment(record.granted)
            )
        }
        (Some(ConsentRecord { subject, granted, revoked: Some(revoked), .. }), ConsentStatus::Revoked) => {
            format!(
                "Consent {id} of {subject} was REVOKED {when}: it was granted on {}, and revoked on {}.",
                moment(*granted),
                moment(*revoked)
            )
        }
        (Some(record), _) => format!(
            "Consent {id} was ABSENT {when}: it was granted only later, on {}, by {}.",
            moment(record.granted),
            record.subject
        ),
        (None, _) => format!(
            "Consent {id} was ABSENT {when}: no consent with this id was granted on this ledger up to {}.",
            as_of.words()
        ),
    });
    if let Some(period) = terms.as_ref().and_then(|terms| terms.period) {
        let end = if period.end_ms == u64::MAX { "no end".to_owned() } else { utc(period.end_ms) };
        finding.proves.push(format!("By its own terms it applies from {} to {end}.", utc(period.start_ms)));
    }
    as_of.describe(&mut finding);
    finding.steps.push(match &record {
        Some(_) => "consent: its record is in that state".to_owned(),
        None => "consent: that state has no record of it".to_owned(),
    });
    finding.does_not_prove.extend([
        "Who stands behind an account id: keys are known, names are not.".to_owned(),
        "That a certain access was covered: assent audit decision shows that.".to_owned(),
    ]);
    Ok(finding)
}
