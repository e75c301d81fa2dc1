//! What several test programs need.
#![allow(dead_code, reason = "no test program needs all of it")]
#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "helpers of tests: they say what is skipped, and what they do not expect is a failure"
)]

pub(crate) mod peers;
pub(crate) mod wire;
