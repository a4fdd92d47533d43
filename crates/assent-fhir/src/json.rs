//! JSON as it is written: duplicate keys are kept until they are found, and every element knows its path.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::ImportError;

/// A JSON value. Numbers are not kept: no element of a Consent that is read here has one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number,
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn kind(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Bool(value) => value.to_string(),
            Self::Number => "a number".into(),
            Self::String(text) => format!("{text:?}"),
            Self::Array(items) => format!("an array of {}", items.len()),
            Self::Object(entries) => format!("an object of {}", entries.len()),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
                Ok(Json::Number)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
                Ok(Json::Number)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
                Ok(Json::Number)
            }

            fn visit_str<E>(self, text: &str) -> Result<Json, E> {
                Ok(Json::String(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Json::Object(entries))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Parses and makes sure of what holds everywhere: no key twice, no modifier extension, however deep.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json, ImportError> {
    let json =
        serde_json::from_slice(bytes).map_err(|error| ImportError::Json { problem: error.to_string() })?;
    check_everywhere("Consent", &json)?;
    Ok(json)
}

fn check_everywhere(path: &str, json: &Json) -> Result<(), ImportError> {
    match json {
        Json::Object(entries) => {
            let mut seen = std::collections::BTreeSet::new();
            for (key, value) in entries {
                let path = format!("{path}.{key}");
                if !seen.insert(key) {
                    return Err(ImportError::DuplicateKey { path });
                }
                if key == "modifierExtension" {
                    return Err(ImportError::ModifierExtension { path });
                }
                check_everywhere(&path, value)?;
            }
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check_everywhere(&format!("{path}[{index}]"), item)?;
            }
        }
        Json::Null | Json::Bool(_) | Json::Number | Json::String(_) => {}
    }
    Ok(())
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub path: String,
    json: &'a Json,
}

/// The elements of an object.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    pub path: String,
    entries: &'a [(String, Json)],
}

impl<'a> Node<'a> {
    pub fn root(json: &'a Json) -> Self {
        Self { path: "Consent".into(), json }
    }

    fn malformed(&self, expected: &'static str) -> ImportError {
        ImportError::Malformed { path: self.path.clone(), expected, found: self.json.kind() }
    }

    /// The elements of an object, of which FHIR has none without content.
    pub fn any_object(&self) -> Result<Fields<'a>, ImportError> {
        match self.json {
            Json::Object(entries) if !entries.is_empty() => Ok(Fields { path: self.path.clone(), entries }),
            _ => Err(self.malformed("an object with content")),
        }
    }

    /// The elements of an object of which all are in `allowed`, or are its id, which means nothing.
    pub fn object(&self, allowed: &[&str]) -> Result<Fields<'a>, ImportError> {
        let fields = self.any_object()?;
        for (key, _) in fields.entries {
            let path = format!("{}.{key}", self.path);
            // `_name` holds the extensions of the primitive `name` (http://hl7.org/fhir/R4/json.html#primitive).
            if key == "extension" || key.starts_with('_') {
                return Err(ImportError::Extension { path });
            }
            if key != "id" && !allowed.contains(&key.as_str()) {
                return Err(ImportError::UnknownElement { path });
            }
        }
        Ok(fields)
    }

    pub fn array(&self) -> Result<Vec<Node<'a>>, ImportError> {
        match self.json {
            Json::Array(items) if !items.is_empty() => Ok(items
                .iter()
                .enumerate()
                .map(|(index, json)| Node { path: format!("{}[{index}]", self.path), json })
                .collect()),
            _ => Err(self.malformed("an array with content")),
        }
    }

    pub fn text(&self) -> Result<&'a str, ImportError> {
        match self.json {
            Json::String(text) if !text.is_empty() => Ok(text),
            _ => Err(self.malformed("text")),
        }
    }

    pub fn boolean(&self) -> Result<bool, ImportError> {
        match self.json {
            Json::Bool(value) => Ok(*value),
            _ => Err(self.malformed("true or false")),
        }
    }
}

impl<'a> Fields<'a> {
    pub fn get(&self, name: &str) -> Option<Node<'a>> {
        self.entries
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, json)| Node { path: format!("{}.{name}", self.path), json })
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    pub fn required(&self, name: &str) -> Result<Node<'a>, ImportError> {
        self.get(name).ok_or_else(|| ImportError::Missing { path: format!("{}.{name}", self.path) })
    }

    /// The items of an optional list.
    pub fn list(&self, name: &str) -> Result<Vec<Node<'a>>, ImportError> {
        self.get(name).map_or(Ok(Vec::new()), |node| node.array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_occurs_twice_is_refused_however_deep() {
        let error = parse(br#"{"a":[{"b":1},{"c":{"d":1,"d":2}}]}"#).unwrap_err();
        assert_eq!((error.path(), error.reason()), ("Consent.a[1].c.d", "DUPLICATE_KEY"));
        // JSON spells one key in two ways.
        let error = parse(br#"{"status":"active","st\u0061tus":"inactive"}"#).unwrap_err();
        assert_eq!((error.path(), error.reason()), ("Consent.status", "DUPLICATE_KEY"));
    }

    #[test]
    fn a_modifier_extension_is_refused_however_deep() {
        let error = parse(br#"{"text":{"x":[{"modifierExtension":[]}]}}"#).unwrap_err();
        assert_eq!(
            (error.path(), error.reason()),
            ("Consent.text.x[0].modifierExtension", "MODIFIER_EXTENSION")
        );
    }

    #[test]
    fn depth_without_end_is_refused_and_does_not_overflow_the_stack() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(deep.as_bytes()).unwrap_err().reason(), "NOT_JSON");
        assert_eq!(parse(b"{} {}").unwrap_err().reason(), "NOT_JSON");
    }
}
