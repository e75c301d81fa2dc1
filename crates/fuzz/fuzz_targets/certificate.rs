#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("certificate"), |bytes: &[u8]| ovftransfer_fuzz::certificate(bytes));
