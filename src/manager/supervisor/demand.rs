//! What running guests may still take of the host's memory.

#![forbid(unsafe_code)]

use super::{Supervisor, SupervisorError, blocking};
use crate::manager::{
    definition::Definition,
    host::{Counters, Demand},
};

/// A page of the host, in bytes; the engine runs on x86-64 only.
const PAGE: u64 = 4096;

impl Supervisor {
    /// What the guests that run may take beyond what their processes have. No worker is asked, so that one that hangs keeps
    /// nobody waiting.
    pub async fn memory_demand(&self) -> Result<Demand, SupervisorError> {
        let this = self.clone();
        blocking(move || {
            let mut guests = Vec::new();
            for name in this.library.names()? {
                // One that cannot be read is told of elsewhere.
                let Ok(stored) = this.library.load(&name) else { continue };
                if let Some(running) = this.library.running(&stored.definition)? {
                    guests.push((running.memory.bytes(), this.resident(&running)));
                }
            }
            Ok(Demand::of(guests, Counters::read(&this.root).memory_available))
        })
        .await
    }

    /// What the guest's worker keeps in the host's memory, in bytes: the second number of `/proc/PID/statm` (proc(5)).
    fn resident(&self, guest: &Definition) -> u64 {
        let statm = self.pid(guest.uuid).and_then(|pid| self.root.read(format!("/proc/{pid}/statm")).ok());
        let pages = statm.and_then(|text| text.split_whitespace().nth(1)?.parse().ok());
        pages.unwrap_or(0u64).saturating_mul(PAGE)
    }
}
