//! Guests of a few instructions: a BIOS image, or a boot sector, that holds nothing but a test's own code.
//!
//! The bytes are real-mode code; each snippet's comment is its assembly.

use std::{fs::File, io::Write};

const BIOS_SIZE: usize = 128 << 10;
/// Where the BIOS's code is in the image: F000:0000.
const CODE: usize = BIOS_SIZE - (64 << 10);
const RESET_VECTOR: usize = BIOS_SIZE - 16;

/// cli; hlt; jmp $-1
pub const HALT: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfd];

/// Counts the boots in a byte of RAM at 0x500, which survives a reset, and prints the count to the serial port. Then goes on with
/// what follows the first time, and halts the second time.
pub const COUNT_BOOTS: &[u8] = &[
    0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, // xor ax, ax; mov ds, ax; mov ss, ax
    0xfe, 0x06, 0x00, 0x05, // inc byte [0x500]
    0xa0, 0x00, 0x05, 0x04, 0x30, // mov al, [0x500]; add al, '0'
    0xba, 0xf8, 0x03, 0xee, // mov dx, 0x3f8; out dx, al
    0x3c, 0x32, 0x72, 0x04, // cmp al, '2'; jb over the halt
    0xfa, 0xf4, 0xeb, 0xfd, // cli; hlt; jmp $-1
];

/// Prints `text` (up to 255 bytes) to the serial port.
pub fn print(text: &str) -> Vec<u8> {
    let mut code = vec![0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]); // mov al, byte; out dx, al
    }
    code
}

/// Fills the screen, in text mode, with white blocks.
pub const FILL_TEXT: &[u8] = &[
    0xb8, 0x00, 0xb8, 0x8e, 0xc0, 0x31, 0xff, // mov ax, 0xb800; mov es, ax; xor di, di
    0xb8, 0xdb, 0x0f, 0xb9, 0xd0, 0x07, // mov ax, 0x0fdb; mov cx, 80 * 25
    0xfc, 0xf3, 0xab, // cld; rep stosw
];

/// A BIOS that runs `code` at F000:0000 right after power-on.
pub fn bios(code: &[&[u8]]) -> File {
    let mut image = vec![0; BIOS_SIZE];
    let code = code.concat();
    image[CODE..CODE + code.len()].copy_from_slice(&code);
    // jmp far F000:0000
    image[RESET_VECTOR..RESET_VECTOR + 5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]);
    file(&image)
}

/// A raw disk whose boot sector runs `code` at 0000:7C00.
pub fn boot_disk(code: &[&[u8]]) -> File {
    let mut image = vec![0; 1 << 20];
    let code = code.concat();
    image[..code.len()].copy_from_slice(&code);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    file(&image)
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file could not be made");
    file.write_all(bytes).expect("a temporary file could not be written");
    file
}
