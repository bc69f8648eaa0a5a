#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anser_proto::fuzz::codec(data));
