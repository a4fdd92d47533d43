//! gRPC errors with `google.rpc` details. The reasons are listed in `docs/errors.md`.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every `ErrorInfo`.
pub const DOMAIN: &str = "assent";

/// An error with a stable reason.
#[must_use]
pub fn error(code: Code, reason: &str, message: impl Into<String>) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()))
}

/// An error in a field of the request.
#[must_use]
pub fn field_error(reason: &str, field: &str, problem: impl Into<String>) -> Status {
    let problem = problem.into();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.add_bad_request_violation(field, &problem);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {problem}"), details)
}

/// An error after which waiting helps.
#[must_use]
pub fn retry_later(code: Code, reason: &str, message: impl Into<String>, after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_retry_info(Some(after));
    Status::with_error_details(code, message, details)
}

/// The stable reason of an error, where it has one.
#[must_use]
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

/// How long to wait before the next try, where the error says so.
#[must_use]
pub fn retry_after(status: &Status) -> Option<Duration> {
    status.get_details_retry_info().and_then(|info| info.retry_delay)
}
