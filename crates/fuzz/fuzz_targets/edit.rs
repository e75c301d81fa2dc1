#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("edit"), |bytes: &[u8]| ovftransfer_fuzz::edit(bytes));
