//! Errors of calls, with Core's codes (`rpc/protocol.h`).

use std::fmt;

use crate::error::{MockChainError, Reject};

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) code: i32,
    pub(crate) message: String,
}

impl RpcError {
    pub(crate) const MISC: i32 = -1;
    pub(crate) const TYPE: i32 = -3;
    pub(crate) const INVALID_ADDRESS_OR_KEY: i32 = -5;
    pub(crate) const INVALID_PARAMETER: i32 = -8;
    pub(crate) const DATABASE: i32 = -20;
    pub(crate) const DESERIALIZATION: i32 = -22;
    pub(crate) const VERIFY: i32 = -25;
    pub(crate) const VERIFY_REJECTED: i32 = -26;
    pub(crate) const ALREADY_IN_UTXO_SET: i32 = -27;
    pub(crate) const INVALID_REQUEST: i32 = -32600;
    pub(crate) const METHOD_NOT_FOUND: i32 = -32601;
    pub(crate) const INTERNAL: i32 = -32603;
    pub(crate) const PARSE: i32 = -32700;

    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl From<Reject> for RpcError {
    fn from(reject: Reject) -> Self {
        let code = if reject.is_missing_inputs() { Self::VERIFY } else { Self::VERIFY_REJECTED };
        Self::new(code, reject.to_string())
    }
}

impl From<MockChainError> for RpcError {
    fn from(error: MockChainError) -> Self {
        let code = match &error {
            MockChainError::Rejected(reject) => return reject.clone().into(),
            MockChainError::UnknownBlock(_) => {
                return Self::new(Self::INVALID_ADDRESS_OR_KEY, "Block not found");
            }
            MockChainError::Io { .. } | MockChainError::StoreBroken { .. } => Self::DATABASE,
            MockChainError::UnknownFaultKind(_) => Self::INVALID_PARAMETER,
            _ => Self::INTERNAL,
        };
        Self::new(code, error.to_string())
    }
}
