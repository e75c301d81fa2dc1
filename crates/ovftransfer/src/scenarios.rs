//! Scripted transfers on a paused clock: a lease, sources and sinks that do what the script says.
//!
//! The nine faults of the field's reference client stand in [`nine_faults`], each with its number;
//! [`endings`] holds the ways in which a transfer can end, [`last_steps`] what happens around
//! the end, [`pressure`] what slow and many transfers may cost.  [`campaign`] draws scenarios from
//! seeds.

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most arms of a script do nothing at any one place"
)]
mod campaign;
mod endings;
mod last_steps;
mod nine_faults;
mod pressure;
mod world;
