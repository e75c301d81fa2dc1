//! What several test programs need.
#![allow(dead_code, reason = "no test program needs all of it")]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests: what they do not expect fails the test"
)]

pub(crate) mod wire;
