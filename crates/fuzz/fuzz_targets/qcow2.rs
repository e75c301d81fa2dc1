#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("qcow2"), |bytes: &[u8]| ovftransfer_fuzz::qcow2(bytes));
