//! `assent init --apart`: a folder for each role, with its keys and certificates and nothing of the others, for hosts or
//! containers that share nothing.
//!
//! What happens on a crash: the ledger is made in `setup/` first and appears there whole, under one rename; from then on its
//! identity is fixed. Handing out the parts only copies from it, so it is done again from the beginning where it was
//! interrupted. `setup/complete` is written last; with it there, nothing is touched any more.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use assent_core::note::CosignerKey;
use assent_gate::role::Role;

use crate::{
    certs::Authority,
    clients, files,
    ledger_dir::LedgerDir,
    settings::{SETTINGS, Settings, file_with},
};

/// The roles that get a folder, which are also the names of their hosts.
pub const ROLES: [&str; 4] = ["sequencer", "prover", "validator", "mockchain"];
/// The clients that get a certificate, and what they may do.
pub const CLIENTS: [(&str, &[Role]); 4] = [
    ("operator", &Role::ALL),
    ("gateway", &[Role::Submit]),
    ("auditor", &[Role::Audit]),
    ("prometheus", &[Role::Operate]),
];
/// A role, the keys that it needs, and its settings.
type Part<'a> = (&'static str, &'static [&'static str], Vec<(&'a str, String)>);

/// Days for which the certificates of a new stack are good.
const CERTIFICATE_DAYS: u32 = 825;

/// Under which names and addresses a role is reached.
pub fn hosts_of(role: &str, more: &[String]) -> Vec<String> {
    let own = [role, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    own.into_iter().chain(more.iter().cloned()).collect()
}

/// A new stack in a folder.
pub struct Apart<'a> {
    /// The folder. Its subfolders may be there already, as mount points.
    pub dir: &'a Path,
    /// Names under which servers are reached, beside their own.
    pub hosts: &'a [String],
    /// Settings that were given.
    pub given: &'a BTreeMap<&'static str, String>,
}

impl Apart<'_> {
    fn setup(&self, name: &str) -> PathBuf {
        self.dir.join("setup").join(name)
    }

    /// The ledger, which is made here first.
    pub fn ledger(&self) -> LedgerDir {
        LedgerDir(self.setup("ledger"))
    }

    /// Whether nothing is left to do.
    pub fn is_complete(&self) -> bool {
        self.setup("complete").exists()
    }

    /// The chain id of a complete stack.
    pub fn chain_id(&self) -> anyhow::Result<String> {
        Ok(files::read_text(&self.dir.join("clients/chain-id"))?.trim().to_owned())
    }

    /// Hands out the parts of the ledger.
    pub fn hand_out(&self, settings: &Settings) -> anyhow::Result<()> {
        let ledger = self.ledger();
        let (_, validator) = ledger.validator_key(settings.text("validator.name"))?;
        let name = match settings.text("validator.name") {
            "" => format!("assent-validator-{}", &hex::encode(validator.public().0)[..16]),
            name => name.to_owned(),
        };
        let validator_key = CosignerKey::new(&name, validator.public())?.to_string();
        let authority = Authority::open(&self.setup("authority"))?;
        for role in ROLES {
            authority.issue(role, &hosts_of(role, self.hosts), CERTIFICATE_DAYS)?;
        }
        for (client, _) in CLIENTS {
            authority.issue(client, &[], CERTIFICATE_DAYS)?;
        }
        let password = ledger.mock_password()?;
        let base_url = match (settings.text("base.url"), password) {
            ("", Some(password)) => format!("https://assent:{password}@mockchain:7421"),
            (url, _) => url.to_owned(),
        };
        let (sequencer, prover) = ("https://sequencer:7420".to_owned(), "https://prover:7422".to_owned());
        let parts: [Part<'_>; 4] = [
            ("sequencer", &["sequencer.key"], vec![("base.url", base_url.clone())]),
            (
                "prover",
                &["prover.key", "anchor.key"],
                vec![
                    ("base.url", base_url.clone()),
                    ("prover.sequencer", sequencer.clone()),
                    ("prover.validators", validator_key.clone()),
                ],
            ),
            (
                "validator",
                &["validator.key"],
                vec![
                    ("base.url", base_url.clone()),
                    ("validator.sequencer", sequencer),
                    ("validator.prover", prover),
                ],
            ),
            ("mockchain", &["mockchain-password"], Vec::new()),
        ];
        for (role, keys, settings) in parts {
            if role == "mockchain" && !ledger.mock_path().exists() {
                continue;
            }
            self.hand_out_to(role, keys, settings)?;
        }
        self.copy_blocks()?;
        let clients = self.dir.join("clients");
        files::make_private_dir(&clients)?;
        for (client, _) in CLIENTS {
            self.copy_certificate(client, &clients.join(client))?;
        }
        // By itself: who runs Prometheus needs no other client's key.
        files::make_private_dir(&self.dir.join("prometheus"))?;
        self.copy_certificate("prometheus", &self.dir.join("prometheus/tls"))?;
        copy(&ledger.manifest_path(), &clients.join("manifest.bin"))?;
        files::write_whole(&clients.join("validator"), format!("{validator_key}\n").as_bytes())?;
        copy(&ledger.chain_id_path(), &clients.join("chain-id"))?;
        // From here on nothing is made any more, whatever happens.
        files::write_whole(&self.setup("complete"), b"")?;
        self.clean_up()
    }

    /// Removes what a complete stack needs no more: the keys are where they belong, and here would only be a second place to
    /// guard. Before it is complete, what an interrupted run has left of a ledger that never was.
    pub fn clean_up(&self) -> anyhow::Result<()> {
        let setup = self.dir.join("setup");
        if !setup.exists() {
            return Ok(());
        }
        for entry in fs::read_dir(&setup).with_context(|| format!("cannot read {}", setup.display()))? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let half_made = name.starts_with("ledger.") && name.ends_with(".part");
            if half_made || (name == "ledger" && self.is_complete()) {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn hand_out_to(&self, role: &str, keys: &[&str], settings: Vec<(&str, String)>) -> anyhow::Result<()> {
        let (ledger, folder) = (self.ledger(), LedgerDir(self.dir.join(role)));
        files::make_private_dir(&folder.0)?;
        files::make_private_dir(&folder.0.join("keys"))?;
        for key in keys {
            copy(&ledger.key_path(key), &folder.key_path(key))?;
        }
        self.copy_certificate(role, &folder.0.join("tls"))?;
        let mut given = self.given.clone();
        let mut set = |key: &str, value: String| {
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
                given.entry(setting.key).or_insert(value);
            }
        };
        for (key, file) in [
            ("tls.certificate", "tls/cert.pem"),
            ("tls.key", "tls/key.pem"),
            ("tls.client_ca", "tls/ca.pem"),
            ("tls.ca", "tls/ca.pem"),
        ] {
            set(key, file.to_owned());
        }
        for (key, value) in settings {
            set(key, value);
        }
        given.insert("anchor.birthday_height", ledger_birthday(&ledger)?);
        files::write_whole(&folder.config_path(), file_with(&given).as_bytes())?;
        let mut all: Vec<_> =
            CLIENTS.iter().map(|(name, roles)| clients::with_certificate(name, roles, name)).collect();
        all.push(clients::with_certificate("sequencer", &[Role::Operate], "sequencer"));
        for follower in ["prover", "validator"] {
            all.push(clients::with_certificate(follower, &[Role::Follow, Role::Operate], follower));
        }
        if role != "mockchain" {
            clients::write(&folder.0.join("clients.toml"), all)?;
            copy(&ledger.chain_id_path(), &folder.chain_id_path())?;
            copy(&ledger.manifest_path(), &folder.manifest_path())?;
        }
        Ok(())
    }

    fn copy_certificate(&self, name: &str, to: &Path) -> anyhow::Result<()> {
        files::make_private_dir(to)?;
        for file in ["ca.pem", "key.pem", "cert.pem"] {
            copy(&self.setup("authority").join(name).join(file), &to.join(file))?;
        }
        Ok(())
    }

    /// The mock base chain's blocks. Where they were handed out before, nobody has mined on them yet: roles start after all this.
    fn copy_blocks(&self) -> anyhow::Result<()> {
        let from = self.ledger().mock_path();
        if !from.exists() {
            return Ok(());
        }
        let to = LedgerDir(self.dir.join("mockchain")).mock_path();
        files::make_private_dir(&to)?;
        for entry in fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))? {
            let entry = entry?;
            ensure!(entry.file_type()?.is_file(), "{} is not a file", entry.path().display());
            copy_large(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    }
}

fn ledger_birthday(ledger: &LedgerDir) -> anyhow::Result<String> {
    let flags = crate::settings::Flags::<{ crate::settings::Role::All as u8 }>::default();
    Ok(flags.over(&ledger.config_path())?.text("anchor.birthday_height").to_owned())
}

/// Copies a small file whole or not at all, readable by its owner alone.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    files::write_whole(to, &files::read_small(from)?)
}

/// Copies a file of any length.
fn copy_large(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::File::open(to)
        .and_then(|file| file.sync_all())
        .and_then(|()| files::sync_folder_of(to))
        .with_context(|| format!("cannot write {}", to.display()))
}
