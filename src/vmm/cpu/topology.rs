//! How vCPUs are arranged in sockets, cores and threads, and the APIC IDs that follow from it.
//!
//! An ID is made of bit fields: the socket's number, the core's in it, the thread's in that. Each field has room for a power
//! of two, so IDs have gaps where a socket has 3 cores (Intel SDM volume 3, "Hierarchical Mapping of Shared Resources").

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// The arrangement of a guest's vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// Sockets of the machine.
    pub sockets: u32,
    /// Cores of a socket.
    pub cores: u32,
    /// Threads of a core.
    pub threads: u32,
}

/// The number of bits that number `count` things.
fn bits(count: u32) -> u32 {
    u32::BITS - count.saturating_sub(1).leading_zeros()
}

impl Topology {
    /// One socket with a core for each of `vcpus`.
    pub fn cores(vcpus: u32) -> Self {
        Self { sockets: 1, cores: vcpus, threads: 1 }
    }

    /// How many vCPUs it has; `None` when that is more than a number can say.
    pub fn vcpus(&self) -> Option<u32> {
        self.sockets.checked_mul(self.cores)?.checked_mul(self.threads)
    }

    /// Threads of a socket.
    pub fn threads_of_socket(&self) -> u32 {
        self.cores.saturating_mul(self.threads)
    }

    /// Bits of an APIC ID that number the threads of a core.
    pub fn thread_bits(&self) -> u32 {
        bits(self.threads)
    }

    /// Bits of an APIC ID that number the threads of a socket: those of its cores included.
    pub fn socket_bits(&self) -> u32 {
        self.thread_bits() + bits(self.cores)
    }

    /// The place of vCPU `index`. Neighbours share a core, then a socket.
    pub fn place(&self, index: u32) -> CpuPlace {
        let threads = self.threads.max(1);
        let cores = self.cores.max(1);
        CpuPlace { socket: index / threads / cores, core: index / threads % cores, thread: index % threads }
    }

    /// The APIC ID of vCPU `index`.
    pub fn apic_id(&self, index: u32) -> u32 {
        let CpuPlace { socket, core, thread } = self.place(index);
        socket << self.socket_bits() | core << self.thread_bits() | thread
    }
}

/// Where one vCPU is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuPlace {
    /// Its socket.
    pub socket: u32,
    /// Its core in the socket.
    pub core: u32,
    /// Its thread in the core.
    pub thread: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(sockets: u32, cores: u32, threads: u32) -> Vec<u32> {
        let topology = Topology { sockets, cores, threads };
        (0..topology.vcpus().unwrap()).map(|index| topology.apic_id(index)).collect()
    }

    #[test]
    fn cores_of_one_socket_are_numbered_through() {
        assert_eq!(ids(1, 5, 1), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn powers_of_two_leave_no_gaps() {
        assert_eq!(ids(2, 2, 2), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn each_level_has_room_for_a_power_of_two() {
        assert_eq!(ids(2, 3, 1), [0, 1, 2, 4, 5, 6]);
        assert_eq!(ids(2, 3, 2), [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
    }

    #[test]
    fn neighbours_share_a_core_then_a_socket() {
        let topology = Topology { sockets: 2, cores: 3, threads: 2 };

        assert_eq!(topology.place(1), CpuPlace { socket: 0, core: 0, thread: 1 });
        assert_eq!(topology.place(5), CpuPlace { socket: 0, core: 2, thread: 1 });
        assert_eq!(topology.place(6), CpuPlace { socket: 1, core: 0, thread: 0 });
    }

    #[test]
    fn too_many_to_count_are_no_number() {
        assert_eq!(Topology { sockets: 1 << 20, cores: 1 << 20, threads: 1 }.vcpus(), None);
        assert_eq!(Topology { sockets: 0, cores: 1, threads: 1 }.vcpus(), Some(0));
    }
}
