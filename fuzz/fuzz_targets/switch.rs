//! A guest that wants to harm the switch of an isolated network: see `src/bin/lodge-switch/hostile.rs`.

#![no_main]
#![allow(dead_code, reason = "the program uses more of its modules")]

#[path = "../../src/bin/lodge-switch/dhcp.rs"]
mod dhcp;
#[path = "../../src/bin/lodge-switch/hostile.rs"]
mod hostile;
#[path = "../../src/bin/lodge-switch/port.rs"]
mod port;
#[path = "../../src/bin/lodge-switch/switch.rs"]
mod switch;
#[path = "../../src/bin/lodge-switch/table.rs"]
mod table;

libfuzzer_sys::fuzz_target!(|input: &[u8]| hostile::play(input));
