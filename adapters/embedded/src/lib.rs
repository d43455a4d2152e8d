//! The embedded durable queue.
