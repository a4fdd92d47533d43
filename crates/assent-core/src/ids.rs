//! Identifiers: 32-byte hashes that must not be mixed up.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::{
    Hash,
    codec::{Encoder, Layout},
};

/// Text that is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdError {
    /// Not 64 hexadecimal digits.
    #[error("expected 64 hexadecimal digits, found {0:?}")]
    Hex(String),
    /// Not a DID of this method, or with a typing error in it.
    #[error("expected did:assent:acct1… with a right checksum, found {0:?}")]
    Did(String),
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub crate::Hash);

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError::Hex(text.to_owned()))?;
                Ok(Self(bytes))
            }
        }
    };
}

hash_id!(
    /// A ledger: the hash of its genesis manifest. Written in hexadecimal.
    ChainId
);
hash_id!(
    /// A transaction: `SHA-256(0x10 0x01 || body)`. Written in hexadecimal. A consent has the id of its grant.
    TransactionId
);
hash_id!(
    /// An account: `SHA-256(0x11 0x01 || scheme || public key)` of its first key. Written as a DID,
    /// `did:assent:acct1…`, in bech32m (BIP 350), so that a typing error is found.
    AccountId
);

hex_text!(ChainId);
hex_text!(TransactionId);

impl ChainId {
    /// The tag that anchors carry: the first four bytes.
    #[must_use]
    pub fn tag(&self) -> [u8; 4] {
        [self.0[0], self.0[1], self.0[2], self.0[3]]
    }
}

impl TransactionId {
    /// The id of the transaction with this body.
    #[must_use]
    pub fn of_body(body: &[u8]) -> Self {
        Self(Encoder::new(Layout::TransactionId).fixed(body).sha256())
    }
}

const DID_PREFIX: &str = "did:assent:";
const ACCOUNT_HRP: bech32::Hrp = bech32::Hrp::parse_unchecked("acct");

impl AccountId {
    /// The account whose first key this is. `scheme` is the number of the `SignatureScheme`.
    #[must_use]
    pub fn of_key(scheme: u8, public_key: &[u8]) -> Self {
        Self(Encoder::new(Layout::AccountId).u8(scheme).fixed(public_key).sha256())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode::<bech32::Bech32m>(ACCOUNT_HRP, &self.0).map_err(|_| fmt::Error)?;
        write!(f, "{DID_PREFIX}{text}")
    }
}

impl FromStr for AccountId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Did(text.to_owned());
        let encoded = text.strip_prefix(DID_PREFIX).ok_or_else(wrong)?;
        let checked = bech32::primitives::decode::CheckedHrpstring::new::<bech32::Bech32m>(encoded)
            .map_err(|_| wrong())?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        // One spelling only: an account has one name.
        match (checked.hrp() == ACCOUNT_HRP, Hash::try_from(bytes)) {
            (true, Ok(hash)) if Self(hash).to_string() == text => Ok(Self(hash)),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_did_reads_back_and_any_changed_character_is_refused() {
        let id = AccountId([7; 32]);
        let text = id.to_string();
        assert_eq!(text.parse::<AccountId>().unwrap(), id);
        for i in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[i] = if changed[i] == b'q' { b'p' } else { b'q' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<AccountId>().is_err(), "{changed}");
        }
        assert!(text.to_uppercase().parse::<AccountId>().is_err());
        assert!("zz".repeat(32).parse::<ChainId>().is_err());
    }
}
