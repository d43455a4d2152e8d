//! The web page, and what it asks for.

use super::Admin;
use axum::Router;

/// The page itself and its parts: open to anyone, as they hold no data.
pub(super) fn router() -> Router<Admin> {
    Router::new()
}

/// What is under `/api`: for who has the token.
pub(super) fn api() -> Router<Admin> {
    Router::new()
}
