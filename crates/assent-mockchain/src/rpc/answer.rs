//! Answers as Core writes them: fields in order, amounts as numbers with eight decimals.
//!
//! `serde_json` would print an amount as the nearest float (`1e-8`, `50.0`), so answers have their own small type.

use bitcoin::Amount;
use serde_json::Value;

/// A JSON value that is going out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Satoshi, written in BTC.
    Amount(u64),
    Text(String),
    List(Vec<Answer>),
    Object(Vec<(&'static str, Answer)>),
    /// Fields whose names are data.
    Map(Vec<(String, Answer)>),
    /// Something of the caller's, given back as it came.
    Echo(Value),
}

impl Answer {
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Uint(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&Value::from(*value).to_string()),
            Self::Amount(sat) => out.push_str(&format!("{}.{:08}", sat / 100_000_000, sat % 100_000_000)),
            Self::Text(text) => out.push_str(&Value::from(text.as_str()).to_string()),
            Self::List(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Self::Object(fields) => write_fields(out, fields.iter().map(|(name, value)| (*name, value))),
            Self::Map(fields) => write_fields(out, fields.iter().map(|(name, value)| (name.as_str(), value))),
            Self::Echo(value) => out.push_str(&value.to_string()),
        }
    }

    /// Adds a field to an object.
    pub(crate) fn push(&mut self, name: &'static str, value: impl Into<Answer>) {
        if let Self::Object(fields) = self {
            fields.push((name, value.into()));
        }
    }
}

fn write_fields<'a>(out: &mut String, fields: impl Iterator<Item = (&'a str, &'a Answer)>) {
    out.push('{');
    for (place, (name, value)) in fields.enumerate() {
        if place > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(name).to_string());
        out.push(':');
        value.write(out);
    }
    out.push('}');
}

macro_rules! from {
    ($($type:ty => |$value:ident| $answer:expr),* $(,)?) => {
        $(impl From<$type> for Answer {
            fn from($value: $type) -> Self {
                $answer
            }
        })*
    };
}

from! {
    bool => |value| Self::Bool(value),
    i32 => |value| Self::Int(value.into()),
    i64 => |value| Self::Int(value),
    u32 => |value| Self::Uint(value.into()),
    u64 => |value| Self::Uint(value),
    usize => |value| Self::Uint(u64::try_from(value).unwrap_or(u64::MAX)),
    f64 => |value| Self::Float(value),
    Amount => |value| Self::Amount(value.to_sat()),
    &str => |value| Self::Text(value.to_owned()),
    String => |value| Self::Text(value),
    Vec<Answer> => |value| Self::List(value),
    bitcoin::BlockHash => |value| Self::Text(value.to_string()),
    bitcoin::Txid => |value| Self::Text(value.to_string()),
    bitcoin::Wtxid => |value| Self::Text(value.to_string()),
}

/// An object, its fields in the order in which they are written.
macro_rules! object {
    ($($name:literal : $value:expr),* $(,)?) => {
        $crate::rpc::answer::Answer::Object(vec![$(($name, $crate::rpc::answer::Answer::from($value))),*])
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(answer: Answer) -> String {
        let mut out = String::new();
        answer.write(&mut out);
        out
    }

    #[test]
    fn amounts_are_exact_numbers_with_eight_decimals() {
        assert_eq!(written(Answer::Amount(1)), "0.00000001");
        assert_eq!(written(Answer::Amount(5_000_000_000)), "50.00000000");
        assert_eq!(written(Answer::Amount(2_099_999_997_690_000)), "20999999.97690000");
    }

    #[test]
    fn fields_keep_their_order_and_text_is_escaped() {
        let answer = object! { "b": 1u32, "a": "say \"hi\"\n", "list": vec![Answer::Null, true.into()] };
        assert_eq!(written(answer), r#"{"b":1,"a":"say \"hi\"\n","list":[null,true]}"#);
    }
}
