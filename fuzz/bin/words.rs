#![no_main]
//! See `rbuild_fuzz::words`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_fuzz::words(data));
