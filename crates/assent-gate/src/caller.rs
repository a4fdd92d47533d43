//! Who calls, as services see it.

use std::{sync::Arc, time::Duration};

use assent_core::AccountId;
use tonic::{Code, Request, Status};

use crate::{SLOW_READER, connection::ConnectionInfo, rate::Limiter};

/// Whose records a call may be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's: a role allows it.
    All,
    /// Those of the account that signed the query.
    Own(AccountId),
}

/// Who calls. The gate puts it beside every request that it lets through.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the access file names it; for a signed query and in tests, what it is.
    pub name: Arc<str>,
    /// Whose records it may see.
    pub scope: Scope,
    /// How long what is sent to it waits until it is read, before it counts as a slow reader.
    pub patience: Duration,
    pub(crate) peer: Option<Arc<Limiter>>,
    pub(crate) connection: Option<ConnectionInfo>,
}

impl Caller {
    /// Everything is allowed, nothing is counted: for calls within one process.
    #[must_use]
    pub fn trusted() -> Self {
        Self {
            name: "this process".into(),
            scope: Scope::All,
            patience: SLOW_READER,
            peer: None,
            connection: None,
        }
    }

    /// Who made a request.
    ///
    /// # Errors
    /// `INTERNAL` where the request did not come through the gate: nothing is answered by accident.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        request.extensions().get::<Self>().cloned().ok_or_else(|| {
            tracing::error!("a request did not come through the gate");
            assent_proto::errors::error(
                Code::Internal,
                "INTERNAL",
                "the request did not come through the gate",
            )
        })
    }

    /// Takes more of its peer's rate than the one call that the gate has counted.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub fn charge(&self, count: u64) -> Result<(), Status> {
        match &self.peer {
            Some(peer) => peer.take(count).map_err(crate::layer::rate_limited),
            None => Ok(()),
        }
    }

    /// Closes its connection: it does not read what is sent to it.
    pub fn drop_slow_reader(&self) {
        if let Some(connection) = &self.connection {
            connection.close_as_slow();
        }
    }
}
