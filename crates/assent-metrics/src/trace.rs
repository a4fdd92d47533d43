//! Following one transaction through the logs of all processes.

use std::fmt::Display;

use tracing::Span;

/// The span of one transaction, by its id, which is a salted hash. Every process enters it wherever it does something with
/// that transaction alone, so `ASSENT_LOG='info,[transaction{id=43a6…}]=debug'` shows one transaction's way through all tiers.
/// Disabled, and nearly free, unless the log is asked for it.
#[must_use]
pub fn transaction_span(id: &dyn Display) -> Span {
    tracing::debug_span!("transaction", %id)
}
