#![no_main]
//! See `rbuild_fuzz::parse`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_fuzz::parse(data));
