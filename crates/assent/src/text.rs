//! How codes, times and revocation codes are written on the command line.

use anyhow::{Context, bail};
use assent_core::{
    ruleset::{CONFIDENTIALITY_SYSTEM, Ruleset, SENSITIVITY_SYSTEM},
    terms::Action,
};
use assent_proto::v1 as proto;
use bech32::Bech32m;

/// System of a class that is written without one.
const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";
const CODE_HRP: bech32::Hrp = bech32::Hrp::parse_unchecked("revoke");

/// `SYSTEM|CODE`, or a FHIR resource type.
pub fn class(text: &str) -> anyhow::Result<proto::Coding> {
    let (system, code) = text.split_once('|').unwrap_or((RESOURCE_TYPES, text));
    Ok(proto::Coding { system: system.to_owned(), code: code.to_owned() })
}

/// `SYSTEM|CODE`, or a code of HL7's sensitivity or confidentiality labels.
pub fn label(text: &str) -> anyhow::Result<proto::Coding> {
    let coding =
        |system: &str, code: &str| proto::Coding { system: system.to_owned(), code: code.to_owned() };
    if let Some((system, code)) = text.split_once('|') {
        return Ok(coding(system, code));
    }
    let ruleset = Ruleset::numbered(Ruleset::NEWEST)?;
    match [SENSITIVITY_SYSTEM, CONFIDENTIALITY_SYSTEM].into_iter().find(|system| ruleset.knows(system, text))
    {
        Some(system) => Ok(coding(system, text)),
        None => bail!(
            "{text:?} is no code of HL7's sensitivity or confidentiality labels; write SYSTEM|CODE for another"
        ),
    }
}

/// One of FHIR's consent actions.
pub fn action(text: &str) -> anyhow::Result<i32> {
    let known = Action::ALL.map(Action::code).join(", ");
    let found = Action::ALL.into_iter().find(|action| action.code() == text);
    Ok(found.with_context(|| format!("{text:?} is none of {known}"))? as i32)
}

/// A time in RFC 3339, or a date, which means its beginning in UTC. Milliseconds since 1970.
pub fn time(text: &str) -> anyhow::Result<u64> {
    let parsed =
        chrono::DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_millis()).or_else(|_| {
            chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d")
                .map(|date| date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis())
        });
    let ms = parsed
        .ok()
        .with_context(|| format!("{text:?} is neither a date nor a time such as 2030-01-31T12:00:00Z"))?;
    u64::try_from(ms).ok().with_context(|| format!("{text:?} is before 1970"))
}

/// A period from two optional ends.
pub fn period(start: Option<u64>, end: Option<u64>) -> Option<proto::Period> {
    (start.is_some() || end.is_some())
        .then(|| proto::Period { start_ms: start.unwrap_or(0), end_ms: end.unwrap_or(0) })
}

/// A revocation code as it is printed and kept: with a checksum, for people who type it in.
pub fn write_code(code: &[u8; 32]) -> anyhow::Result<String> {
    Ok(bech32::encode::<Bech32m>(CODE_HRP, code)?)
}

/// Reads a revocation code.
pub fn read_code(text: &str) -> anyhow::Result<[u8; 32]> {
    let wrong = || "not a revocation code; it begins with revoke1, and every character counts".to_owned();
    let (_, bytes) = bech32::decode(text.trim()).ok().with_context(wrong)?;
    let code: [u8; 32] = bytes.try_into().ok().with_context(wrong)?;
    // One spelling only, and not the older checksum.
    if write_code(&code)? != text.trim() {
        bail!(wrong());
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_code_survives_being_written_down_and_a_typing_error_is_found() {
        let text = write_code(&[0xa5; 32]).unwrap();
        assert_eq!(read_code(&text).unwrap(), [0xa5; 32]);
        let typo = text.replacen("j", "k", 1);
        assert!(read_code(&typo).is_err() || typo == text);
    }

    #[test]
    fn codes_and_times_are_read_as_documented() {
        assert_eq!(class("Observation").unwrap().system, RESOURCE_TYPES);
        assert_eq!(class("http://loinc.org|2345-7").unwrap().code, "2345-7");
        assert_eq!(label("SUD").unwrap().system, SENSITIVITY_SYSTEM);
        assert_eq!(label("R").unwrap().system, CONFIDENTIALITY_SYSTEM);
        assert!(label("SUDD").is_err());
        assert_eq!(time("1970-01-02").unwrap(), 86_400_000);
        assert_eq!(time("1970-01-01T01:00:00+01:00").unwrap(), 0);
        assert!(time("1969-12-31").is_err() && time("soon").is_err());
    }
}
