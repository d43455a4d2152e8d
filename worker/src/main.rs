//! The standalone `forebay` binary.
fn main() {}
