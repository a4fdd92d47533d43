//! Which account a FHIR reference stands for.

use std::collections::BTreeMap;

use assent_core::AccountId;
use serde::Deserialize;
use thiserror::Error;

use crate::{ImportError, json::Node};

/// Why a reference map is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReferenceMapError {
    /// Not the TOML that is expected, or not a DID.
    #[error("not a reference map: {0}")]
    Toml(String),
    /// A contained resource has an id in its own file only.
    #[error("{0:?} names a contained resource, which another file may contain under the same id")]
    Contained(String),
}

/// Accounts by reference, compared as text: `Patient/1` and `https://example.org/fhir/Patient/1` are two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceMap(BTreeMap<String, AccountId>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    references: BTreeMap<String, AccountId>,
}

impl ReferenceMap {
    /// Reads a map: in a table `[references]` the account's DID for each reference.
    ///
    /// ```
    /// let map = assent_fhir::ReferenceMap::from_toml("[references]\n")?;
    /// assert_eq!(map.get("Patient/1"), None);
    /// assert!(assent_fhir::ReferenceMap::from_toml("[references]\n\"Patient/1\" = \"did:assent:acct1x\"").is_err());
    /// # Ok::<(), assent_fhir::ReferenceMapError>(())
    /// ```
    ///
    /// # Errors
    /// [`ReferenceMapError`].
    pub fn from_toml(text: &str) -> Result<Self, ReferenceMapError> {
        let file: File = toml::from_str(text).map_err(|error| ReferenceMapError::Toml(error.to_string()))?;
        match file.references.keys().find(|key| key.starts_with('#')) {
            Some(key) => Err(ReferenceMapError::Contained(key.clone())),
            None => Ok(Self(file.references)),
        }
    }

    /// The account of a reference as written.
    #[must_use]
    pub fn get(&self, reference: &str) -> Option<AccountId> {
        self.0.get(reference).copied()
    }
}

impl FromIterator<(String, AccountId)> for ReferenceMap {
    fn from_iter<I: IntoIterator<Item = (String, AccountId)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// The account of a [Reference](http://hl7.org/fhir/R4/references.html#Reference).
pub(crate) fn account(node: &Node<'_>, map: &ReferenceMap) -> Result<AccountId, ImportError> {
    let fields = node.object(&["reference", "type", "identifier", "display"])?;
    let Some(literal) = fields.get("reference") else {
        return Err(ImportError::NoLiteralReference {
            path: node.path.clone(),
            found: "no element reference".into(),
        });
    };
    let reference = literal.text()?;
    if reference.starts_with('#') {
        return Err(ImportError::NoLiteralReference { path: literal.path, found: format!("{reference:?}") });
    }
    map.get(reference)
        .ok_or_else(|| ImportError::UnmappedReference { path: literal.path, reference: reference.to_owned() })
}
