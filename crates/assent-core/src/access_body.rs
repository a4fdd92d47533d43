//! Bodies of access requests and records, nearly everything that a ledger sees, read in one pass and without messages between.
//!
//! Only what has the one allowed encoding ([protobuf's][wire], fields in the order of their numbers, defaults left out, numbers
//! as short as they can be) and breaks no rule is read here. For everything else, other acts included, [`read`] gives `None`:
//! then the general way decides, and says what is wrong.
//!
//! [wire]: https://protobuf.dev/programming-guides/encoding/

use assent_proto::v1 as proto;

use crate::{
    AccountId, Hash, TransactionId, limits,
    terms::{Action, Coding, Period},
    transaction::{AccessScope, Act, Content},
};

/// What a body says, and for which chain, where it asks for an access or records one.
pub(crate) fn read(body: &[u8]) -> Option<(Hash, Content)> {
    let mut body = Reader(body);
    let chain = body.hash(1)?;
    let sender = AccountId(body.hash(2)?);
    let salt = body.bytes(3)?;
    let expires_at_ms = body.number(4)?;
    let act = match (body.message(REQUEST_ACCESS), body.message(RECORD_ACCESS)) {
        (Some(request), None) => read_request(request)?,
        (None, Some(record)) => read_record(record)?,
        _ => return None,
    };
    let is_whole = body.is_at_end() && limits::SALT_BYTES.contains(&salt.len());
    is_whole.then(|| (chain, Content { sender: Some(sender), salt: salt.to_vec(), expires_at_ms, act }))
}

/// Numbers of the fields of a body.
const REQUEST_ACCESS: u8 = 19;
const RECORD_ACCESS: u8 = 20;

fn read_request(mut request: Reader<'_>) -> Option<Act> {
    let subjects = request.list(1, limits::MAX_SUBJECTS, |request| request.hash(1).map(AccountId))?;
    let scope = read_scope(request.message(2)?)?;
    (request.is_at_end() && !subjects.is_empty())
        .then(|| Act::RequestAccess { subjects, scope: scope.into() })
}

fn read_record(mut record: Reader<'_>) -> Option<Act> {
    let request = TransactionId(record.hash(1)?);
    let subject = AccountId(record.hash(2)?);
    let scope = read_scope(record.message(3)?)?;
    record.is_at_end().then(|| Act::RecordAccess { request, subject, scope: scope.into() })
}

fn read_scope(mut scope: Reader<'_>) -> Option<AccessScope> {
    let read = AccessScope {
        custodian: AccountId(scope.hash(1)?),
        purpose: scope.text(2, limits::MAX_CODE_BYTES)?,
        action: Action::from_number("action", scope.number(3)?.try_into().ok()?).ok()?,
        classes: scope.list(4, limits::MAX_CLASSES, |scope| read_coding(scope.message(4)?))?,
        labels: scope.list(5, limits::MAX_LABELS, |scope| read_coding(scope.message(5)?))?,
        data_period: scope.optional(6, |scope| read_period(scope.message(6)?))?,
        acting_person_hash: scope.optional(7, |scope| scope.hash(7))?,
    };
    (scope.is_at_end() && !read.classes.is_empty()).then_some(read)
}

fn read_coding(mut coding: Reader<'_>) -> Option<Coding> {
    let read = Coding {
        system: coding.text(1, limits::MAX_SYSTEM_BYTES)?,
        code: coding.text(2, limits::MAX_CODE_BYTES)?,
    };
    coding.is_at_end().then_some(read)
}

fn read_period(mut period: Reader<'_>) -> Option<Period> {
    let start_ms = period.optional(1, |period| period.number(1))?.unwrap_or_default();
    let end_ms = period.optional(2, |period| period.number(2))?.unwrap_or_default();
    let read = proto::Period { start_ms, end_ms };
    if period.is_at_end() { Period::from_proto("period", Some(&read)).ok()? } else { None }
}

/// Wire types.
const NUMBER: u8 = 0;
const LENGTH: u8 = 2;
/// Where a number goes on in the next byte.
const MORE: u8 = 0x80;

