//! The `b158` command.
fn main() {}
