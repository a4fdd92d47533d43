//! See `assent_fuzz::fhir`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| assent_fuzz::fhir(data));
