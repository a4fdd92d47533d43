//! Trying again.

use std::time::Duration;

use assent_proto::errors;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::ClientError;

/// First pause between two tries; it doubles up to the longest. Each is drawn evenly from zero up ("full jitter"), so that
/// clients that were turned away together do not come back together.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Tries until it works, fails for good, or the deadline has passed.
pub(crate) async fn until<T, F: Future<Output = Result<T, ClientError>>>(
    address: &str,
    deadline: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, ClientError> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    let unreachable = |problem: String| ClientError::Unreachable {
        address: address.to_owned(),
        seconds: deadline.as_secs(),
        problem,
    };
    let mut last = String::from("no answer");
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        let status = match tokio::time::timeout(left, attempt()).await {
            Err(_) => return Err(unreachable(last)),
            Ok(Err(ClientError::Node(status))) if is_transient(&status) => status,
            Ok(result) => return result,
        };
        let floor = errors::retry_after(&status).unwrap_or_default();
        last = describe(&status);
        let wait = floor + jitter(pause)?;
        if start.elapsed() + wait >= deadline {
            return Err(unreachable(last));
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Where the connection broke under the call, whatever code that was given: the node did not answer with an error, so trying
/// again is right, and submitting again is safe.
pub(crate) fn is_transient(status: &Status) -> bool {
    let answered = std::error::Error::source(status).is_none();
    !answered
        || matches!(
            status.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::Cancelled | Code::DeadlineExceeded
        )
}

/// What an error of a call says, with what lies behind it.
#[must_use]
pub fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

pub(crate) fn jitter(longest: Duration) -> Result<Duration, ClientError> {
    let share = u32::from_be_bytes(crate::random_bytes()?);
    Ok(longest.mul_f64(f64::from(share) / f64::from(u32::MAX)))
}
