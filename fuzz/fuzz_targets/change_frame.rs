#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| muster::fuzzing::change_frame(data));
