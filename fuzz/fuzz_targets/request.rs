#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anser_server::api::fuzz::request(data));
