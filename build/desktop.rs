//! The desktop application's resources and translations, made with GLib's and gettext's compilers. `lodge` finds the
//! translations in `OUT_DIR` when it runs from a checkout, so that `LANGUAGE=de cargo run` speaks German.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

use crate::run;

/// Compiles `resources/lodge.gresource.xml` to `lodge.gresource`.
pub fn compile_resources() -> Result<(), Box<dyn Error>> {
    for changed in [
        "resources/lodge.gresource.xml",
        "resources/style.css",
        "resources/style-dark.css",
        "resources/style-hc.css",
        "resources/icons",
    ] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let target = format!("--target={}", out_dir()?.join("lodge.gresource").display());
    run(
        Command::new("glib-compile-resources").args([
            "--sourcedir=resources",
            &target,
            "resources/lodge.gresource.xml",
        ]),
        "libglib2.0-dev-bin",
    )
}

/// Compiles each language of `po/LINGUAS` to `locale/LANGUAGE/LC_MESSAGES/lodge.mo`.
pub fn compile_translations() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=po");
    let locale = out_dir()?.join("locale");
    for language in fs::read_to_string("po/LINGUAS")?.split_whitespace() {
        let folder = locale.join(language).join("LC_MESSAGES");
        fs::create_dir_all(&folder)?;
        run(
            Command::new("msgfmt")
                .args(["--check", "-o"])
                .arg(folder.join("lodge.mo"))
                .arg(format!("po/{language}.po")),
            "gettext",
        )?;
    }
    println!("cargo::rustc-env=LODGE_BUILD_LOCALE={}", locale.display());
    Ok(())
}

fn out_dir() -> Result<PathBuf, Box<dyn Error>> {
    Ok(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this with cargo")?.into())
}
