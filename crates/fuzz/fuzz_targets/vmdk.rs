#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("vmdk"), |bytes: &[u8]| ovftransfer_fuzz::vmdk(bytes));
