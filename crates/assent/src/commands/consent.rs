//! `assent consent`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use assent_client::{Client, Submitted};
use assent_core::{
    AccountId, TransactionId,
    signature::KeyPair,
    terms::ConsentTerms,
    transaction::{revocation_code_hash, source_hash},
};
use assent_fhir::{MAX_RESOURCE_BYTES, Profile, ReferenceMap};
use assent_proto::v1::{self as proto, transaction_body::Act};
use assent_verify::utc;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::json;

use super::{ClientArgs, KeyArgs};
use crate::{
    files,
    output::{self, Outcome},
    text,
};

/// Terms from flags: one provision, and what is left out of it.
#[derive(Args, Clone, Debug)]
pub struct TermsArgs {
    /// Who may ask. May be repeated; without it, anyone.
    #[arg(long = "recipient", value_name = "DID")]
    recipients: Vec<AccountId>,
    /// Who holds the data. May be repeated.
    #[arg(long = "custodian", value_name = "DID")]
    custodians: Vec<AccountId>,
    /// Purpose of use, such as TREAT; codes below it are covered. May be repeated.
    #[arg(long = "purpose", value_name = "CODE")]
    purposes: Vec<String>,
    /// What may be done: collect, access, use, disclose, correct. May be repeated.
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<String>,
    /// Class of data: a FHIR resource type such as Observation, or SYSTEM|CODE. May be repeated.
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// Data with this security label are left out, such as SUD or PSY. May be repeated.
    #[arg(long = "without-label", value_name = "LABEL")]
    without_labels: Vec<String>,
    /// In force from this time on (date or RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    from: Option<u64>,
    /// In force before this time
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    until: Option<u64>,
    /// Data from this time on
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    data_from: Option<u64>,
    /// Data before this time
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    data_to: Option<u64>,
    /// Forbid instead of permit: overrides every other consent of yours
    #[arg(long)]
    deny: bool,
}

