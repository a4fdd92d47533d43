//! HL7's example consents come out as `tests/fhir/expected.toml` says, and where they are imported decide as it says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds something missing is to fail there")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use assent_core::{
    AccountId,
    terms::{Action, Effect},
};
use assent_fhir::{Profile, ReferenceMap, import};
use common::{Request, account, ask, coding, ms, request};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    accounts: Vec<String>,
    example: Vec<Example>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Example {
    file: String,
    narrative: String,
    plain: Outcome,
    root_exception: Outcome,
    root_scope: Outcome,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Refused(Refused),
    Imported(Imported),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    path: String,
    reason: String,
    because: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Imported {
    meaning: Meaning,
    because: String,
    all_denied: Option<String>,
    request: Vec<Asked>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Meaning {
    AsMeant,
    Wider,
    Opposite,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    decision: String,
    reason: String,
    recipient: String,
    custodian: String,
    purpose: String,
    action: String,
    class: String,
    #[serde(default)]
    labels: Vec<String>,
    time: toml::value::Datetime,
}

fn expected() -> Expected {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fhir/expected.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The folder with the examples, or `None`, said aloud.
fn examples() -> Option<PathBuf> {
    let folder = std::env::var_os("ASSENT_FHIR_EXAMPLES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fhir"), PathBuf::from);
    let found = folder.join("r4");
    if found.is_dir() {
        return Some(found);
    }
    eprintln!("skipped: no HL7 examples in {}; set ASSENT_FHIR_EXAMPLES", found.display());
    None
}

fn made_request(asked: &Asked, accounts: &BTreeMap<String, AccountId>) -> Request {
    let mut made = request(accounts[&asked.recipient], accounts[&asked.custodian]);
    made.scope.purpose = asked.purpose.clone();
    made.scope.action = Action::ALL.into_iter().find(|action| action.code() == asked.action).unwrap();
    made.scope.classes = vec![coding(&asked.class)];
    made.scope.labels = asked.labels.iter().map(|label| coding(label)).collect();
    made.time_ms = ms(&asked.time.to_string());
    made
}

#[test]
fn expectations_name_exactly_the_examples_that_there_are() {
    let Some(folder) = examples() else { return };
    let present: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("Consent-"))
        .collect();
    let listed: Vec<String> = expected().example.into_iter().map(|example| example.file).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), present);
    assert_eq!(listed.len(), present.len(), "an example is listed twice");
}

#[test]
fn every_import_shows_both_decisions_or_says_why_it_has_one_only() {
    for example in expected().example {
        assert!(!example.narrative.is_empty());
        for outcome in [&example.plain, &example.root_exception, &example.root_scope] {
            let imported = match outcome {
                Outcome::Refused(refused) => {
                    assert!(!refused.because.is_empty());
                    continue;
                }
                Outcome::Imported(imported) => imported,
            };
            assert!(!imported.because.is_empty());
            let decisions: BTreeSet<&str> =
                imported.request.iter().map(|asked| asked.decision.as_str()).collect();
            let both = decisions == BTreeSet::from(["deny", "permit"]);
            assert!(both != imported.all_denied.is_some(), "{}", example.file);
            assert!(both || decisions == BTreeSet::from(["deny"]), "{}", example.file);
        }
        if let Outcome::Imported(imported) = &example.plain {
            assert!(imported.meaning == Meaning::AsMeant, "{}: plain never guesses", example.file);
        }
    }
}

#[test]
fn every_example_is_imported_or_refused_as_expected_under_every_profile() {
    let Some(folder) = examples() else { return };
    let expected = expected();
    let accounts: BTreeMap<String, AccountId> =
        (1..).zip(&expected.accounts).map(|(seed, name)| (name.clone(), account(seed))).collect();
    let map: ReferenceMap = accounts.clone().into_iter().collect();
    for example in &expected.example {
        let json = std::fs::read(folder.join(&example.file)).unwrap();
        let outcomes = [&example.plain, &example.root_exception, &example.root_scope];
        for (profile, outcome) in Profile::ALL.into_iter().zip(outcomes) {
            let at = format!("{} under {profile}", example.file);
            match (import(&json, &map, profile), outcome) {
                (Err(error), Outcome::Refused(refused)) => {
                    let found = (error.path(), error.reason());
                    assert_eq!(found, (refused.path.as_str(), refused.reason.as_str()), "{at}: {error}");
                }
                (Ok(import), Outcome::Imported(imported)) => {
                    for asked in &imported.request {
                        let decision = ask(&made_request(asked, &accounts), &[&import.terms]);
                        let effect = if decision.effect == Effect::Permit { "permit" } else { "deny" };
                        let found = (effect.to_owned(), format!("{:?}", decision.reason));
                        let wanted = (asked.decision.clone(), asked.reason.clone());
                        assert_eq!(found, wanted, "{at}: {} asks {}", asked.recipient, asked.custodian);
                    }
                }
                (Ok(import), Outcome::Refused(_)) => panic!("{at}: imported as {import:?}"),
                (Err(error), Outcome::Imported(_)) => panic!("{at}: {error}"),
            }
        }
    }
}
