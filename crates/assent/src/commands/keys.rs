//! `assent keys`.

use std::path::PathBuf;

use assent_core::signature::KeyPair;
use clap::Subcommand;
use serde_json::json;

use crate::{
    files,
    output::{self, Outcome},
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
    /// Show the account and the public key of a key file
    Show {
        /// Key file
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub fn run(command: KeysCommand) -> anyhow::Result<Outcome> {
    let (key, file, json) = match &command {
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
