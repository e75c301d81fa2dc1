//! The tests of other programs once more, over VI JSON.
#![allow(clippy::duplicate_mod, reason = "the tests bring the script with them")]
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of the script")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm, reason = "a test")]

#[path = "alive.rs"]
mod alive;
#[path = "answers.rs"]
mod answers;
#[path = "binding.rs"]
mod binding;
#[path = "polling.rs"]
mod polling;
#[path = "tasks.rs"]
mod tasks;
#[path = "watch.rs"]
mod watch;
