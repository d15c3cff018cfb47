//! The devices that a guest has besides disks, network cards and the screen. Every guest has the usual ones; a definition
//! only says what differs.
//!
//! ```toml
//! [devices]
//! balloon = false
//! vsock = 3          # the guest's address (CID)
//! ```

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::Problem;

/// The port that QEMU's guest agent, and every system with one, looks for.
pub const AGENT_PORT: &str = "org.qemu.guest_agent.0";

/// The lowest address that a guest can have: those below mean the hypervisor, the sender itself and the host.
const CID_MIN: u32 = 3;

/// The virtio devices of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default = "DevicesDefinition::unsaid")]
pub struct DevicesDefinition {
    /// Random numbers from the host.
    pub rng: bool,
    /// The balloon: memory that the guest does not need goes back to the host.
    pub balloon: bool,
    /// A keyboard, and a tablet that puts the pointer where the viewer's is. Systems without a driver use the PS/2 ones.
    pub tablet: bool,
    /// The terminal `hvc0`, much faster than the serial port.
    pub console: bool,
    /// The port of a guest agent, `org.qemu.guest_agent.0`.
    pub agent: bool,
    /// The clipboard is shared: text that is copied in the guest can be pasted on the host and the other way round, by SPICE's
    /// agent (the package `spice-vdagent`) in the guest. New guests have it, but not those whose definition does not say so: it
    /// has a port of its own, which states that were saved before there was one do not know.
    pub clipboard: bool,
    /// The guest's address (CID) for vsock; without one it has no such device.
    pub vsock: Option<u32>,
}

impl Default for DevicesDefinition {
    fn default() -> Self {
        Self { rng: true, balloon: true, tablet: true, console: true, agent: true, clipboard: true, vsock: None }
    }
}

impl DevicesDefinition {
    /// What a definition means that does not say anything.
    pub(super) fn unsaid() -> Self {
        Self { clipboard: false, ..Self::default() }
    }

    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        if let Some(cid) = self.vsock
            && !(CID_MIN..u32::MAX).contains(&cid)
        {
            let message = format!("{cid} is no guest's address. Choose {CID_MIN} or more, or remove it");
            problems.push(Problem::new("devices.vsock", message));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::manager::definition::Definition;

    #[test]
    fn what_is_left_out_is_as_usual_and_as_it_was_before_there_was_a_clipboard() {
        let text = "version = 1\nuuid = \"abcd1234-0000-4000-8000-000000000001\"\nmemory = \"1GiB\"\n";

        let plain = Definition::from_toml(text, "web").unwrap().devices;
        let quiet = Definition::from_toml(&format!("{text}[devices]\nballoon = false\nvsock = 7\n"), "web").unwrap();

        assert!(plain.rng && plain.balloon && plain.agent && !plain.clipboard);
        assert!(!quiet.devices.balloon && quiet.devices.rng && !quiet.devices.clipboard);
        let new = Definition::new("web");
        assert!(Definition::from_toml(&new.to_toml(), "web").unwrap().devices.clipboard);
        assert_eq!(quiet.devices.vsock, Some(7));
    }

    #[test]
    fn reserved_addresses_are_refused() {
        for cid in [0, 1, 2, u32::MAX] {
            let mut guest = Definition::new("web");
            guest.devices.vsock = Some(cid);
            assert!(guest.validate().unwrap_err().about("devices.vsock").is_some(), "{cid}");
        }
    }
}
