//! `proto/` keeps the rules that buf calls STANDARD (<https://buf.build/docs/lint/rules>), and explains every field.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

fn files() -> Vec<FileDescriptorProto> {
    FileDescriptorSet::decode(assent_proto::DESCRIPTORS).unwrap().file
}

fn snake(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.contains("__")
        && !name.starts_with('_')
        && !name.ends_with('_')
}

fn pascal(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

fn upper_snake(pascal: &str) -> String {
    let mut upper = String::new();
    for (index, c) in pascal.char_indices() {
        if index > 0 && c.is_ascii_uppercase() {
            upper.push('_');
        }
        upper.push(c.to_ascii_uppercase());
    }
    upper
}

fn check_enum(kind: &EnumDescriptorProto, wrong: &mut Vec<String>) {
    let name = kind.name();
    let prefix = upper_snake(name);
    if !pascal(name) {
        wrong.push(format!("ENUM_PASCAL_CASE {name}"));
    }
    if kind.options.as_ref().is_some_and(|options| options.allow_alias()) {
        wrong.push(format!("ENUM_NO_ALLOW_ALIAS {name}"));
    }
    for (index, value) in kind.value.iter().enumerate() {
        let value_name = value.name();
        if !value_name.starts_with(&format!("{prefix}_")) || value_name != value_name.to_ascii_uppercase() {
            wrong.push(format!("ENUM_VALUE_PREFIX, ENUM_VALUE_UPPER_SNAKE_CASE {value_name}"));
        }
        let zero = value.number() == 0;
        if zero != (index == 0) || zero != value_name.ends_with("_UNSPECIFIED") {
            wrong.push(format!("ENUM_FIRST_VALUE_ZERO, ENUM_ZERO_VALUE_SUFFIX {value_name}"));
        }
    }
}

fn check_message(message: &DescriptorProto, wrong: &mut Vec<String>) {
    if !pascal(message.name()) {
        wrong.push(format!("MESSAGE_PASCAL_CASE {}", message.name()));
    }
    for field in &message.field {
        if !snake(field.name()) {
            wrong.push(format!("FIELD_LOWER_SNAKE_CASE {}.{}", message.name(), field.name()));
        }
        if field.label() == prost_types::field_descriptor_proto::Label::Required {
            wrong.push(format!("FIELD_NOT_REQUIRED {}.{}", message.name(), field.name()));
        }
    }
    for group in &message.oneof_decl {
        if !snake(group.name()) {
            wrong.push(format!("ONEOF_LOWER_SNAKE_CASE {}.{}", message.name(), group.name()));
        }
    }
    message.nested_type.iter().for_each(|nested| check_message(nested, wrong));
    message.enum_type.iter().for_each(|nested| check_enum(nested, wrong));
}

#[test]
fn the_standard_lint_rules_hold() {
    let files = files();
    assert_eq!(files.len(), 3);
    let mut wrong = Vec::new();
    let mut types = BTreeSet::new();
    for file in &files {
        let (name, package) = (file.name(), file.package());
        // PACKAGE_DEFINED, PACKAGE_DIRECTORY_MATCH, PACKAGE_VERSION_SUFFIX, PACKAGE_SAME_DIRECTORY, DIRECTORY_SAME_PACKAGE.
        assert_eq!((package, file.syntax()), ("assent.v1", "proto3"), "{name}");
        let stem = name.strip_prefix("assent/v1/").and_then(|rest| rest.strip_suffix(".proto"));
        assert!(stem.is_some_and(snake), "PACKAGE_DIRECTORY_MATCH, FILE_LOWER_SNAKE_CASE {name}");
        assert!(
            file.public_dependency.is_empty() && file.weak_dependency.is_empty(),
            "IMPORT_NO_PUBLIC {name}"
        );
        file.message_type.iter().for_each(|message| check_message(message, &mut wrong));
        file.enum_type.iter().for_each(|kind| check_enum(kind, &mut wrong));
        for service in &file.service {
            if !pascal(service.name()) || !service.name().ends_with("Service") {
                wrong.push(format!("SERVICE_PASCAL_CASE, SERVICE_SUFFIX {}", service.name()));
            }
            for method in &service.method {
                let standard = |suffix: &str| format!(".{package}.{}{suffix}", method.name());
                if !pascal(method.name()) {
                    wrong.push(format!("RPC_PASCAL_CASE {}", method.name()));
                }
                if method.input_type() != standard("Request") || method.output_type() != standard("Response")
                {
                    wrong.push(format!(
                        "RPC_REQUEST_STANDARD_NAME, RPC_RESPONSE_STANDARD_NAME {}",
                        method.name()
                    ));
                }
                for kind in [method.input_type(), method.output_type()] {
                    if !types.insert(kind.to_owned()) {
                        wrong.push(format!("RPC_REQUEST_RESPONSE_UNIQUE {kind}"));
                    }
                }
            }
        }
        // IMPORT_USED: something of each imported file is named.
        for dependency in &file.dependency {
            let imported = files.iter().find(|other| other.name() == dependency).unwrap();
            let names = imported.message_type.iter().map(DescriptorProto::name);
            let names = names.chain(imported.enum_type.iter().map(EnumDescriptorProto::name));
            let names: BTreeSet<String> = names.map(|name| format!(".{package}.{name}")).collect();
            let used = file.message_type.iter().flat_map(|message| &message.field);
            let used = used.map(prost_types::FieldDescriptorProto::type_name);
            if !used.into_iter().any(|used| names.contains(used)) {
                wrong.push(format!("IMPORT_USED {name}: {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every field, value, message, enum, service and method has a comment (buf's COMMENTS rules): they are the documentation.
#[test]
fn everything_in_the_proto_files_is_explained() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/assent/v1");
    let mut explained = 0;
    for name in ["transaction.proto", "sequencer.proto", "prover.proto"] {
        let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
        let mut previous = "";
        for line in text.lines() {
            let trimmed = line.trim();
            let declares = ["message ", "enum ", "service ", "rpc ", "oneof "]
                .iter()
                .any(|word| trimmed.starts_with(word))
                || (trimmed.ends_with(';') && trimmed.contains(" = ") && !trimmed.starts_with("syntax"));
            let declares = declares && !trimmed.starts_with("//");
            if declares {
                assert!(previous.starts_with("//"), "{name}: nothing explains {trimmed:?}");
                explained += 1;
            }
            previous = trimmed;
        }
    }
    assert!(explained > 150, "{explained}");
}

/// The limits that the comments name are those of the program.
#[test]
fn the_limits_in_the_comments_are_those_of_the_program() {
    let text = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/assent/v1");
        std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
    };
    let (transaction, sequencer) = (text("transaction.proto"), text("sequencer.proto"));
    use assent_core::limits;
    assert_eq!((limits::MAX_BODY_BYTES, limits::MAX_SUBJECTS, limits::MAX_CLASSES), (65_536, 32, 8));
    assert_eq!((limits::MAX_PURPOSES, limits::MAX_ACTORS, limits::MAX_PROVISIONS), (16, 16, 64));
    for said in [
        "at most 65,536 bytes",
        "1 to 32, without repetition",
        "1 to 8 classes",
        "At most 64 in the whole tree",
    ] {
        assert!(transaction.contains(said), "{said}");
    }
    assert_eq!((assent_sequencer::MAX_MANY, assent_sequencer::STREAM_WINDOW), (1_000, 1_024));
    assert_eq!(assent_sequencer::service::MAX_REQUEST_BYTES, 4 << 20);
    assert_eq!(assent_sequencer::service::MAX_RESPONSE_BYTES, 96 << 20);
    for said in [
        "1 to 1,000, and at most 4 MiB",
        "while 1,024 transactions of a stream are unanswered",
        "At most 96 MiB",
    ] {
        assert!(sequencer.contains(said), "{said}");
    }
}
