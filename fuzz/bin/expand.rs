#![no_main]
//! See `rbuild_fuzz::expand`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_fuzz::expand(data));
