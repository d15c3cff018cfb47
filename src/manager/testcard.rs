//! The test card: a small bootable disk image of our own. It is the guest of the first run, where nothing has been
//! downloaded yet, and the tests' quick and exact guest. Its sources are in `resources/testcard/`; `build.rs` assembles it.
//!
//! It shows colour bars, grey steps, a grid, the mode, what is typed, the pointer and the time since its start, in 800x600
//! with 32 bits at first. F1 and F2 change the mode, F3 goes through moving pictures, F4 to text mode and back.
//!
//! # The serial port
//!
//! The card reports at COM1 (115200 8N1), a line an event, each ended by CR and LF:
//!
//! | line | when |
//! | --- | --- |
//! | `LODGE TESTCARD 1` | sector 0 has been entered |
//! | `LODGE TESTCARD 1 800x600x32 ready` | the picture is there and commands are heard |
//! | `key 1e down`, `key e048 up` | a key, by its scan code of set 1, in hexadecimal with its prefix |
//! | `pointer 400 300` | the pointer has moved to this pixel |
//! | `button left down`, `wheel up` | a button (left, right, middle), a step of the wheel |
//! | `mode 1024x768x32` | F1 or F2 has set another mode |
//! | `second 5` | a second is over (only after `seconds on`) |
//! | `exception …` | it has failed: the vector and the words on its stack |
//!
//! It takes these commands, a line each (CR or LF), and answers each with one line that begins with `ok`, `pong`,
//! `commands:` or `error:`:
//!
//! | command | what it does |
//! | --- | --- |
//! | `ping`, `help` | answers `pong`, a list of the commands |
//! | `mode W H BPP` | sets a mode of 8, 15, 16, 24 or 32 bits and draws the card: `ok 640x480x8` |
//! | `card`, `text` | draws the card again, in the last linear mode or in text mode 3 |
//! | `fill RRGGBB` | fills the screen with a colour |
//! | `storm [plasma\|noise\|scroll\|window]` | changes the picture 60 times a second |
//! | `spin` | keeps the processor busy |
//! | `stop` | ends these: `ok, frames: 600` |
//! | `idle`, `run` | stops and starts the clock. An idle card does nothing at all until a key or a command comes |
//! | `seconds on\|off` | reports each second |
//! | `halt` | halts the processor for good, interrupts off |
//! | `reset kbd\|port92\|cf9`, `triple` | resets the machine: by the keyboard controller, port 0x92, port 0xCF9, a triple fault |
//! | `bad` | executes an instruction that KVM cannot emulate |
//! | `poweroff` | asks the power management (PIIX4) for soft off |

#![forbid(unsafe_code)]

/// The raw disk image: a whole number of 512-byte sectors, bootable by a PC's firmware.
pub fn image() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/testcard.img"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_whole_sectors_with_a_boot_signature() {
        let image = image();

        assert_eq!(image.len() % 512, 0);
        assert_eq!(image[510..512], [0x55, 0xaa]);
    }

    #[test]
    fn the_image_has_the_cylinder_that_firmware_wants_of_a_disk() {
        assert!(image().len() >= 16 * 63 * 512);
    }
}
