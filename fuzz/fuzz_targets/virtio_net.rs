//! A driver that wants to harm the host through its card: see `lodge::vmm::virtio::net::hostile`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lodge::vmm::virtio::net::hostile::play(input));
