//! `tests/vectors/ledger.json`: a small ledger from fields to anchor payload, for implementations in other languages.
//!
//! The bytes are those of the golden file of `assent-core`; the fields are the canonical JSON mapping of proto3
//! (<https://protobuf.dev/programming-guides/json/>), made and read back by prost-reflect, an encoder that knows nothing of
//! ours.

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Map, Value, json};

const GOLDEN: &str = include_str!("../../crates/assent-core/tests/golden/ledger.txt");
const EXAMPLE: &str = include_str!("../../crates/assent-core/tests/golden/example.txt");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/ledger.json");

fn body_descriptor() -> MessageDescriptor {
    let pool = DescriptorPool::decode(assent_proto::DESCRIPTORS).unwrap();
    pool.get_message_by_name("assent.v1.TransactionBody").unwrap()
}

/// `leaf3` is element 3 of `leaf`.
fn indexed(part: &str) -> (&str, Option<usize>) {
    let digits = part.len() - part.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (name, number) = part.split_at(part.len() - digits);
    (name, number.parse().ok())
}

/// Puts a value at a path such as `group0.transaction1.body`.
fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    let (part, rest) = path.split_once('.').map_or((path, None), |(part, rest)| (part, Some(rest)));
    let (name, index) = indexed(part);
    let Some(index) = index else {
        object.insert(name.to_owned(), value);
        return;
    };
    let plural = match name {
        "batch" => "batches".to_owned(),
        "outcome_leaf" => "outcome_leaves".to_owned(),
        name => format!("{name}s"),
    };
    let list = object.entry(plural).or_insert_with(|| json!([])).as_array_mut().unwrap();
    match rest {
        None => {
            assert_eq!(list.len(), index, "{path}");
            list.push(value);
        }
        Some(rest) => {
            if list.len() == index {
                list.push(json!({}));
            }
            put(list[index].as_object_mut().unwrap(), rest, value);
        }
    }
}

fn vectors() -> Value {
    let descriptor = body_descriptor();
    let mut root = Map::new();
    root.insert(
        "about".into(),
        json!("Bytes are hexadecimal. docs/formats.md specifies each; \"fields\" is the proto3 JSON of the body."),
    );
    let example = |name: &str| {
        let line = EXAMPLE.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        json!(line)
    };
    root.insert("manifest".into(), example("manifest"));
    root.insert("chain_id".into(), example("chain_id"));
    root.insert("sequencer_seed".into(), json!("51".repeat(32)));
    root.insert("prover_seed".into(), json!("52".repeat(32)));
    for line in GOLDEN.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (path, hex) = line.split_once(' ').unwrap();
        if let Some(transaction) = path.strip_suffix(".body") {
            let bytes = hex::decode(hex).unwrap();
            let body = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap();
            let fields = serde_json::to_value(&body).unwrap();
            put(&mut root, &format!("{transaction}.fields"), fields);
        }
        put(&mut root, path, json!(hex));
    }
    Value::Object(root)
}

#[test]
fn the_vectors_are_those_of_the_golden_ledger_and_their_fields_encode_to_the_bodies() {
    use prost::Message as _;
    let text = format!("{:#}\n", vectors());
    if std::env::var_os("ASSENT_BLESS").is_some() {
        std::fs::write(PATH, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(PATH).unwrap() == text,
        "ASSENT_BLESS=1 writes tests/vectors/ledger.json anew"
    );
    let mut bodies = 0;
    let read: Value = serde_json::from_str(&text).unwrap();
    for transaction in
        read["groups"].as_array().unwrap().iter().flat_map(|group| group["transactions"].as_array().unwrap())
    {
        let fields = transaction["fields"].clone();
        let message = DynamicMessage::deserialize(body_descriptor(), fields).unwrap();
        assert_eq!(hex::encode(message.encode_to_vec()), transaction["body"].as_str().unwrap());
        bodies += 1;
    }
    assert!(bodies >= 5);
}
