//! The report of a vCPU that cannot go on.

#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Registers;

/// Why a vCPU has stopped for good, and where it was. The guest stays as it is, for a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternalErrorReport {
    /// The vCPU's index.
    pub vcpu: u32,
    /// KVM's number for the error (`KVM_INTERNAL_ERROR_*`), when it gave one; 1 is an instruction it cannot emulate.
    pub suberror: Option<u32>,
    /// What happened, in a sentence without a full stop.
    pub reason: String,
    /// The instruction pointer.
    pub rip: u64,
    /// The bytes of the instruction, as far as they are known.
    pub bytes: Vec<u8>,
    /// The registers; `None` when KVM would not give them.
    pub registers: Option<Registers>,
}

impl fmt::Display for InternalErrorReport {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vCPU {}: {} at RIP {:#x}", self.vcpu, self.reason, self.rip)?;
        if !self.bytes.is_empty() {
            let bytes: Vec<_> = self.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            write!(f, " (bytes {})", bytes.join(" "))?;
        }
        Ok(())
    }
}
