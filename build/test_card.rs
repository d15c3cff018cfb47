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
/// The image is padded to whole 32 KiB: a size that every firmware, tool and disk format takes.
const IMAGE_BLOCK: usize = 32 << 10;

/// Writes `testcard.img` to `OUT_DIR`.
pub fn assemble() -> Result<(), Box<dyn Error>> {
    let sources = Path::new("resources/testcard");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-env-changed=LODGE_AS");
    println!("cargo::rerun-if-env-changed=LODGE_LD");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this with cargo")?);
    let object = out.join("testcard.o");
    let image = out.join("testcard.img");
    run(
        Command::new(tool("LODGE_AS", "as"))
            .arg("--64")
            .arg("--fatal-warnings")
            .args(["-I".as_ref(), sources.as_os_str()])
            .args(["-o".as_ref(), object.as_os_str()])
            .arg(sources.join("testcard.s")),
        "binutils",
    )?;
    run(
        Command::new(tool("LODGE_LD", "ld"))
            .args(["-m", "elf_x86_64", "--oformat", "binary", "-e", "start", "-Ttext", LOAD_ADDRESS])
            .args(["-o".as_ref(), image.as_os_str()])
            .arg(&object),
        "binutils",
    )?;

    let mut bytes = fs::read(&image)?;
    bytes.resize(bytes.len().next_multiple_of(IMAGE_BLOCK), 0);
    fs::write(&image, bytes)?;
    Ok(())
}

/// The program to call: `variable`'s value, for those who cross-compile, or `default`.
fn tool(variable: &str, default: &str) -> String {
    env::var(variable).unwrap_or_else(|_| default.to_owned())
}
