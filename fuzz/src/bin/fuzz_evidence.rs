//! See `assent_fuzz::evidence`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assent_fuzz::evidence(data));
