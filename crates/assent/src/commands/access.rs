//! `assent access`.

use anyhow::{Context, bail};
use assent_client::Client;
use assent_core::{AccountId, TransactionId, signature::KeyPair, transaction::acting_person_hash};
use assent_proto::v1::{self as proto, transaction_body::Act};
use clap::{Args, Subcommand};
use prost::Message;

use super::{ClientArgs, KeyArgs};
use crate::{
    output::{self, Outcome},
    text,
};

/// What is asked for, or was read.
#[derive(Args, Clone, Debug)]
pub struct ScopeArgs {
    /// Account that holds the data
    #[arg(long, value_name = "DID")]
    custodian: Option<AccountId>,
    /// Purpose of use: a code of HL7's PurposeOfUse, such as TREAT, ETREAT, HPAYMT, HRESCH
    #[arg(long, value_name = "CODE")]
    purpose: Option<String>,
    /// What is done: collect, access, use, disclose, correct
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Class of data: a FHIR resource type such as Observation, or SYSTEM|CODE. May be repeated.
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// Security label that the data may carry, such as SUD or PSY, or SYSTEM|CODE. May be repeated.
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Data from this time on (date or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    data_from: Option<u64>,
    /// Data before this time
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    data_to: Option<u64>,
    /// Who acts for the recipient. Only a salted hash goes on the ledger; keep the salt that is printed.
    #[arg(long, value_name = "TEXT")]
    person: Option<String>,
}

/// `assent access …`
#[derive(Subcommand)]
pub enum AccessCommand {
    /// Ask for access to data of one or more subjects. Exit code 4 where any is denied.
    Request {
        /// Subject. May be repeated: each is decided on its own.
        #[arg(long = "subject", value_name = "DID", required = true)]
        subjects: Vec<AccountId>,
        #[command(flatten)]
        scope: ScopeArgs,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Record what was read under an earlier request. Exit code 4 where it is uncovered; it is recorded all the same.
    Record {
        /// The request that it relies on
        #[arg(value_name = "REQUEST_ID")]
        request: TransactionId,
        /// Subject; needed where the request was about several
        #[arg(long, value_name = "DID")]
        subject: Option<AccountId>,
        /// What was read, where it is not all that was asked for
        #[command(flatten)]
        scope: ScopeArgs,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Runs it.
pub async fn run(command: AccessCommand) -> anyhow::Result<Outcome> {
    match command {
        AccessCommand::Request { subjects, scope, key, client } => {
            let (key, connected) = (key.read()?, client.connect().await?);
            let (scope, extra) = build_scope(&scope, proto::AccessScope::default(), &key)?;
            let subjects = subjects.iter().map(|subject| subject.0.to_vec()).collect();
            let act = Act::RequestAccess(proto::RequestAccess { subjects, scope: Some(scope) });
            let submitted = connected.submit(&connected.sign(&key, act)?).await?;
            Ok(output::submitted(client.json, "Access request", &submitted, &extra))
        }
        AccessCommand::Record { request, subject, scope, key, client } => {
            let (key, connected) = (key.read()?, client.connect().await?);
            let asked = asked_for(&connected, request).await?;
            let subject = match (subject, asked.subjects.as_slice()) {
                (Some(subject), _) => subject.0.to_vec(),
                (None, [only]) => only.clone(),
                (None, _) => bail!("the request was about several subjects; name one with --subject"),
            };
            let (scope, extra) = build_scope(&scope, asked.scope.unwrap_or_default(), &key)?;
            let record = proto::RecordAccess { request_id: request.0.to_vec(), subject, scope: Some(scope) };
            let submitted = connected.submit(&connected.sign(&key, Act::RecordAccess(record))?).await?;
            Ok(output::submitted(client.json, "Access record", &submitted, &extra))
        }
    }
}

/// The request that a record relies on, as it was sequenced.
async fn asked_for(client: &Client, request: TransactionId) -> anyhow::Result<proto::RequestAccess> {
    let (_, transaction, _) = client.transaction(request).await?;
    let body = proto::TransactionBody::decode(transaction.body.clone())?;
    match body.act {
        Some(Act::RequestAccess(asked)) => Ok(asked),
        _ => bail!("{request} is no access request"),
    }
}

/// What the flags say over what was asked for; and what is to be printed and kept.
fn build_scope(
    args: &ScopeArgs,
    mut scope: proto::AccessScope,
    key: &KeyPair,
) -> anyhow::Result<(proto::AccessScope, Vec<(&'static str, String)>)> {
    if let Some(custodian) = args.custodian {
        scope.custodian = custodian.0.to_vec();
    }
    if let Some(purpose) = &args.purpose {
        scope.purpose.clone_from(purpose);
    }
    if let Some(action) = &args.action {
        scope.action = text::action(action)?;
    }
    if !args.classes.is_empty() {
        scope.classes = args.classes.iter().map(|class| text::class(class)).collect::<anyhow::Result<_>>()?;
    }
    if !args.labels.is_empty() {
        scope.labels = args.labels.iter().map(|label| text::label(label)).collect::<anyhow::Result<_>>()?;
    }
    if let Some(period) = text::period(args.data_from, args.data_to) {
        scope.data_period = Some(period);
    }
    let missing = [
        (scope.custodian.is_empty(), "--custodian"),
        (scope.purpose.is_empty(), "--purpose"),
        (scope.action == 0, "--action"),
        (scope.classes.is_empty(), "--class"),
    ];
    let missing: Vec<&str> = missing.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        bail!("missing: {}", missing.join(", "));
    }
    let mut extra = Vec::new();
    if let Some(person) = &args.person {
        let salt = assent_client::random_bytes().context("no salt for the acting person")?;
        scope.acting_person_hash = acting_person_hash(&key.public().account_id(), &salt, person).to_vec();
        extra.push(("person salt", hex::encode(salt)));
    }
    Ok((scope, extra))
}