/// The fields of a message, one after the other. A field that is not the next one, or not in its one encoding, is `None`.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// What follows the key of a field, where that comes next. Nothing is read.
    fn after_key(&self, field: u8, wire_type: u8) -> Option<Self> {
        // Numbers of fields are below 32, so a key has one byte or two.
        let low = (field << 3) | wire_type;
        let rest = match field {
            0..16 => self.0.strip_prefix(&[low]),
            _ => self.0.strip_prefix(&[low | MORE, field >> 4]),
        };
        rest.map(Self)
    }

    /// A number that is written in as few bytes as it can be, and not 0, which is left out.
    fn plain_number(&mut self) -> Option<u64> {
        let mut value = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & !MORE);
            // What does not fit into 64 bits comes back as something else.
            if bits << (7 * index) >> (7 * index) != bits {
                return None;
            }
            value |= bits << (7 * index);
            if byte & MORE == 0 {
                self.0 = &self.0[index + 1..];
                return (*byte != 0).then_some(value);
            }
        }
        None
    }

    fn number(&mut self, field: u8) -> Option<u64> {
        let mut rest = self.after_key(field, NUMBER)?;
        let number = rest.plain_number()?;
        *self = rest;
        Some(number)
    }

    /// Bytes, of which there is at least one.
    fn bytes(&mut self, field: u8) -> Option<&'a [u8]> {
        let mut rest = self.after_key(field, LENGTH)?;
        let length = rest.plain_number()?.try_into().ok()?;
        let (bytes, rest) = rest.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn message(&mut self, field: u8) -> Option<Self> {
        self.bytes(field).map(Self)
    }

    fn hash(&mut self, field: u8) -> Option<Hash> {
        self.bytes(field)?.try_into().ok()
    }

    /// Text of visible ASCII characters.
    fn text(&mut self, field: u8, limit: usize) -> Option<String> {
        let bytes = self.bytes(field)?;
        let is_plain = bytes.len() <= limit && bytes.iter().all(u8::is_ascii_graphic);
        if is_plain { std::str::from_utf8(bytes).ok().map(str::to_owned) } else { None }
    }

    /// A field that may be missing. `None` where it is there and cannot be read.
    fn optional<T>(&mut self, field: u8, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        let is_there = [NUMBER, LENGTH].into_iter().any(|kind| self.after_key(field, kind).is_some());
        if is_there { read(self).map(Some) } else { Some(None) }
    }

    /// A repeated field, all different.
    fn list<T: PartialEq>(
        &mut self,
        field: u8,
        limit: usize,
        read: impl Fn(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut list = Vec::new();
        while self.after_key(field, LENGTH).is_some() {
            let item = read(self)?;
            if list.len() == limit || list.contains(&item) {
                return None;
            }
            list.push(item);
        }
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use assent_proto::v1::transaction_body::Act as Acts;
    use prost::Message;

    use super::*;
    use crate::{
        ChainId,
        transaction::{TransactionError, read_any_content},
    };

    const CHAIN: ChainId = ChainId([9; 32]);

    fn coding(code: &str) -> proto::Coding {
        proto::Coding { system: "http://hl7.org/fhir/resource-types".into(), code: code.into() }
    }

    fn scope() -> proto::AccessScope {
        proto::AccessScope {
            custodian: vec![4; 32],
            purpose: "TREAT".into(),
            action: 2,
            classes: vec![coding("Observation"), coding("Condition")],
            labels: vec![coding("PSY")],
            data_period: Some(proto::Period { start_ms: 1_500_000_000_000, end_ms: 1_600_000_000_000 }),
            acting_person_hash: vec![8; 32],
        }
    }

    fn body(act: Acts) -> proto::TransactionBody {
        proto::TransactionBody {
            chain_id: CHAIN.0.to_vec(),
            sender: vec![2; 32],
            salt: (0..20).collect(),
            expires_at_ms: 1_790_000_000_000,
            act: Some(act),
        }
    }

    fn request(subjects: u8, scope: proto::AccessScope) -> proto::TransactionBody {
        let subjects = (0..subjects).map(|subject| vec![subject; 32]).collect();
        body(Acts::RequestAccess(proto::RequestAccess { subjects, scope: Some(scope) }))
    }

    fn record(scope: proto::AccessScope) -> proto::TransactionBody {
        let scope = Some(scope);
        body(Acts::RecordAccess(proto::RecordAccess { request_id: vec![6; 32], subject: vec![7; 32], scope }))
    }

    /// Accesses as they come.
    fn accesses() -> Vec<proto::TransactionBody> {
        let plain = proto::AccessScope {
            labels: vec![],
            data_period: None,
            acting_person_hash: vec![],
            classes: vec![coding("Observation")],
            ..scope()
        };
        let period = |start_ms, end_ms| proto::AccessScope {
            data_period: Some(proto::Period { start_ms, end_ms }),
            ..plain.clone()
        };
        let many = (0..8).map(|number| coding(&format!("c{number}"))).collect();
        vec![
            request(1, scope()),
            request(32, plain.clone()),
            request(2, proto::AccessScope { classes: many, ..scope() }),
            record(scope()),
            record(plain.clone()),
            record(period(1, 0)),
            record(period(0, 1)),
            record(period(u64::MAX - 2, u64::MAX - 1)),
            proto::TransactionBody { salt: vec![1; 16], expires_at_ms: u64::MAX, ..record(plain.clone()) },
            proto::TransactionBody { salt: vec![0; 32], expires_at_ms: 127, ..record(plain) },
        ]
    }

    /// Reads both ways, and says which of them read it.
    fn compare(bytes: &[u8]) -> (bool, bool) {
        let quick = read(bytes);
        let any = read_any_content(&CHAIN, bytes);
        match (&quick, &any) {
            (Some((chain, content)), Ok(any)) => assert_eq!((chain, content), (&CHAIN.0, any)),
            (Some((chain, _)), Err(TransactionError::WrongChain { found, .. })) => {
                assert_eq!(*found, hex::encode(chain));
            }
            (Some(_), Err(error)) => panic!("read in one pass, but {error}: {}", hex::encode(bytes)),
            (None, _) => {}
        }
        (quick.is_some(), any.is_ok())
    }

    #[test]
    fn accesses_are_read_in_one_pass_as_they_are_read_the_general_way() {
        for body in accesses() {
            assert_eq!(compare(&body.encode_to_vec()), (true, true), "{body:?}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_left_to_the_general_way() {
        let twice = proto::AccessScope { classes: vec![coding("a"), coding("a")], ..scope() };
        let too_many = proto::AccessScope {
            labels: (0..9).map(|number| coding(&format!("c{number}"))).collect(),
            ..scope()
        };
        let ends_before =
            proto::AccessScope { data_period: Some(proto::Period { start_ms: 2, end_ms: 2 }), ..scope() };
        let period = |start_ms, end_ms| proto::AccessScope {
            data_period: Some(proto::Period { start_ms, end_ms }),
            ..scope()
        };
        let refused = [
            request(0, scope()),
            request(33, scope()),
            body(Acts::RequestAccess(proto::RequestAccess {
                subjects: vec![vec![1; 32]; 2],
                scope: Some(scope()),
            })),
            body(Acts::RequestAccess(proto::RequestAccess { subjects: vec![vec![1; 32]], scope: None })),
            record(proto::AccessScope { custodian: vec![1; 31], ..scope() }),
            record(proto::AccessScope { purpose: String::new(), ..scope() }),
            record(proto::AccessScope { purpose: "x".repeat(65), ..scope() }),
            record(proto::AccessScope { purpose: "TR EAT".into(), ..scope() }),
            record(proto::AccessScope { action: 6, ..scope() }),
            record(proto::AccessScope { action: -1, ..scope() }),
            record(proto::AccessScope { classes: vec![], ..scope() }),
            record(proto::AccessScope { acting_person_hash: vec![1; 33], ..scope() }),
            record(twice),
            record(too_many),
            record(ends_before),
            record(period(0, 0)),
            record(period(1, u64::MAX)),
            proto::TransactionBody { salt: vec![1; 15], ..record(scope()) },
            proto::TransactionBody { salt: vec![1; 33], ..record(scope()) },
            proto::TransactionBody { sender: vec![], ..record(scope()) },
            proto::TransactionBody { chain_id: vec![9; 31], ..record(scope()) },
            proto::TransactionBody { act: None, ..record(scope()) },
        ];
        for body in refused {
            assert_eq!(compare(&body.encode_to_vec()), (false, false), "{body:?}");
        }
        // Right, and read the general way only: other acts, other letters, no expiry.
        let general = [
            body(Acts::OpenAccount(proto::OpenAccount { kind: 1 })),
            record(proto::AccessScope { purpose: "BEHANDLUNG-Ü".into(), ..scope() }),
            proto::TransactionBody { expires_at_ms: 0, ..record(scope()) },
        ];
        for body in general {
            assert_eq!(compare(&body.encode_to_vec()), (false, true), "{body:?}");
        }
    }

    /// Every byte is changed to every other value, left out, and doubled; bodies are cut, joined, and repeated in part.
    #[test]
    fn damaged_accesses_are_read_alike() {
        let mut seen: BTreeMap<(bool, bool), u64> = BTreeMap::new();
        let mut count = |bytes: &[u8]| *seen.entry(compare(bytes)).or_default() += 1;
        let bodies: Vec<Vec<u8>> = accesses().iter().map(Message::encode_to_vec).collect();
        for bytes in &bodies {
            // The long list of subjects is the same over and over.
            let places = if bytes.len() > 600 { bytes.len() - 250 } else { 0 }..bytes.len();
            let mut damaged = bytes.clone();
            for at in places.clone() {
                for value in 0..=255 {
                    damaged[at] = value;
                    count(&damaged);
                }
                damaged[at] = bytes[at];
                count(&[&bytes[..at], &bytes[at + 1..]].concat());
                count(&[&bytes[..=at], &bytes[at..]].concat());
                count(&bytes[..at]);
                // A number with a byte more than it needs.
                count(&[&bytes[..at], &[bytes[at] | 0x80, 0], &bytes[at + 1..]].concat());
            }
            for (from, to) in places.clone().zip(places.skip(34)) {
                count(&[bytes, &bytes[from..to]].concat());
                count(&[&bytes[..to], &bytes[from..]].concat());
            }
            for other in &bodies {
                count(&[&bytes[..], other].concat());
            }
        }
        // Some of what is damaged is right again, and some is only right the general way.
        assert!(seen[&(true, true)] > 10_000 && seen[&(false, false)] > 100_000, "{seen:?}");
        assert!(seen.contains_key(&(false, true)), "{seen:?}");
    }
}
