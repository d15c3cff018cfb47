//! The published clients that drive Lodge: the Python environment that resources/setup.sh makes.

use std::{env, path::PathBuf};

/// Its Python. Where it was not made the test is skipped, which it says; in CI that is a failure.
pub fn python() -> Option<PathBuf> {
    let cache = || match env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache"),
    };
    let venv = env::var_os("LODGE_TEST_VENV").map_or_else(|| cache().join("lodge-test/venv"), PathBuf::from);
    let python = venv.join("bin/python");
    if python.exists() {
        return Some(python);
    }
    let missing = format!("{} is missing. run resources/setup.sh", python.display());
    assert!(env::var("CI").as_deref() != Ok("true"), "{missing}");
    println!("skipped: {missing}");
    None
}
