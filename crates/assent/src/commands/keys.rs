//! `assent keys`.

use std::path::{Path, PathBuf};

use assent_core::{note::CosignerKey, signature::KeyPair};
use clap::Subcommand;
use serde_json::json;

use crate::{
    files,
    ledger_dir::LedgerDir,
    output::{self, Outcome},
    settings::{Flags, Role},
};

/// `assent keys …`
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a new key in a file that only you can read, and show its account
    New {
        /// File to make. An existing one is never overwritten.
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the key with which a validator cosigns, for the prover's settings and for auditors; makes it where there is none
    Validator {
        /// Folder of the validator
        dir: PathBuf,
        /// Name under which it cosigns; that of its config.toml by default
        #[arg(long)]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the account and the public key of a key file
    Show {
        /// Key file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn validator(dir: &Path, name: Option<&str>, json: bool) -> anyhow::Result<Outcome> {
    let dir = LedgerDir(dir.to_owned());
    let settings = Flags::<{ Role::Validator as u8 }>::default().over(&dir.config_path())?;
    let name = name.unwrap_or_else(|| settings.text("validator.name"));
    files::make_private_dir(&dir.0)?;
    let (name, key) = dir.validator_key(name)?;
    let public = CosignerKey::new(&name, key.public())?;
    output::print(
        json,
        || format!("{public}\n  key file  {}", dir.key_path("validator.key").display()),
        || json!({"validator": public.to_string(), "name": name}),
    );
    Ok(Outcome::Done)
}

/// Runs it.
pub fn run(command: KeysCommand) -> anyhow::Result<Outcome> {
    let (key, file, json) = match &command {
        KeysCommand::Validator { dir, name, json } => return validator(dir, name.as_deref(), *json),
        KeysCommand::New { file, json } => {
            let key = KeyPair::from_seed(assent_client::random_bytes()?);
            files::write_key(file, &key)?;
            (key, file, *json)
        }
        KeysCommand::Show { file, json } => (files::read_key(file)?, file, *json),
    };
    let (account, public) = (key.public().account_id(), hex::encode(key.public().0));
    output::print(
        json,
        || format!("{account}\n  public key  {public}\n  key file    {}", file.display()),
        || json!({"account": account, "public_key": public, "file": file.display().to_string()}),
    );
    Ok(Outcome::Done)
}
