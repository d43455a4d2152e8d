//! The suite that every adapter runs.
