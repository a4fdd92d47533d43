//! Parameters of a call: by position or by name, checked against the method's signature with Core's messages.

use std::str::FromStr;

use bitcoin::{BlockHash, Txid};
use serde_json::{Map, Value};

use super::error::RpcError;

/// What a parameter must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Bool,
    List,
    /// Anything; the method itself looks.
    Any,
}

/// A parameter of a method.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Param {
    /// Its names, the first one first, separated by `|`.
    pub(crate) names: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// A parameter that must be given.
pub(crate) const fn required(names: &'static str, kind: Kind) -> Param {
    Param { names, kind, required: true }
}

/// A parameter that may be left out.
pub(crate) const fn optional(names: &'static str, kind: Kind) -> Param {
    Param { names, kind, required: false }
}

/// The parameters of one call, by position.
#[derive(Debug, Default)]
pub(crate) struct Args {
    values: Vec<Value>,
}

impl Args {
    /// Sorts out `given`; `usage` is the text for a wrong number of parameters.
    pub(crate) fn new(params: &[Param], given: Value, usage: &dyn Fn() -> String) -> Result<Self, RpcError> {
        let values = match given {
            Value::Array(values) => values,
            Value::Object(named) => by_position(params, named)?,
            _ => Vec::new(),
        };
        let needed = params.iter().filter(|param| param.required).count();
        if values.len() > params.len() || values.len() < needed {
            return Err(RpcError::new(RpcError::MISC, usage()));
        }
        let mut mismatches = Vec::new();
        for (place, param) in params.iter().enumerate() {
            let value = values.get(place).unwrap_or(&Value::Null);
            let expected = match param.kind {
                Kind::Text => "string",
                Kind::Number => "number",
                Kind::Bool => "bool",
                Kind::List => "array",
                Kind::Any => continue,
            };
            if type_name(value) != expected && (param.required || !value.is_null()) {
                mismatches.push(format!(
                    "    \"Position {} ({})\": \"{}\"",
                    place + 1,
                    param.names,
                    wrong_type(value, expected)
                ));
            }
        }
        if mismatches.is_empty() {
            Ok(Self { values })
        } else {
            let text = format!("Wrong type passed:\n{{\n{}\n}}", mismatches.join(",\n"));
            Err(RpcError::new(RpcError::TYPE, text))
        }
    }

    /// A parameter, unless it was left out or null.
    pub(crate) fn get(&self, place: usize) -> Option<&Value> {
        self.values.get(place).filter(|value| !value.is_null())
    }

    pub(crate) fn text(&self, place: usize) -> Result<&str, RpcError> {
        text(self.get(place).unwrap_or(&Value::Null))
    }

    pub(crate) fn list(&self, place: usize) -> &[Value] {
        self.get(place).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn bool_or(&self, place: usize, default: bool) -> bool {
        self.get(place).and_then(Value::as_bool).unwrap_or(default)
    }

    pub(crate) fn int(&self, place: usize) -> Result<i64, RpcError> {
        int(self.get(place).unwrap_or(&Value::Null))
    }

    /// Core's verbosity: a number, or a boolean that stands for 0 or 1.
    pub(crate) fn verbosity(&self, place: usize, default: i64) -> Result<i64, RpcError> {
        match self.get(place) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(i64::from(*value)),
            Some(value) => int(value),
        }
    }

    pub(crate) fn block_hash(&self, place: usize, name: &str) -> Result<BlockHash, RpcError> {
        hash(self.get(place).unwrap_or(&Value::Null), name)
    }

    pub(crate) fn txid(&self, place: usize, name: &str) -> Result<Txid, RpcError> {
        hash(self.get(place).unwrap_or(&Value::Null), name)
    }

    /// An amount in BTC, as satoshi.
    pub(crate) fn amount(&self, place: usize) -> Result<Option<u64>, RpcError> {
        self.get(place).map(amount).transpose()
    }
}

