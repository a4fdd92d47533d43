//! What is understood becomes terms; what is not is refused where it stands.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds something missing is to fail there")]

mod common;

use assent_core::{
    limits,
    terms::{Action, Actor, ActorRole, ConsentTerms, Effect, Period, Provision},
};
use assent_fhir::{
    Import, ImportError, MAX_RESOURCE_BYTES, Profile, ReferenceMap, ReferenceMapError, import,
};
use common::{account, ask, coding, ms, request};
use serde_json::{Value, json};

const CLINIC: u8 = 2;
const HOLDER: u8 = 3;

fn map() -> ReferenceMap {
    [("Patient/1", 1), ("Organization/clinic", CLINIC), ("Organization/holder", HOLDER)]
        .map(|(reference, seed)| (reference.to_owned(), account(seed)))
        .into_iter()
        .collect()
}

fn concept(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code }] })
}

fn actor(role: &str, reference: &str) -> Value {
    json!({ "role": concept("v3-ParticipationType", role), "reference": { "reference": reference } })
}

fn label(system: &str, code: &str) -> Value {
    json!({ "system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code })
}

/// An opt-out with one permit that uses every attribute that is understood.
fn consent() -> Value {
    json!({
        "resourceType": "Consent",
        "status": "active",
        "scope": concept("consentscope", "patient-privacy"),
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": "Patient/1", "display": "P." },
        "dateTime": "2026-01-01",
        "policyRule": concept("v3-ActCode", "OPTOUT"),
        "provision": {
            "period": { "start": "2026-01-01", "end": "2026-12-31" },
            "provision": [{
                "type": "permit",
                "period": { "start": "2026-02" },
                "actor": [actor("PRCP", "Organization/clinic"), actor("CST", "Organization/holder")],
                "action": [concept("consentaction", "access")],
                "purpose": [label("v3-ActReason", "TREAT")],
                "class": [{ "system": "http://hl7.org/fhir/resource-types", "code": "Observation" }],
                "securityLabel": [label("v3-Confidentiality", "M")],
                "dataPeriod": { "start": "2025", "end": "2025" },
                "provision": [{ "type": "deny", "securityLabel": [label("v3-ActCode", "PSY")] }],
            }],
        },
    })
}

fn read(consent: &Value, profile: Profile) -> Result<Import, ImportError> {
    import(consent.to_string().as_bytes(), &map(), profile)
}

/// The path and the reason of a refusal.
fn refusal(consent: &Value, profile: Profile) -> (String, &'static str) {
    match read(consent, profile) {
        Ok(import) => panic!("imported as {import:?}"),
        Err(error) => {
            assert!(error.to_string().starts_with(error.path()), "the message names the path: {error}");
            (error.path().to_owned(), error.reason())
        }
    }
}

/// Sets an element by JSON pointer, whose parent is there.
fn set(consent: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match consent.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}")) {
        Value::Array(items) => items[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
}

fn without(pointer: &str) -> Value {
    let mut changed = consent();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    changed.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    changed
}

fn with(pointer: &str, value: Value) -> Value {
    let mut changed = consent();
    set(&mut changed, pointer, value);
    changed
}

const RULE: &str = "/provision/provision/0";

#[test]
fn every_attribute_that_is_understood_becomes_one_of_the_terms() {
    let mut deny = Provision::new(Effect::Deny);
    deny.labels = vec![coding("http://terminology.hl7.org/CodeSystem/v3-ActCode|PSY")];
    let mut permit = Provision::new(Effect::Permit);
    permit.period = Some(Period { start_ms: ms("2026-02-01T00:00:00Z"), end_ms: u64::MAX });
    permit.actors = vec![
        Actor { role: ActorRole::Recipient, account: account(CLINIC) },
        Actor { role: ActorRole::Custodian, account: account(HOLDER) },
    ];
    permit.actions = vec![Action::Access];
    permit.purposes = vec!["TREAT".into()];
    permit.classes = vec![coding("Observation")];
    // A high-water mark: M or lower.
    permit.labels = ["U", "L", "M"]
        .map(|code| coding(&format!("http://terminology.hl7.org/CodeSystem/v3-Confidentiality|{code}")))
        .into();
    permit.data_period =
        Some(Period { start_ms: ms("2025-01-01T00:00:00Z"), end_ms: ms("2026-01-01T00:00:00Z") });
    permit.provisions = vec![deny];
    let import = read(&consent(), Profile::Plain).unwrap();
    assert_eq!(import.subject, account(1));
    let period = Period { start_ms: ms("2026-01-01T00:00:00Z"), end_ms: ms("2027-01-01T00:00:00Z") };
    assert_eq!(
        import.terms,
        ConsentTerms { default_effect: Some(Effect::Deny), period: Some(period), provisions: vec![permit] }
    );
    // A root with nothing but a period is read alike by all profiles that read it.
    assert_eq!(read(&consent(), Profile::RootScope).unwrap().terms, import.terms);
}

#[test]
fn what_is_left_out_or_taken_as_something_is_told() {
    let mut told = consent();
    told["sourceAttachment"] = json!({ "title": "signed form" });
    told["text"] = json!({ "status": "generated", "div": "<div/>" });
    told["verification"] = json!([{ "verified": true }]);
    let notes = read(&told, Profile::Plain).unwrap().notes;
    for path in ["sourceAttachment", "text", "category", "dateTime", "policyRule", "provision.period.start"] {
        assert!(notes.iter().any(|note| note.starts_with(&format!("Consent.{path}: "))), "{path}: {notes:?}");
    }
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    let attachment = json!([{ "valueString": "x", "url": "http://example.org/x" }]);
    let rule = |name: &str| format!("{RULE}/{name}");
    let at_rule = |name: &str| format!("Consent.provision.provision[0].{name}");
    let cases: Vec<(Value, String, &str)> = vec![
        (json!([]), "Consent".into(), "ELEMENT_MALFORMED"),
        (with("/resourceType", json!("Patient")), "Consent.resourceType".into(), "WRONG_RESOURCE_TYPE"),
        (without("/resourceType"), "Consent.resourceType".into(), "ELEMENT_MISSING"),
        (
            with("/implicitRules", json!("http://example.org")),
            "Consent.implicitRules".into(),
            "IMPLICIT_RULES",
        ),
        (
            with("/modifierExtension", attachment.clone()),
            "Consent.modifierExtension".into(),
            "MODIFIER_EXTENSION",
        ),
        (with("/except", json!([])), "Consent.except".into(), "UNKNOWN_ELEMENT"),
        (with("/_status", json!({})), "Consent._status".into(), "EXTENSION"),
        (with("/status", json!("inactive")), "Consent.status".into(), "NOT_ACTIVE"),
        (with("/status", json!(["active"])), "Consent.status".into(), "ELEMENT_MALFORMED"),
        (without("/status"), "Consent.status".into(), "ELEMENT_MISSING"),
        (with("/scope", concept("consentscope", "research")), "Consent.scope".into(), "SCOPE_NOT_PRIVACY"),
        (without("/category"), "Consent.category".into(), "ELEMENT_MISSING"),
        (
            with("/text", json!({ "status": "additional", "div": "but not to my brother" })),
            "Consent.text.status".into(),
            "NARRATIVE_ADDS",
        ),
        (
            with("/verification", json!([{ "verified": true }, { "verified": false }])),
            "Consent.verification[1].verified".into(),
            "NOT_VERIFIED",
        ),
        (without("/policyRule"), "Consent.policyRule".into(), "BASE_POLICY_NOT_UNDERSTOOD"),
        (
            with("/policyRule", concept("v3-ActCode", "EMRGONLY")),
            "Consent.policyRule".into(),
            "BASE_POLICY_NOT_UNDERSTOOD",
        ),
        (
            with("/policyRule/text", json!("opt in, but only on weekdays")),
            "Consent.policyRule.text".into(),
            "TEXT_BESIDE_CODE",
        ),
        (without("/patient"), "Consent.patient".into(), "ELEMENT_MISSING"),
        (
            with("/patient/reference", json!("Patient/2")),
            "Consent.patient.reference".into(),
            "REFERENCE_UNMAPPED",
        ),
        (
            with("/patient/reference", json!("https://example.org/Patient/1")),
            "Consent.patient.reference".into(),
            "REFERENCE_UNMAPPED",
        ),
        (
            with("/patient", json!({ "identifier": { "value": "1" } })),
            "Consent.patient".into(),
            "REFERENCE_NOT_LITERAL",
        ),
        (
            with("/patient/reference", json!("#p")),
            "Consent.patient.reference".into(),
            "REFERENCE_NOT_LITERAL",
        ),
        (with("/patient/extension", attachment.clone()), "Consent.patient.extension".into(), "EXTENSION"),
        (with("/dateTime", json!("yesterday")), "Consent.dateTime".into(), "DATE_INVALID"),
        (with("/dateTime", json!("2027-01-01")), "Consent.provision.period".into(), "PERIOD_BEFORE_CONSENT"),
        (with("/provision", json!({})), "Consent.provision".into(), "ELEMENT_MALFORMED"),
        (with("/provision/type", json!("deny")), "Consent.provision.type".into(), "ROOT_TYPED"),
        (
            with("/provision/purpose", json!([label("v3-ActReason", "TREAT")])),
            "Consent.provision.purpose".into(),
            "ROOT_AMBIGUOUS",
        ),
        (
            with("/provision/period/start", json!("2027-02-01")),
            "Consent.provision.period".into(),
            "DATE_INVALID",
        ),
        (with("/provision/period", json!({ "id": "x" })), "Consent.provision.period".into(), "DATE_INVALID"),
        (with(&rule("type"), json!("allow")), at_rule("type"), "ELEMENT_MALFORMED"),
        (without(&rule("type")), at_rule("type"), "PROVISION_UNTYPED"),
        (with(&rule("extension"), attachment.clone()), at_rule("extension"), "EXTENSION"),
        (with(&rule("_type"), json!({})), at_rule("_type"), "EXTENSION"),
        (with(&rule("purpose/0/extension"), attachment), at_rule("purpose[0].extension"), "EXTENSION"),
        (with(&rule("except"), json!([])), at_rule("except"), "UNKNOWN_ELEMENT"),
        (with(&rule("actor"), json!([])), at_rule("actor"), "ELEMENT_MALFORMED"),
        (with(&rule("actor"), json!([null])), at_rule("actor[0]"), "ELEMENT_MALFORMED"),
        (
            with(&rule("actor/0"), actor("AUT", "Organization/clinic")),
            at_rule("actor[0].role"),
            "ROLE_NOT_UNDERSTOOD",
        ),
        (
            with(&rule("actor/0/role/coding/0/system"), json!("http://example.org")),
            at_rule("actor[0].role"),
            "ROLE_NOT_UNDERSTOOD",
        ),
        (
            with(
                &rule("actor/0/role/coding"),
                json!([label("v3-ParticipationType", "PRCP"), label("v3-ParticipationType", "CST")]),
            ),
            at_rule("actor[0].role"),
            "ROLE_NOT_UNDERSTOOD",
        ),
        (
            with(&rule("actor/1"), actor("CST", "Organization/other")),
            at_rule("actor[1].reference.reference"),
            "REFERENCE_UNMAPPED",
        ),
        (
            with(&rule("action/0"), concept("consentaction", "sell")),
            at_rule("action[0]"),
            "CODE_NOT_UNDERSTOOD",
        ),
        (
            with(&rule("action/0"), json!({ "text": "access" })),
            at_rule("action[0].coding"),
            "ELEMENT_MISSING",
        ),
        (
            with(&rule("action/0/text"), json!("access while I am in hospital")),
            at_rule("action[0].text"),
            "TEXT_BESIDE_CODE",
        ),
        (
            with(&rule("purpose/0"), label("v3-ActReason", "NOSUCH")),
            at_rule("purpose[0]"),
            "CODE_NOT_UNDERSTOOD",
        ),
        (
            with(&rule("purpose/0/system"), json!("http://hl7.org/fhir/v3/ActReason")),
            at_rule("purpose[0]"),
            "CODE_NOT_UNDERSTOOD",
        ),
        (
            with(&rule("class/0"), json!({ "code": "Observation" })),
            at_rule("class[0].system"),
            "ELEMENT_MISSING",
        ),
        (with(&rule("code"), json!([concept("x", "y")])), at_rule("code"), "CLASS_AND_CODE"),
        (with(&rule("class/0/code"), json!("two words")), at_rule("class[0]"), "LIMIT_EXCEEDED"),
        (
            with(&rule("securityLabel/0"), label("v3-ActCode", "OPTIN")),
            at_rule("securityLabel[0]"),
            "CODE_NOT_UNDERSTOOD",
        ),
        (
            with(&rule("securityLabel/0"), label("v3-ObservationValue", "A")),
            at_rule("securityLabel[0]"),
            "CODE_NOT_UNDERSTOOD",
        ),
        (
            with(
                &rule("securityLabel"),
                json!([label("v3-Confidentiality", "N"), label("v3-ActCode", "PSY")]),
            ),
            at_rule("securityLabel[1]"),
            "LABELS_AMBIGUOUS",
        ),
        (
            with(&rule("provision/0/securityLabel/0"), label("v3-Confidentiality", "R")),
            at_rule("provision[0].securityLabel[0]"),
            "LABELS_AMBIGUOUS",
        ),
        (
            with(&rule("dataPeriod/start"), json!("1969-12-31")),
            at_rule("dataPeriod.start"),
            "DATA_BEFORE_1970",
        ),
        (
            with(&rule("data"), json!([{ "meaning": "instance", "reference": { "reference": "Task/1" } }])),
            at_rule("data"),
            "DATA_INSTANCES",
        ),
        (
            with(&rule("provision/0/type"), json!("permit")),
            at_rule("provision[0].type"),
            "EXCEPTION_WITHOUT_EFFECT",
        ),
        (
            with(
                &rule("provision/0"),
                json!({ "type": "deny", "action": [concept("consentaction", "access")] }),
            ),
            at_rule("provision[0]"),
            "EXCEPTION_COVERS_ALL",
        ),
        (
            with(
                &rule("provision/0"),
                json!({ "type": "deny", "purpose": [label("v3-ActReason", "HRESCH")] }),
            ),
            at_rule("provision[0]"),
            "EXCEPTION_NEVER_APPLIES",
        ),
    ];
    for (consent, path, reason) in cases {
        assert_eq!(refusal(&consent, Profile::Plain), (path, reason));
    }
}

#[test]
fn bytes_that_are_no_resource_are_refused() {
    let refused = |bytes: &[u8]| import(bytes, &map(), Profile::Plain).unwrap_err().reason();
    assert_eq!(refused(b""), "NOT_JSON");
    assert_eq!(refused(b"\xff"), "NOT_JSON");
    assert_eq!(refused(br#"{"resourceType":"Consent","resourceType":"Consent"}"#), "DUPLICATE_KEY");
    let padding = |bytes: usize| {
        let mut text = consent().to_string().into_bytes();
        text.resize(bytes, b' ');
        import(&text, &map(), Profile::Plain)
    };
    assert!(padding(MAX_RESOURCE_BYTES).is_ok());
    assert_eq!(padding(MAX_RESOURCE_BYTES + 1).unwrap_err().reason(), "RESOURCE_TOO_LARGE");
}

#[test]
fn the_limits_of_a_ledger_are_checked_where_they_are_exceeded() {
    let class = |i: usize| json!({ "system": "http://loinc.org", "code": format!("{i}") });
    let classes = |count: usize| with(&format!("{RULE}/class"), (0..count).map(class).collect());
    assert!(read(&classes(limits::MAX_CLASSES), Profile::Plain).is_ok());
    assert_eq!(
        refusal(&classes(limits::MAX_CLASSES + 1), Profile::Plain),
        ("Consent.provision.provision[0].class".into(), "LIMIT_EXCEEDED")
    );
    // Repetition means nothing and counts for nothing.
    let repeated = with(&format!("{RULE}/class"), vec![class(1); limits::MAX_CLASSES + 1].into());
    assert_eq!(read(&repeated, Profile::Plain).unwrap().terms.provisions[0].classes.len(), 1);

    let permit = consent().pointer(RULE).unwrap().clone();
    let many = |count: usize| with("/provision/provision", vec![permit.clone(); count / 2].into());
    assert!(read(&many(limits::MAX_PROVISIONS), Profile::Plain).is_ok());
    let past = refusal(&many(limits::MAX_PROVISIONS + 2), Profile::Plain);
    assert_eq!(past, ("Consent.provision.provision[32]".into(), "LIMIT_EXCEEDED"));

    // Each level narrows the one around it by one attribute more.
    let nested = |levels: usize| {
        let names = ["purpose", "action", "securityLabel", "dataPeriod", "period"];
        let values = [
            json!([label("v3-ActReason", "TREAT")]),
            json!([concept("consentaction", "access")]),
            json!([label("v3-ActCode", "PSY")]),
            json!({ "start": "2025" }),
            json!({ "start": "2025" }),
        ];
        let mut inner = Value::Null;
        for level in (0..levels).rev() {
            let effect = if level % 2 == 0 { "permit" } else { "deny" };
            let mut provision = json!({ "type": effect });
            provision[names[level]] = values[level].clone();
            if !inner.is_null() {
                provision["provision"] = json!([inner]);
            }
            inner = provision;
        }
        with("/provision", json!({ "provision": [inner] }))
    };
    assert!(read(&nested(limits::MAX_PROVISION_DEPTH), Profile::Plain).is_ok());
    let deep = format!("Consent.provision{}", ".provision[0]".repeat(limits::MAX_PROVISION_DEPTH + 1));
    assert_eq!(refusal(&nested(limits::MAX_PROVISION_DEPTH + 1), Profile::Plain), (deep, "LIMIT_EXCEEDED"));
}

#[test]
fn a_custodian_is_never_read_as_a_recipient() {
    // The same account is permitted as who asks, or everyone is permitted to ask of it: the opposite for each request.
    let permit = |role| {
        with(
            "/provision",
            json!({ "provision": [{ "type": "permit", "actor": [actor(role, "Organization/clinic")] }] }),
        )
    };
    let by_clinic = request(account(CLINIC), account(HOLDER));
    let of_clinic = request(account(HOLDER), account(CLINIC));
    let decide = |role| {
        let terms = read(&permit(role), Profile::Plain).unwrap().terms;
        (ask(&by_clinic, &[&terms]).effect, ask(&of_clinic, &[&terms]).effect)
    };
    assert_eq!(decide("PRCP"), (Effect::Permit, Effect::Deny));
    assert_eq!(decide("IRCP"), (Effect::Permit, Effect::Deny));
    assert_eq!(decide("CST"), (Effect::Deny, Effect::Permit));
}

#[test]
fn a_validity_from_before_1970_is_open_and_one_that_ended_then_is_refused() {
    let mut old = consent();
    old["dateTime"] = json!("1960");
    old["provision"]["period"] = json!({ "start": "1964-01-01", "end": "2026-06-30" });
    let import = read(&old, Profile::Plain).unwrap();
    assert_eq!(import.terms.period, Some(Period { start_ms: 0, end_ms: ms("2026-07-01T00:00:00Z") }));
    assert!(import.notes.iter().any(|note| note.contains("before 1970")));
    old["provision"]["period"] = json!({ "start": "1964-01-01" });
    assert_eq!(read(&old, Profile::Plain).unwrap().terms.period, None);
    old["provision"]["period"] = json!({ "end": "1969" });
    assert_eq!(refusal(&old, Profile::Plain), ("Consent.provision.period".into(), "DATE_INVALID"));
}

#[test]
fn codes_of_the_content_are_classes_of_data() {
    let mut by_code = without(&format!("{RULE}/class"));
    set(
        &mut by_code,
        &format!("{RULE}/code"),
        json!([{
            "coding": [
                { "system": "http://loinc.org", "code": "2345-7", "display": "Glucose" },
                { "system": "http://snomed.info/sct", "code": "33747003" },
            ],
            "text": "Glucose",
        }]),
    );
    let terms = read(&by_code, Profile::Plain).unwrap().terms;
    assert_eq!(
        terms.provisions[0].classes,
        [coding("http://loinc.org|2345-7"), coding("http://snomed.info/sct|33747003")]
    );
}

#[test]
fn a_root_with_constraints_is_an_exception_or_the_scope_as_the_profile_says() {
    let rooted = |policy: &str, root: Value| {
        let mut rooted = with("/policyRule", concept("v3-ActCode", policy));
        rooted["provision"] = root;
        rooted
    };
    let clinic = || json!({ "actor": [actor("PRCP", "Organization/clinic")] });
    let effects = |consent: &Value, profile| {
        let terms = read(consent, profile).unwrap().terms;
        (terms.default_effect, terms.provisions[0].effect)
    };
    use Effect::{Deny, Permit};
    for (policy, exception, scope) in
        [("OPTIN", (Some(Permit), Deny), (None, Permit)), ("OPTOUT", (Some(Deny), Permit), (None, Deny))]
    {
        assert_eq!(effects(&rooted(policy, clinic()), Profile::RootException), exception);
        assert_eq!(effects(&rooted(policy, clinic()), Profile::RootScope), scope);
        // A type in the root says again what the profile makes of it, or contradicts it.
        for (profile, agrees) in [(Profile::RootException, exception.1), (Profile::RootScope, scope.1)] {
            for effect in [Permit, Deny] {
                let mut typed = rooted(policy, clinic());
                typed["provision"]["type"] = json!(if effect == Permit { "permit" } else { "deny" });
                if effect == agrees {
                    assert_eq!(read(&typed, profile), read(&rooted(policy, clinic()), profile));
                } else {
                    assert_eq!(refusal(&typed, profile).1, "ROOT_TYPE_CONTRADICTS");
                }
            }
        }
    }
    // A period bounds the consent that a scope is of; whether it bounds an exception or the consent is not settled.
    let mut bounded = rooted("OPTIN", clinic());
    bounded["provision"]["period"] = json!({ "end": "2026" });
    let terms = read(&bounded, Profile::RootScope).unwrap().terms;
    assert_eq!(terms.period, Some(Period { start_ms: 0, end_ms: ms("2027-01-01T00:00:00Z") }));
    assert_eq!(
        refusal(&bounded, Profile::RootException),
        ("Consent.provision.period".into(), "ROOT_AMBIGUOUS")
    );
    // What would open everything to anyone has to be written, not inferred.
    let custodian = || json!({ "actor": [actor("CST", "Organization/holder")] });
    for (policy, profile) in [("OPTIN", Profile::RootScope), ("OPTOUT", Profile::RootException)] {
        let mut open = rooted(policy, custodian());
        assert_eq!(refusal(&open, profile), ("Consent.provision.actor".into(), "INFERRED_PERMIT_TO_ALL"));
        open["provision"]["type"] = json!("permit");
        assert!(read(&open, profile).is_ok());
    }
    let all = rooted("OPTIN", json!({ "type": "deny" }));
    assert_eq!(refusal(&all, Profile::RootException).1, "EXCEPTION_COVERS_ALL");
}

#[test]
fn profiles_are_named_and_a_map_names_no_contained_resource() {
    for profile in Profile::ALL {
        assert_eq!(profile.name().parse::<Profile>().unwrap(), profile);
    }
    assert!("Plain".parse::<Profile>().is_err());
    let did = account(1);
    let contained = ReferenceMap::from_toml(&format!("[references]\n\"#p\" = \"{did}\""));
    assert_eq!(contained, Err(ReferenceMapError::Contained("#p".into())));
    let twice = format!("[references]\n\"Patient/1\" = \"{did}\"\n\"Patient/1\" = \"{did}\"");
    assert!(matches!(ReferenceMap::from_toml(&twice), Err(ReferenceMapError::Toml(_))));
}
