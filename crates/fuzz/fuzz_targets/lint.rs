#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("lint"), |bytes: &[u8]| ovftransfer_fuzz::lint(bytes));
