//! An agent that wants to harm the process that runs its guest: see `lodge::worker::vdagent::hostile`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lodge::worker::vdagent::hostile::play(input));
