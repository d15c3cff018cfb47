//! A driver that wants to harm the host through its card: see `lodge::vmm::devices::e1000::hostile`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lodge::vmm::devices::e1000::hostile::play(input));
