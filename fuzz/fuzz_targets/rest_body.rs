#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anser_proto::fuzz::rest_body(data));
