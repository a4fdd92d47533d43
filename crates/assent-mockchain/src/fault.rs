//! Faults: the chain misbehaves on request, so that its callers can be tested against it.

use std::collections::HashMap;
use std::str::FromStr;

use crate::error::MockChainError;

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing is done, and the answer is an RPC error.
    Error,
    /// Nothing is done, and the connection closes without an answer.
    Drop,
    /// Nothing is done, and the answer is HTTP 503 as from a node whose work queue is full.
    Busy,
    /// The call is done, but the answer is an RPC error.
    DoneButError,
    /// The call is done, but the connection closes without an answer.
    DoneButDrop,
}

impl FaultKind {
    /// Whether the call is carried out all the same.
    pub(crate) fn is_done(self) -> bool {
        matches!(self, Self::DoneButError | Self::DoneButDrop)
    }
}

impl FromStr for FaultKind {
    type Err = MockChainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "error" => Ok(Self::Error),
            "drop" => Ok(Self::Drop),
            "busy" => Ok(Self::Busy),
            "done_but_error" => Ok(Self::DoneButError),
            "done_but_drop" => Ok(Self::DoneButDrop),
            other => Err(MockChainError::UnknownFaultKind(other.to_owned())),
        }
    }
}

/// The faults that are still to come, one kind a method at a time.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: HashMap<String, (FaultKind, u64)>,
}

impl Faults {
    /// Lets the next `count` calls of `method` fail; 0 takes back what was set before.
    pub(crate) fn set(&mut self, method: &str, kind: FaultKind, count: u64) {
        if count == 0 {
            self.waiting.remove(method);
        } else {
            self.waiting.insert(method.to_owned(), (kind, count));
        }
    }

    /// The fault of this call of `method`, which it uses up.
    pub(crate) fn take(&mut self, method: &str) -> Option<FaultKind> {
        let (kind, left) = self.waiting.get_mut(method)?;
        let kind = *kind;
        *left -= 1;
        if *left == 0 {
            self.waiting.remove(method);
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_next_calls_of_its_method_and_no_other() {
        let mut faults = Faults::default();
        faults.set("stop", FaultKind::Drop, 2);
        assert_eq!(faults.take("uptime"), None);
        assert_eq!(faults.take("stop"), Some(FaultKind::Drop));
        assert_eq!(faults.take("stop"), Some(FaultKind::Drop));
        assert_eq!(faults.take("stop"), None);
        faults.set("stop", FaultKind::Busy, 5);
        faults.set("stop", FaultKind::Error, 0);
        assert_eq!(faults.take("stop"), None);
    }
}
