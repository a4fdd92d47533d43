//! The access file: who may do what, by client certificate or token.
//!
//! ```toml
//! [[client]]
//! name = "hospital-gateway"
//! roles = ["submit"]
//! certificate = "gateway.hospital.example"   # a DNS name or URI in its certificate
//!
//! [[client]]
//! name = "auditor"
//! roles = ["audit"]
//! token = "sha256:9f86d081884c7d65…"         # of the token; the token itself is not kept
//! ```

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use assent_core::{Hash, codec::sha256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::role::{Role, Roles};

/// Clients in one file: each is a line or two that somebody has to keep in order.
pub const MAX_CLIENTS: usize = 1_024;
/// Bytes of a client's name.
pub const MAX_NAME_BYTES: usize = 64;
/// Bytes of the file: the most clients, with room for comments.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Every token begins so: scanners for leaked secrets find it.
pub const TOKEN_PREFIX: &str = "assent-token-";

/// Why the access file cannot be used.
#[derive(Debug, Error)]
pub enum AccessError {
    /// It cannot be read.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: String,
        /// Why.
        problem: String,
    },
    /// A client in it.
    #[error("{path}: client {name:?}: {problem}")]
    Client {
        /// Which file.
        path: String,
        /// Which client.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// One client, as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// As logs and metrics name it.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// A DNS name or URI in the certificate that it shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// `sha256:` and the hash of its token in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    client: Vec<Client>,
}

/// What a client may do, as found by its credential.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The client.
    pub name: Arc<str>,
    /// Its roles.
    pub roles: Roles,
}

/// The access file, ready to be asked.
#[derive(Debug, Default)]
pub struct Access {
    clients: Vec<Client>,
    by_certificate: BTreeMap<String, Grant>,
    by_token: BTreeMap<Hash, Grant>,
}

/// The hash under which a token is kept. A token is 32 random bytes, so one round is enough.
#[must_use]
pub fn token_hash(token: &str) -> Hash {
    sha256(token.trim().as_bytes())
}

/// A new token from 32 random bytes.
#[must_use]
pub fn token_of(random: &[u8; 32]) -> String {
    format!("{TOKEN_PREFIX}{}", hex::encode(random))
}

