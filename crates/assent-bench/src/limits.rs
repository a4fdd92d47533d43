//! What no design avoids, measured on the machine at hand, and the rate that follows from it.

use std::fmt;

use serde::Serialize;

/// A measured bound, and the share of it that a run reached.
#[derive(Clone, Debug, Serialize)]
pub struct Reached {
    /// Transactions a second at most.
    pub bound: f64,
    /// Of it reached.
    pub share: f64,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} % of the bound of {:.0} a second", self.share * 100.0, self.bound)
    }
}
