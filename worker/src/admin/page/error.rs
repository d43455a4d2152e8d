//! What the page's endpoints say no with: a status, what is wrong, and what to do about it.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use forebay::DeadLettersError;
use serde::Serialize;
use std::borrow::Cow;

/// A refusal or a failure, as `{ "error": …, "hint": … }`.
#[derive(Debug, Serialize)]
pub(super) struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    hint: Cow<'static, str>,
}

impl ApiError {
    /// What was asked cannot be.
    pub(super) fn refused(
        status: StatusCode,
        error: impl Into<String>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, error: error.into(), hint: hint.into() }
    }

    /// What was sent does not make sense.
    pub(super) fn bad(error: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, error, hint)
    }
}

impl From<DeadLettersError> for ApiError {
    fn from(error: DeadLettersError) -> Self {
        let (status, hint) = match error {
            DeadLettersError::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "try again when the broker is back")
            }
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "look at the broker: waiting does not help"),
        };
        Self::refused(status, error.to_string(), hint)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}
