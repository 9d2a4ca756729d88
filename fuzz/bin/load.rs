#![no_main]
//! See `rbuild_fuzz::load`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_fuzz::load(data));
