#![no_main]
//! See `rbuild_fuzz::ignore`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_fuzz::ignore(data));
