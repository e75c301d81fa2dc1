#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("manifest"), |bytes: &[u8]| ovftransfer_fuzz::manifest(bytes));
