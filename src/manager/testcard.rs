//! The test card: a small bootable disk image of our own. It is the guest of the first run, where nothing has been
//! downloaded yet, and the tests' quick and exact guest. Its sources are in `resources/testcard/`; `build.rs` assembles it.

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
}
