//! Switching the kernel's same-page merging on and off (`Documentation/admin-guide/mm/ksm.rst`), which only root may do.

#![forbid(unsafe_code)]

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::Root;

/// The switch.
const RUN: &str = "/sys/kernel/mm/ksm/run";

/// polkit's program, which asks for an administrator's password; see pkexec(1).
const PKEXEC: &str = "/usr/bin/pkexec";

/// What pkexec runs, and nothing else.
const AS_ROOT: [&str; 2] = ["/usr/bin/tee", RUN];

/// What pkexec ends with when the person has closed its question.
const DISMISSED: i32 = 126;

/// A way to switch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergingSwitch {
    /// This user may write the file.
    Direct(PathBuf),
    /// An administrator is asked for.
    Asked,
}

impl MergingSwitch {
    /// The way that there is on this host, if any.
    pub fn find(root: &Root) -> Option<Self> {
        let path = root.path(RUN);
        if !path.exists() {
            return None;
        }
        // Opening it changes nothing.
        if OpenOptions::new().write(true).open(&path).is_ok() {
            return Some(Self::Direct(path));
        }
        let can_ask = [PKEXEC, AS_ROOT[0]].into_iter().all(|program| root.exists(program));
        can_ask.then_some(Self::Asked)
    }

    /// Switches it. Waits for the person's answer where that is needed; `false` when there was none.
    pub fn set(&self, on: bool) -> io::Result<bool> {
        let text = if on { "1\n" } else { "0\n" };
        match self {
            Self::Direct(path) => {
                OpenOptions::new().write(true).truncate(true).open(path)?.write_all(text.as_bytes())?;
                Ok(true)
            }
            Self::Asked => ask(text),
        }
    }
}

fn ask(text: &str) -> io::Result<bool> {
    let mut child =
        Command::new(PKEXEC).args(AS_ROOT).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends before it reads says why by its status.
        let _ = stdin.write_all(text.as_bytes());
    }
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(true),
        Some(DISMISSED) => Ok(false),
        _ => Err(io::Error::other(format!(
            "pkexec refused it ({status}). Switch it as root: \"echo {} > {RUN}\"",
            text.trim_end()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn put(root: &Root, path: &str) -> PathBuf {
        let path = root.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "0\n").unwrap();
        path
    }

    #[test]
    fn who_may_write_the_file_is_not_asked() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        assert_eq!(MergingSwitch::find(&root), None, "this kernel has none");
        let path = put(&root, RUN);

        let switch = MergingSwitch::find(&root).unwrap();

        assert!(switch.set(true).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        switch.set(false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "0\n");
    }

    #[test]
    fn who_may_not_is_asked_where_there_is_polkit() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        // Not even root can write into a folder.
        fs::create_dir_all(root.path(RUN)).unwrap();
        assert_eq!(MergingSwitch::find(&root), None);

        put(&root, PKEXEC);
        put(&root, AS_ROOT[0]);

        assert_eq!(MergingSwitch::find(&root), Some(MergingSwitch::Asked));
    }
}
