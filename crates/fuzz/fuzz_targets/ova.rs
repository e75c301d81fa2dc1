#![no_main]

libfuzzer_sys::fuzz_target!(init: ovftransfer_fuzz::seeds("ova"), |bytes: &[u8]| ovftransfer_fuzz::ova(bytes));

// Without a right checksum every change of a header ends at the same check.
libfuzzer_sys::fuzz_mutator!(|bytes: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let size = libfuzzer_sys::fuzzer_mutate(bytes, size, max_size);
    if seed % 16 != 0 {
        ovftransfer_fuzz::mend_checksums(&mut bytes[..size]);
    }
    size
});
