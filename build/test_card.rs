//! Assembles the test card (`resources/testcard/`) with the assembler and the linker of binutils, which every system that
//! can link Rust programs has. The image lands in `OUT_DIR` and is included by `src/manager/testcard.rs`.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::run;

/// Where the firmware loads sector 0, and the image's first address.
const LOAD_ADDRESS: &str = "0x7c00";
/// What fits between the load address and the card's page tables, in bytes.
const CODE_LIMIT: usize = 0x10000 - 0x7c00;
/// Where its variables that start as zero are, above its page tables.
const BSS_ADDRESS: &str = "0x20000";
/// The image's size in bytes: SeaBIOS boots from no disk of less than one cylinder (16 heads of 63 sectors, 504 KiB).
const IMAGE_SIZE: usize = 512 << 10;
/// The font's glyphs: their size in pixels, and how many stand side by side in its source.
const GLYPH_COLUMNS: usize = 5;
const GLYPH_ROWS: usize = 9;
const BLOCK_GLYPHS: usize = 16;

/// Writes `testcard.img` to `OUT_DIR`.
pub fn assemble() -> Result<(), Box<dyn Error>> {
    let sources = Path::new("resources/testcard");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-env-changed=LODGE_AS");
    println!("cargo::rerun-if-env-changed=LODGE_LD");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this with cargo")?);
    fs::write(out.join("font.bin"), font(&fs::read_to_string(sources.join("font.txt"))?)?)?;
    let object = out.join("testcard.o");
    let image = out.join("testcard.img");
    run(
        Command::new(tool("LODGE_AS", "as"))
            .arg("--64")
            .arg("--fatal-warnings")
            .args(["-I".as_ref(), sources.as_os_str(), "-I".as_ref(), out.as_os_str()])
            .args(["-o".as_ref(), object.as_os_str()])
            .arg(sources.join("testcard.s")),
        "binutils",
    )?;
    run(
        Command::new(tool("LODGE_LD", "ld"))
            .args(["-m", "elf_x86_64", "--oformat", "binary", "-e", "start"])
            .args(["-Ttext", LOAD_ADDRESS, "-Tbss", BSS_ADDRESS])
            .args(["-o".as_ref(), image.as_os_str()])
            .arg(&object),
        "binutils",
    )?;

    let mut bytes = fs::read(&image)?;
    if bytes.len() > CODE_LIMIT {
        return Err(
            format!("the test card has {} bytes; only {CODE_LIMIT} fit below its page tables", bytes.len()).into()
        );
    }
    bytes.resize(IMAGE_SIZE, 0);
    fs::write(&image, bytes)?;
    Ok(())
}

/// The font as the card has it: a byte a row of a glyph, bit 4 the leftmost pixel. In the text, glyphs stand in blocks of
/// [`BLOCK_GLYPHS`] side by side, one column apart.
fn font(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let rows: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with("//")).collect();
    let mut bytes = Vec::new();
    for block in rows.chunks(GLYPH_ROWS) {
        for glyph in 0..BLOCK_GLYPHS {
            for row in block {
                let first = glyph * (GLYPH_COLUMNS + 1);
                let pixels =
                    row.get(first..first + GLYPH_COLUMNS).ok_or_else(|| format!("font.txt: short row {row}"))?;
                bytes.push(pixels.chars().fold(0, |bits, pixel| bits << 1 | u8::from(pixel == '#')));
            }
        }
    }
    Ok(bytes)
}

/// The program to call: `variable`'s value, for those who cross-compile, or `default`.
fn tool(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}
