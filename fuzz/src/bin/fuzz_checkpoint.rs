//! See `assent_fuzz::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assent_fuzz::checkpoint(data));
