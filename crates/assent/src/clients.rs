//! The access file of a ledger's folder: who may call, and as what.

use std::path::Path;

use anyhow::{Context, ensure};
use assent_gate::{
    access::{Access, Client, token_hash, token_of},
    role::Role,
};

use crate::{files, settings::Settings};

/// A new token, written to a file that only its owner can read.
pub fn write_token(path: &Path) -> anyhow::Result<String> {
    let token = token_of(&assent_client::random_bytes()?);
    files::write_new(path, format!("{token}\n").as_bytes(), 0o600)?;
    Ok(token)
}

/// A client that shows a token.
pub fn with_token(name: &str, roles: &[Role], token: &str) -> Client {
    Client {
        name: name.to_owned(),
        roles: roles.to_vec(),
        certificate: None,
        token: Some(format!("sha256:{}", hex::encode(token_hash(token)))),
    }
}

/// A client that shows a certificate with this name.
pub fn with_certificate(name: &str, roles: &[Role], certificate: &str) -> Client {
    Client {
        name: name.to_owned(),
        roles: roles.to_vec(),
        certificate: Some(certificate.to_owned()),
        token: None,
    }
}

/// Writes the file.
pub fn write(path: &Path, clients: Vec<Client>) -> anyhow::Result<()> {
    let access = Access::new(&path.display().to_string(), clients)?;
    files::write_whole(path, access.to_text()?.as_bytes())
}

/// Makes the file, with a token for the operator, who may do everything, and one for the other roles of the ledger. A token
/// file that is there already is used.
pub fn make(path: &Path, keys: &Path) -> anyhow::Result<()> {
    files::make_private_dir(keys)?;
    let token = |name: &str| {
        let file = keys.join(format!("{name}.token"));
        if file.exists() { files::read_token(&file) } else { write_token(&file) }
    };
    let clients = vec![
        with_token("operator", &Role::ALL, &token("operator")?),
        with_token("peer", &[Role::Follow], &token("peer")?),
    ];
    write(path, clients)
}

/// The file of a folder. Made at a role's very first start; later its absence is a mistake, or somebody's wish that nobody be
/// let in, and a new one would let old tokens in again.
pub fn open(dir: &Path, settings: &Settings) -> anyhow::Result<Access> {
    let path =
        settings.path("access.file", dir).context("access.file is empty: nobody could call anything")?;
    if !path.exists() {
        let is_new =
            ["sequencer", "prover", "validator"].iter().all(|name| !dir.join(name).join("CURRENT").exists());
        ensure!(
            is_new && settings.is_default("access.file"),
            "{} does not exist; assent clients add makes it anew, with the tokens of operator and peer in it",
            path.display()
        );
        make(&path, &dir.join("keys"))?;
        tracing::info!(
            "made {}; the operator's token is in {}",
            path.display(),
            dir.join("keys/operator.token").display()
        );
    }
    Ok(Access::read(&path)?)
}
