//! gRPC errors with `google.rpc` details. The reasons are listed in `docs/errors.md`.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1::SubmitError;

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

/// The error of one of several transactions, as a message.
#[must_use]
pub fn to_item(status: &Status) -> SubmitError {
    let field = status.get_details_bad_request().and_then(|wrong| wrong.field_violations.into_iter().next());
    SubmitError {
        code: status.code() as i32,
        reason: reason_of(status).unwrap_or_default(),
        message: status.message().to_owned(),
        field: field.map(|violation| violation.field).unwrap_or_default(),
        retry_after_ms: retry_after(status)
            .map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    }
}

/// The gRPC error that such a message stands for.
#[must_use]
pub fn from_item(error: &SubmitError) -> Status {
    let mut details = ErrorDetails::with_error_info(&error.reason, DOMAIN, HashMap::new());
    if !error.field.is_empty() {
        details.add_bad_request_violation(&error.field, &error.message);
    }
    if error.retry_after_ms > 0 {
        details.set_retry_info(Some(Duration::from_millis(error.retry_after_ms)));
    }
    Status::with_error_details(Code::from_i32(error.code), &error.message, details)
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
