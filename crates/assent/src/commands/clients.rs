//! `assent clients`: who may call a ledger's services.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use assent_gate::{
    access::{Access, Client},
    role::{Role, Roles},
};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    clients, files,
    output::{self, Outcome},
    settings::{self, Flags},
};

/// `assent clients …`
#[derive(Subcommand)]
pub enum ClientsCommand {
    /// Show who may call, and as what
    List {
        #[command(flatten)]
        file: FileArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let somebody call, by a new token or by a client certificate
    Add {
        #[command(flatten)]
        file: FileArgs,
        /// Name under which logs show the client
        name: String,
        /// What it may do: submit, follow (provers and validators: sees everything), audit (reads every record), operate
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<Role>,
        /// Name in its certificate: a DNS name or URI among the subject alternative names
        #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
        certificate: Option<String>,
        /// File to make with the new token; without it the token is printed
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let somebody call no more
    Remove {
        #[command(flatten)]
        file: FileArgs,
        /// Name of the client
        name: String,
    },
}

/// Which access file.
#[derive(Args)]
pub struct FileArgs {
    /// Folder of the role whose clients they are; its access.file is used, and made where there is none
    dir: PathBuf,
}

impl FileArgs {
    fn open(&self) -> anyhow::Result<(PathBuf, Vec<Client>)> {
        ensure!(self.dir.is_dir(), "{} is not a folder", self.dir.display());
        let settings =
            Flags::<{ settings::Role::All as u8 }>::default().over(&self.dir.join("config.toml"))?;
        let path = settings.path("access.file", &self.dir).context("access.file is empty")?;
        let clients = match path.exists() {
            true => Access::read(&path)?.clients().to_vec(),
            false => {
                clients::make(&path, &self.dir.join("keys"))?;
                Access::read(&path)?.clients().to_vec()
            }
        };
        Ok((path, clients))
    }
}

/// Runs it.
pub fn run(command: ClientsCommand) -> anyhow::Result<Outcome> {
    match command {
        ClientsCommand::List { file, json } => list(&file, json),
        ClientsCommand::Add { file, name, roles, certificate, token_file, json } => {
            let (path, mut all) = file.open()?;
            ensure!(!all.iter().any(|client| client.name == name), "there is a client {name} already");
            let mut token = None;
            let client = match (certificate, &token_file) {
                (Some(certificate), _) => clients::with_certificate(&name, &roles, &certificate),
                (None, Some(target)) => clients::with_token(&name, &roles, &clients::write_token(target)?),
                (None, None) => {
                    let new = assent_gate::access::token_of(&assent_client::random_bytes()?);
                    let client = clients::with_token(&name, &roles, &new);
                    token = Some(new);
                    client
                }
            };
            all.push(client);
            clients::write(&path, all).inspect_err(|_| {
                // The token would be good for nothing.
                let _ = token_file.as_ref().map(std::fs::remove_file);
            })?;
            let roles = Roles::of(&roles).iter().map(Role::name).collect::<Vec<_>>();
            output::print(
                json,
                || {
                    let mut text = format!("{name} may {} now", roles.join(", "));
                    if let Some(token) = &token {
                        text.push_str(&format!(
                            "\n  token  {token}\n  It is shown this once; only its hash is kept."
                        ));
                    }
                    if let Some(file) = &token_file {
                        text.push_str(&format!("\n  token  in {}", file.display()));
                    }
                    text
                },
                || json!({"name": name, "roles": roles, "token": token}),
            );
            Ok(Outcome::Done)
        }
        ClientsCommand::Remove { file, name } => {
            let (path, mut all) = file.open()?;
            let before = all.len();
            all.retain(|client| client.name != name);
            if all.len() == before {
                bail!("there is no client {name} in {}", path.display());
            }
            files::write_whole(&path, Access::new(&path.display().to_string(), all)?.to_text()?.as_bytes())?;
            output::print_text(&format!(
                "{name} may call no more, within seconds where a role is running; what it has open is closed"
            ));
            Ok(Outcome::Done)
        }
    }
}

fn list(file: &FileArgs, json: bool) -> anyhow::Result<Outcome> {
    let (path, all) = file.open()?;
    let by = |client: &Client| match (&client.certificate, &client.token) {
        (Some(name), None) => format!("certificate {name}"),
        (None, _) => "token".to_owned(),
        (Some(name), Some(_)) => format!("certificate {name}, or token"),
    };
    let roles = |client: &Client| client.roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ");
    output::print(
        json,
        || {
            let mut lines = vec![format!("{} of {}", all.len(), path.display())];
            lines.extend(
                all.iter()
                    .map(|client| format!("  {:<20} {:<32} {}", client.name, roles(client), by(client))),
            );
            lines.join("\n")
        },
        || {
            json!(
                all.iter()
                    .map(|client| json!({
                        "name": client.name,
                        "roles": client.roles,
                        "certificate": client.certificate,
                        "has_token": client.token.is_some(),
                    }))
                    .collect::<Vec<_>>()
            )
        },
    );
    Ok(Outcome::Done)
}