impl Access {
    /// Reads the file.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let shown = path.display().to_string();
        let file = |problem: String| AccessError::File { path: shown.clone(), problem };
        let length = fs::metadata(path).map_err(|error| file(error.to_string()))?.len();
        if length > MAX_FILE_BYTES {
            return Err(file(format!("{length} bytes, at most {MAX_FILE_BYTES} are read")));
        }
        let text = fs::read_to_string(path).map_err(|error| file(error.to_string()))?;
        let parsed: File = toml::from_str(&text).map_err(|error| file(error.to_string()))?;
        Self::new(&shown, parsed.client)
    }

    /// Of these clients; `path` is for messages.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn new(path: &str, clients: Vec<Client>) -> Result<Self, AccessError> {
        if clients.len() > MAX_CLIENTS {
            let problem = format!("{} clients, at most {MAX_CLIENTS} are allowed", clients.len());
            return Err(AccessError::File { path: path.to_owned(), problem });
        }
        let mut access = Self { clients, ..Self::default() };
        let mut names = std::collections::BTreeSet::new();
        for client in &access.clients {
            let wrong = |problem: &str| AccessError::Client {
                path: path.to_owned(),
                name: client.name.clone(),
                problem: problem.to_owned(),
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if client.name.is_empty() || client.name.len() > MAX_NAME_BYTES || !client.name.chars().all(plain)
            {
                return Err(wrong(
                    "its name has to be 1 to 64 letters, digits, dots, hyphens and underscores",
                ));
            }
            if !names.insert(&client.name) {
                return Err(wrong("there are two of this name"));
            }
            if client.roles.is_empty() {
                return Err(wrong("it has no role (submit, follow, audit, operate)"));
            }
            let grant = Grant { name: client.name.as_str().into(), roles: Roles::of(&client.roles) };
            if client.certificate.is_none() && client.token.is_none() {
                return Err(wrong("it has neither a certificate nor a token"));
            }
            if let Some(name) = &client.certificate {
                if name.is_empty() {
                    return Err(wrong("its certificate's name is empty"));
                }
                if access.by_certificate.insert(name.clone(), grant.clone()).is_some() {
                    return Err(wrong("another client has the same certificate"));
                }
            }
            if let Some(token) = &client.token {
                let mut hash = [0; 32];
                let digits = token.strip_prefix("sha256:").unwrap_or_default();
                if hex::decode_to_slice(digits, &mut hash).is_err() {
                    return Err(wrong("its token has to be sha256: and 64 hexadecimal digits"));
                }
                if access.by_token.insert(hash, grant).is_some() {
                    return Err(wrong("another client has the same token"));
                }
            }
        }
        Ok(access)
    }

    /// The clients, in the file's order.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.clients
    }

    /// The file's text.
    ///
    /// # Errors
    /// None that strings give.
    pub fn to_text(&self) -> Result<String, toml::ser::Error> {
        let text = toml::to_string(&File { client: self.clients.clone() })?;
        Ok(format!(
            "# Who may call this ledger's services, and as what: assent clients --help. It is read again when it changes.\n\n{text}"
        ))
    }

    /// Whether a client of this name has one of these roles.
    pub(crate) fn may(&self, name: &str, roles: Roles) -> bool {
        self.clients.iter().any(|client| client.name == name && Roles::of(&client.roles).meets(roles))
    }

    pub(crate) fn with_certificate(&self, names: &[String]) -> Option<Grant> {
        names.iter().find_map(|name| self.by_certificate.get(name)).cloned()
    }

    pub(crate) fn with_token(&self, token: &str) -> Option<Grant> {
        self.by_token.get(&token_hash(token)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> Client {
        Client {
            name: name.into(),
            roles: vec![Role::Submit, Role::Audit],
            certificate: Some(format!("{name}.example")),
            token: Some(format!("sha256:{}", hex::encode(token_hash(name)))),
        }
    }

    #[test]
    fn a_client_is_found_by_its_certificate_or_token_and_nobody_else_is() {
        let access = Access::new("test", vec![client("a"), client("b")]).unwrap();
        let by_token = access.with_token("b\n").unwrap();
        assert_eq!((&*by_token.name, by_token.roles), ("b", Roles::of(&[Role::Submit, Role::Audit])));
        assert_eq!(&*access.with_certificate(&["x".into(), "a.example".into()]).unwrap().name, "a");
        assert!(access.with_token("").is_none() && access.with_token("a.example").is_none());
        assert!(access.with_certificate(&[]).is_none() && access.with_certificate(&["a".into()]).is_none());
        let folder = std::env::temp_dir().join(format!("assent-access-{}.toml", std::process::id()));
        fs::write(&folder, access.to_text().unwrap()).unwrap();
        assert_eq!(Access::read(&folder).unwrap().clients(), access.clients());
        fs::remove_file(&folder).unwrap();
    }

    #[test]
    fn a_client_that_could_be_meant_in_two_ways_is_refused_with_its_name() {
        let bad = |change: fn(&mut Client)| {
            let mut second = client("b");
            change(&mut second);
            Access::new("test", vec![client("a"), second]).unwrap_err().to_string()
        };
        for (message, problem) in [
            (bad(|c| c.name = "a".into()), "two of this name"),
            (bad(|c| c.name = "a b".into()), "letters"),
            (bad(|c| c.roles.clear()), "no role"),
            (bad(|c| (c.certificate, c.token) = (None, None)), "neither"),
            (bad(|c| c.certificate = Some("a.example".into())), "same certificate"),
            (bad(|c| c.token = client("a").token), "same token"),
            (bad(|c| c.token = Some("secret".into())), "64 hexadecimal"),
        ] {
            assert!(message.contains(problem), "{message}");
        }
        let text = "[[client]]\nname = \"x\"\nroles = [\"admin\"]\n";
        assert!(toml::from_str::<File>(text).is_err());
    }
}
