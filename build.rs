//! What is made before the Rust code is compiled: the test card's image, and for the desktop application its resources
//! (style sheet, icons) and translations.

use std::{error::Error, process::Command};

#[path = "build/desktop.rs"]
mod desktop;
#[path = "build/test_card.rs"]
mod test_card;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    test_card::assemble()?;
    if std::env::var_os("CARGO_FEATURE_GUI").is_some() {
        desktop::compile_resources()?;
        desktop::compile_translations()?;
    }
    Ok(())
}

/// Runs a program of the build; `package` is what to install when it is missing.
fn run(command: &mut Command, package: &str) -> Result<(), Box<dyn Error>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status =
        command.status().map_err(|error| format!("{name} cannot be run: {error}. Install the package {package}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name} failed ({status})").into()) }
}
