#![no_main]
//! See `rbuild_fuzz::unpack`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| rbuild_fuzz::unpack(data));
