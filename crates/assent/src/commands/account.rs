//! `assent account`.

use assent_core::{AccountId, TransactionId, transaction::AccountKind};
use assent_proto::v1::{OpenAccount, transaction_body::Act};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{ClientArgs, KeyArgs};
use crate::output::{self, Outcome};

/// What a party is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// A person whose data it is about
    Patient,
    /// A hospital, practice, insurer, company
    Organisation,
    /// A person who treats
    Practitioner,
    /// A device or its gateway
    Device,
    /// Who does research
    Researcher,
}

impl Kind {
    fn number(self) -> i32 {
        let kind = match self {
            Self::Patient => AccountKind::Patient,
            Self::Organisation => AccountKind::Organisation,
            Self::Practitioner => AccountKind::Practitioner,
            Self::Device => AccountKind::Device,
            Self::Researcher => AccountKind::Researcher,
        };
        kind as i32
    }
}

/// `assent account …`
#[derive(Subcommand)]
pub enum AccountCommand {
    /// Open the account of a key
    Open {
        /// What the party is. Self-declared; no rule depends on it.
        #[arg(long, value_enum)]
        kind: Kind,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show an account as it stands
    Show {
        /// Account
        #[arg(value_name = "DID")]
        account: AccountId,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Runs it.
pub async fn run(command: AccountCommand) -> anyhow::Result<Outcome> {
    match command {
        AccountCommand::Open { kind, key, client } => {
            let (key, connected) = (key.read()?, client.connect().await?);
            let transaction = connected.sign(&key, Act::OpenAccount(OpenAccount { kind: kind.number() }))?;
            let submitted = connected.submit(&transaction).await?;
            let account = key.public().account_id();
            Ok(output::submitted(client.json, &format!("Account {account}"), &submitted, &[]))
        }
        AccountCommand::Show { account, client } => {
            let found = client.connect().await?.account(account).await?;
            let kind = AccountKind::from_number(found.kind).map_or("unknown", AccountKind::name);
            let consents: Vec<TransactionId> =
                found.active_consents.iter().filter_map(|id| id.as_slice().try_into().ok()).collect();
            output::print(
                client.json,
                || {
                    let mut text = format!(
                        "{account}\n  kind         {kind}\n  opened       as entry {}\n  public key   {}",
                        found.opened_sequence,
                        hex::encode(&found.public_key)
                    );
                    for consent in &consents {
                        text.push_str(&format!("\n  consent      {consent}"));
                    }
                    text
                },
                || {
                    json!({
                        "account": account,
                        "kind": kind,
                        "opened_sequence": found.opened_sequence,
                        "public_key": hex::encode(&found.public_key),
                        "active_consents": consents,
                    })
                },
            );
            Ok(Outcome::Done)
        }
    }
}
