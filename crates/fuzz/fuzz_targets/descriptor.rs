#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("descriptor"), |bytes: &[u8]| ovftransfer_fuzz::descriptor(bytes));
