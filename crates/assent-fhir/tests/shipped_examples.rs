//! The consents in `examples/fhir` come out as their README says.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds something missing is to fail there")]

mod common;

use std::path::PathBuf;

use assent_core::terms::{Action, Effect, Period};
use assent_fhir::{Import, ImportError, Profile, ReferenceMap, import};
use common::{account, ask, coding, ms, request};

const CLINIC: u8 = 3;
const MAKER: u8 = 4;
const UNIVERSITY: u8 = 5;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/fhir").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn imported(name: &str, profile: Profile) -> Result<Import, ImportError> {
    import(read(name).as_bytes(), &ReferenceMap::from_toml(&read("refs.toml")).unwrap(), profile)
}

#[test]
fn the_map_holds_the_accounts_of_the_keys_that_the_readme_names() {
    let map = ReferenceMap::from_toml(&read("refs.toml")).unwrap();
    let expected = [
        ("Patient/sensor-wearer", 1),
        ("Patient/study-participant", 2),
        ("Organization/diabetes-clinic", CLINIC),
        ("Organization/sensor-maker", MAKER),
        ("Organization/university", UNIVERSITY),
    ];
    for (reference, seed) in expected {
        assert_eq!(map.get(reference), Some(account(seed)), "{reference} = \"{}\"", account(seed));
    }
}

#[test]
fn the_clinic_may_access_sensor_data_for_treatment_but_not_what_is_labelled_mental_health() {
    let consent = imported("glucose-sensor.json", Profile::Plain).unwrap();
    assert_eq!(consent.subject, account(1));
    let asked = request(account(CLINIC), account(MAKER));
    let decision = ask(&asked, &[&consent.terms]);
    assert_eq!(decision.effect, Effect::Permit);
    assert_eq!(decision.obligations.len(), 1, "leave out mental health: {decision:?}");
    let mut emergency = asked.clone();
    emergency.scope.purpose = "ETREAT".into();
    assert_eq!(ask(&emergency, &[&consent.terms]).effect, Effect::Permit);

    let mut others =
        vec![request(account(UNIVERSITY), account(MAKER)), request(account(CLINIC), account(CLINIC))];
    let mut labelled = asked.clone();
    labelled.scope.labels = vec![coding("http://terminology.hl7.org/CodeSystem/v3-ActCode|MH")];
    let mut marketing = asked.clone();
    marketing.scope.purpose = "HMARKT".into();
    let mut disclosed = asked.clone();
    disclosed.scope.action = Action::Disclose;
    let mut medication = asked.clone();
    medication.scope.classes = vec![coding("MedicationRequest")];
    let mut expired = asked;
    expired.time_ms = ms("2100-01-01T00:00:00Z");
    others.extend([labelled, marketing, disclosed, medication, expired]);
    for denied in others {
        assert_eq!(ask(&denied, &[&consent.terms]).effect, Effect::Deny, "{denied:?}");
    }
}

#[test]
fn the_university_may_use_the_data_of_two_years_and_no_others() {
    let consent = imported("research.json", Profile::Plain).unwrap();
    let mut asked = request(account(UNIVERSITY), account(MAKER));
    asked.scope.purpose = "HRESCH".into();
    asked.scope.action = Action::Use;
    let data = |start: &str, end: &str| Some(Period { start_ms: ms(start), end_ms: ms(end) });
    asked.scope.data_period = data("2024-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
    assert_eq!(ask(&asked, &[&consent.terms]).effect, Effect::Permit);
    for period in [
        None,
        data("2024-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z"),
        data("2023-12-31T23:59:59.999Z", "2026-01-01T00:00:00Z"),
    ] {
        asked.scope.data_period = period;
        assert_eq!(ask(&asked, &[&consent.terms]).effect, Effect::Deny, "{period:?}");
    }
}

#[test]
fn an_ambiguous_root_is_refused_and_its_two_readings_are_opposites() {
    let error = imported("ambiguous-root.json", Profile::Plain).unwrap_err();
    assert_eq!((error.path(), error.reason()), ("Consent.provision.actor", "ROOT_AMBIGUOUS"));
    let asked = request(account(CLINIC), account(MAKER));
    let exception = imported("ambiguous-root.json", Profile::RootException).unwrap();
    assert_eq!(ask(&asked, &[&exception.terms]).effect, Effect::Permit);
    let scope = imported("ambiguous-root.json", Profile::RootScope).unwrap();
    assert_eq!(ask(&asked, &[&scope.terms]).effect, Effect::Deny);
}

#[test]
fn an_opt_out_denies_what_another_consent_permits() {
    let (sensor, study) = (
        imported("glucose-sensor.json", Profile::Plain).unwrap(),
        imported("research.json", Profile::Plain).unwrap(),
    );
    let asked = request(account(CLINIC), account(MAKER));
    assert_eq!(ask(&asked, &[&sensor.terms]).effect, Effect::Permit);
    assert_eq!(ask(&asked, &[&sensor.terms, &study.terms]).effect, Effect::Deny);
    assert!(sensor.notes.iter().any(|note| note.contains("OPTOUT denies")), "{:?}", sensor.notes);
}
