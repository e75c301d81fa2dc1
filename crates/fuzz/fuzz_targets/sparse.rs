#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("sparse"), |bytes: &[u8]| ovftransfer_fuzz::sparse(bytes));