/// `assent consent …`
#[derive(Subcommand)]
pub enum ConsentCommand {
    /// Import FHIR R4 Consent resources and grant them. Only a salted hash of a resource goes on the ledger.
    Import {
        /// JSON files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// TOML file that binds references such as Organization/f001 to accounts
        #[arg(long, value_name = "FILE")]
        map: PathBuf,
        /// How a root provision with constraints is read: plain (refused), root-exception, root-scope
        #[arg(long, default_value_t = Profile::Plain, value_name = "NAME")]
        profile: Profile,
        /// Make a revocation code for each and print it
        #[arg(long)]
        with_code: bool,
        /// Show the terms; sign and submit nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Grant a consent about yourself
    #[command(group(ArgGroup::new("what").args(["recipients", "custodians", "purposes", "actions", "classes"]).required(true).multiple(true)))]
    Grant {
        #[command(flatten)]
        terms: TermsArgs,
        /// Make a revocation code and print it: whoever shows it revokes this consent, without account or key
        #[arg(long)]
        with_code: bool,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Revoke a consent: your own by its id, or any by its revocation code
    #[command(group(ArgGroup::new("which").args(["id", "code"]).required(true)))]
    Revoke {
        /// Consent
        #[arg(value_name = "CONSENT_ID")]
        id: Option<TransactionId>,
        /// Revocation code, as it was printed at the grant. Needs no key.
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        #[command(flatten)]
        key: KeyArgs,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show a consent as it stands
    Show {
        /// Consent
        #[arg(value_name = "CONSENT_ID")]
        id: TransactionId,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Runs it.
pub async fn run(command: ConsentCommand) -> anyhow::Result<Outcome> {
    match command {
        ConsentCommand::Import { files, map, profile, with_code, dry_run, key, client } => {
            import(&files, &map, profile, with_code, dry_run, &key, &client).await
        }
        ConsentCommand::Grant { terms, with_code, key, client } => {
            let (key, connected) = (key.read()?, client.connect().await?);
            let terms = build_terms(&terms)?;
            grant(&connected, &key, terms, None, with_code, client.json, Vec::new()).await
        }
        ConsentCommand::Revoke { id, code, key, client } => {
            let transaction = |connected: &Client| match (id, &code) {
                (Some(id), _) => {
                    let by = proto::revoke_consent::By::ConsentId(id.0.to_vec());
                    let act = Act::RevokeConsent(proto::RevokeConsent { by: Some(by) });
                    Ok(connected.sign(&key.read()?, act)?)
                }
                (None, code) => {
                    let code = text::read_code(code.as_deref().unwrap_or_default())?;
                    anyhow::Ok(connected.revocation_by_code(&code)?)
                }
            };
            let connected = client.connect().await?;
            let submitted = connected.submit(&transaction(&connected)?).await?;
            Ok(output::submitted(client.json, "Revocation", &submitted, &[]))
        }
        ConsentCommand::Show { id, client } => show(id, &client).await,
    }
}

fn build_terms(args: &TermsArgs) -> anyhow::Result<proto::ConsentTerms> {
    let actors = |role: proto::ActorRole, accounts: &[AccountId]| -> Vec<proto::Actor> {
        accounts.iter().map(|id| proto::Actor { role: role as i32, account: id.0.to_vec() }).collect()
    };
    let mut provision = proto::Provision {
        effect: if args.deny { proto::Effect::Deny } else { proto::Effect::Permit } as i32,
        actors: actors(proto::ActorRole::Recipient, &args.recipients),
        purposes: args.purposes.clone(),
        actions: args.actions.iter().map(|action| text::action(action)).collect::<anyhow::Result<_>>()?,
        classes: args.classes.iter().map(|class| text::class(class)).collect::<anyhow::Result<_>>()?,
        data_period: text::period(args.data_from, args.data_to),
        ..Default::default()
    };
    provision.actors.extend(actors(proto::ActorRole::Custodian, &args.custodians));
    if !args.without_labels.is_empty() {
        ensure!(!args.deny, "--without-label narrows a permit; it has no meaning with --deny");
        provision.provisions.push(proto::Provision {
            effect: proto::Effect::Deny as i32,
            labels: args
                .without_labels
                .iter()
                .map(|label| text::label(label))
                .collect::<anyhow::Result<_>>()?,
            ..Default::default()
        });
    }
    Ok(proto::ConsentTerms {
        default_effect: 0,
        period: text::period(args.from, args.until),
        provisions: vec![provision],
    })
}

async fn grant(
    client: &Client,
    key: &KeyPair,
    terms: proto::ConsentTerms,
    source: Option<[u8; 32]>,
    with_code: bool,
    as_json: bool,
    mut extra: Vec<(&'static str, String)>,
) -> anyhow::Result<Outcome> {
    let code: Option<[u8; 32]> = if with_code { Some(assent_client::random_bytes()?) } else { None };
    let act = Act::GrantConsent(proto::GrantConsent {
        terms: Some(terms),
        revocation_code_hash: code.map_or_else(Vec::new, |code| revocation_code_hash(&code).to_vec()),
        source_hash: source.map_or_else(Vec::new, |hash| hash.to_vec()),
    });
    let submitted = client.submit(&client.sign(key, act)?).await?;
    if let (Some(code), Submitted::Sequenced(_)) = (&code, &submitted) {
        extra.push(("revocation code", text::write_code(code)?));
    }
    Ok(output::submitted(as_json, "Consent (its id is the transaction's)", &submitted, &extra))
}

async fn import(
    files: &[PathBuf],
    map: &Path,
    profile: Profile,
    with_code: bool,
    dry_run: bool,
    key: &KeyArgs,
    client: &ClientArgs,
) -> anyhow::Result<Outcome> {
    let map = ReferenceMap::from_toml(&files::read_text(map)?)
        .with_context(|| format!("the map {} is not valid", map.display()))?;
    // All are read before any is submitted: a refused one leaves nothing half done.
    let mut imports = Vec::new();
    for file in files {
        let length = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        ensure!(
            length <= MAX_RESOURCE_BYTES as u64,
            "{} has {length} bytes, at most {MAX_RESOURCE_BYTES} are read",
            file.display()
        );
        let resource = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let import = assent_fhir::import(&resource, &map, profile).map_err(|error| {
            anyhow::anyhow!("{} is refused ({}): {error}", file.display(), error.reason())
        })?;
        imports.push((file, resource, import));
    }
    if dry_run {
        for (file, _, import) in &imports {
            output::print(
                client.json,
                || format!("{}: {}\n{}", file.display(), import.subject, describe_terms(&import.terms)),
                || json!({"file": file.display().to_string(), "subject": import.subject, "terms": describe_terms(&import.terms), "notes": import.notes}),
            );
        }
        return Ok(Outcome::Done);
    }
    let key = key.read()?;
    let signer = key.public().account_id();
    for (file, _, import) in &imports {
        ensure!(
            import.subject == signer,
            "{} is about {}, the key is of {signer}: only the subject grants a consent",
            file.display(),
            import.subject
        );
    }
    let connected = client.connect().await?;
    let mut outcome = Outcome::Done;
    for (file, resource, import) in imports {
        let salt: [u8; 32] = assent_client::random_bytes()?;
        let mut extra = vec![("from", file.display().to_string()), ("source salt", hex::encode(salt))];
        extra.extend(import.notes.iter().map(|note| ("note", note.clone())));
        let hash = source_hash(&salt, &resource);
        let one = grant(&connected, &key, import.terms.to_proto(), Some(hash), with_code, client.json, extra)
            .await?;
        if one != Outcome::Done {
            outcome = one;
        }
    }
    Ok(outcome)
}

async fn show(id: TransactionId, client: &ClientArgs) -> anyhow::Result<Outcome> {
    let found = client.connect().await?.consent(id).await?;
    let subject: AccountId =
        found.subject.as_slice().try_into().context("the node's answer has no valid subject")?;
    let terms = found.terms.as_ref().context("the node's answer has no terms")?;
    let terms = describe_terms(&ConsentTerms::from_proto(terms)?);
    output::print(
        client.json,
        || {
            let status = if found.revoked {
                format!("REVOKED by entry {}, {}", found.revoked_sequence, utc(found.revoked_at_ms))
            } else {
                "active".to_owned()
            };
            format!(
                "Consent {id}\n  subject   {subject}\n  granted   by entry {}, {}\n  status    {status}\n{terms}",
                found.granted_sequence,
                utc(found.granted_at_ms)
            )
        },
        || {
            json!({
                "consent_id": id,
                "subject": subject,
                "granted_sequence": found.granted_sequence,
                "granted_at_ms": found.granted_at_ms,
                "revoked": found.revoked,
                "revoked_sequence": found.revoked.then_some(found.revoked_sequence),
                "revoked_at_ms": found.revoked.then_some(found.revoked_at_ms),
                "terms": terms,
            })
        },
    );
    Ok(Outcome::Done)
}

/// Terms as an indented list.
fn describe_terms(terms: &ConsentTerms) -> String {
    use assent_core::terms::{ActorRole, Effect, Period, Provision};
    let effect = |effect| match effect {
        Effect::Permit => "permit",
        Effect::Deny => "deny",
    };
    let period = |period: &Period| {
        let end = if period.end_ms == u64::MAX { "…".to_owned() } else { utc(period.end_ms) };
        format!("{} to {end}", utc(period.start_ms))
    };
    let mut lines = vec![format!(
        "  default   {}",
        terms.default_effect.map_or("says nothing where no provision matches", effect)
    )];
    lines.extend(terms.period.iter().map(|p| format!("  in force  {}", period(p))));
    let mut open: Vec<(usize, &Provision)> = terms.provisions.iter().rev().map(|p| (1, p)).collect();
    while let Some((depth, provision)) = open.pop() {
        let mut parts = vec![effect(provision.effect).to_owned()];
        for actor in &provision.actors {
            let role = match actor.role {
                ActorRole::Recipient => "recipient",
                ActorRole::Custodian => "custodian",
            };
            parts.push(format!("{role} {}", actor.account));
        }
        let codes = |codings: &[assent_core::terms::Coding]| {
            codings.iter().map(|coding| coding.code.as_str()).collect::<Vec<_>>().join(" or ")
        };
        let actions: Vec<&str> = provision.actions.iter().map(|action| action.code()).collect();
        let named = [
            ("to", actions.join(" or ")),
            ("for", provision.purposes.join(" or ")),
            ("class", codes(&provision.classes)),
            ("label", codes(&provision.labels)),
            ("when", provision.period.as_ref().map(period).unwrap_or_default()),
            ("data from", provision.data_period.as_ref().map(period).unwrap_or_default()),
        ];
        parts.extend(
            named
                .into_iter()
                .filter(|(_, text)| !text.is_empty())
                .map(|(name, text)| format!("{name} {text}")),
        );
        lines.push(format!("{}- {}", "  ".repeat(depth), parts.join(", ")));
        open.extend(provision.provisions.iter().rev().map(|child| (depth + 1, child)));
    }
    lines.join("\n")
}
