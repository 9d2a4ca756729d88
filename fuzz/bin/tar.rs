#![no_main]
//! See `rbuild_fuzz::tar`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_fuzz::tar(data));
