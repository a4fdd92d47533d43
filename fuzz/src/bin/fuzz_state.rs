//! See `assent_fuzz::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assent_fuzz::state(data));
