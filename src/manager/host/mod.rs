//! What this machine can do for guests, what is missing, and how to mend it.
//!
//! [`check`] runs one probe for each thing that guests need. A probe reads a few small files below a [`Root`], so that
//! tests put a tree of their own in the place of `/proc`, `/sys` and `/dev`.

#![forbid(unsafe_code)]

mod capacity;
mod commitment;
mod counters;
mod cpu;
pub mod firmware;
mod info;
pub mod kvm;
mod limits;
mod memory;
mod merging;
mod network;
pub mod networks;
mod root;

use serde::Serialize;

pub use commitment::{Commitment, Demand};
pub use counters::{Counters, Merging};
pub use info::{HostInfo, info};
pub use limits::limits;
pub use merging::MergingSwitch;
pub use root::Root;

use super::paths::Paths;

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// Guests run, but not as well as they could.
    Limited,
    /// Guests cannot run.
    Missing,
}

impl Verdict {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Limited => "limited",
            Self::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A short stable word for programs: `kvm-device`.
    pub id: &'static str,
    /// What was looked at, for a person.
    pub name: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// How to mend it; empty when it is fine.
    pub mend: String,
}

impl Finding {
    fn fine(id: &'static str, name: &str, detail: impl Into<String>) -> Self {
        Self { id, name: name.to_owned(), verdict: Verdict::Fine, detail: detail.into(), mend: String::new() }
    }

    fn limited(id: &'static str, name: &str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Limited, mend: mend.into(), ..Self::fine(id, name, detail) }
    }

    fn missing(id: &'static str, name: &str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Missing, mend: mend.into(), ..Self::fine(id, name, detail) }
    }
}

/// Looks at everything that guests need. Reads a few small files; call it on a blocking thread.
pub fn check(paths: &Paths) -> Vec<Finding> {
    check_below(&Root::default(), paths)
}

fn check_below(root: &Root, paths: &Paths) -> Vec<Finding> {
    vec![
        cpu::virtualization(root),
        kvm::device(root),
        cpu::modules(root),
        kvm::api(root),
        cpu::nested(root),
        firmware::check(root),
        memory::check(root),
        memory::huge_pages(root),
        memory::ksm(root),
        capacity::check(paths),
        network::translation(root),
        network::bridges(root),
    ]
}

#[cfg(test)]
mod tests;