fn by_position(params: &[Param], mut named: Map<String, Value>) -> Result<Vec<Value>, RpcError> {
    let invalid = |text: String| RpcError::new(RpcError::INVALID_PARAMETER, text);
    let mut values = match named.remove("args") {
        Some(Value::Array(values)) => values,
        Some(_) => return Err(invalid("Unknown named parameter args".to_owned())),
        None => Vec::new(),
    };
    for (place, param) in params.iter().enumerate() {
        let given = param.names.split('|').find_map(|name| named.remove(name));
        let Some(value) = given else { continue };
        if place < values.len() {
            return Err(invalid(format!(
                "Parameter {} specified twice both as positional and named argument",
                param.names
            )));
        }
        values.resize(place, Value::Null);
        values.push(value);
    }
    match named.keys().next() {
        Some(unknown) => Err(invalid(format!("Unknown named parameter {unknown}"))),
        None => Ok(values),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(value: &Value, expected: &str) -> String {
    format!("JSON value of type {} is not of expected type {expected}", type_name(value))
}

pub(crate) fn text(value: &Value) -> Result<&str, RpcError> {
    value.as_str().ok_or_else(|| RpcError::new(RpcError::TYPE, wrong_type(value, "string")))
}

/// An integer of Core's `int`, which most numbers are.
pub(crate) fn int(value: &Value) -> Result<i64, RpcError> {
    if !value.is_number() {
        return Err(RpcError::new(RpcError::TYPE, wrong_type(value, "number")));
    }
    value
        .as_i64()
        .filter(|value| i32::try_from(*value).is_ok())
        .ok_or_else(|| RpcError::new(RpcError::MISC, "JSON integer out of range"))
}

pub(crate) fn hash<H: FromStr>(value: &Value, name: &str) -> Result<H, RpcError> {
    let hex = text(value)?;
    if hex.len() != 64 {
        let text = format!("{name} must be of length 64 (not {}, for '{hex}')", hex.len());
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    }
    H::from_str(hex).map_err(|_| {
        RpcError::new(RpcError::INVALID_PARAMETER, format!("{name} must be hexadecimal string (not '{hex}')"))
    })
}

fn amount(value: &Value) -> Result<u64, RpcError> {
    let invalid = || RpcError::new(RpcError::TYPE, "Invalid amount");
    let decimal = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let float = number.as_f64().ok_or_else(invalid)?;
            let decimal = format!("{float:.8}");
            // A ninth decimal that matters does not survive the eight.
            if decimal.parse() != Ok(float) {
                return Err(invalid());
            }
            decimal
        }
        _ => return Err(RpcError::new(RpcError::TYPE, "Amount is not a number or string")),
    };
    if decimal.starts_with('-') {
        return Err(RpcError::new(RpcError::TYPE, "Amount out of range"));
    }
    let amount =
        bitcoin::Amount::from_str_in(&decimal, bitcoin::Denomination::Bitcoin).map_err(|_| invalid())?;
    if amount > bitcoin::Amount::MAX_MONEY {
        return Err(RpcError::new(RpcError::TYPE, "Amount out of range"));
    }
    Ok(amount.to_sat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARAMS: &[Param] = &[required("a|first", Kind::Text), optional("b", Kind::Number)];

    fn new(given: Value) -> Result<Args, RpcError> {
        Args::new(PARAMS, given, &|| "usage".to_owned())
    }

    #[test]
    fn parameters_come_by_place_by_name_or_both() {
        for given in [json!(["x", 2]), json!({"first": "x", "b": 2}), json!({"args": ["x"], "b": 2})] {
            let args = new(given).unwrap();
            assert_eq!((args.text(0), args.int(1)), (Ok("x"), Ok(2)));
        }
        assert_eq!(new(json!({"a": "x", "c": 1})).unwrap_err().code, RpcError::INVALID_PARAMETER);
        assert_eq!(new(json!({"args": ["x"], "a": "y"})).unwrap_err().code, RpcError::INVALID_PARAMETER);
        assert_eq!(new(json!([])).unwrap_err(), RpcError::new(RpcError::MISC, "usage"));
        assert_eq!(new(json!(["x", 1, 2])).unwrap_err().code, RpcError::MISC);
        assert_eq!(
            new(json!([7, "x"])).unwrap_err().message,
            "Wrong type passed:\n{\n    \"Position 1 (a|first)\": \"JSON value of type number is not of expected type \
             string\",\n    \"Position 2 (b)\": \"JSON value of type string is not of expected type number\"\n}"
        );
    }

    #[test]
    fn amounts_are_read_to_the_satoshi() {
        assert_eq!(amount(&json!(0.1)), Ok(10_000_000));
        assert_eq!(amount(&json!("0.00000001")), Ok(1));
        assert_eq!(amount(&json!(1)), Ok(100_000_000));
        for wrong in
            [json!(0.000_000_001), json!(-1), json!("x"), json!(true), json!(1e30), json!("21000001")]
        {
            assert_eq!(amount(&wrong).unwrap_err().code, RpcError::TYPE, "{wrong}");
        }
    }
}
