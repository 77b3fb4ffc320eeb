#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    sealboot_fuzz::profile::run(bytes);
});
