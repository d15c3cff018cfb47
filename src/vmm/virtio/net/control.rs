//! The control queue (virtio 1.2, section 5.1.6.5): the driver sets its address, how many pairs of queues it uses and which
//! offloads it takes.

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_net::{
    VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, VIRTIO_NET_CTRL_MAC,
    VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_ERR,
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MQ,
    VIRTIO_NET_OK,
};

use super::Shared;
use crate::vmm::{
    net::{NetBackend, Offloads, card::MacAddress},
    virtio::queue::{Chain, QueueError},
};

/// The control queue's number: the last one, but the third when the driver knows of one pair only (section 5.1.2).
pub fn queue_index(features: u64, pairs: usize) -> u16 {
    if has(features, VIRTIO_NET_F_MQ) { 2 * pairs as u16 } else { 2 }
}

/// The offloads that the driver takes, by its features or by its command.
pub fn accepted(features: u64) -> Offloads {
    Offloads {
        checksum: has(features, VIRTIO_NET_F_GUEST_CSUM),
        tso4: has(features, VIRTIO_NET_F_GUEST_TSO4),
        tso6: has(features, VIRTIO_NET_F_GUEST_TSO6),
        ecn: has(features, VIRTIO_NET_F_GUEST_ECN),
    }
}

/// What the driver leaves to the card, by its features.
pub fn left(features: u64) -> Offloads {
    Offloads {
        checksum: has(features, VIRTIO_NET_F_CSUM),
        tso4: has(features, VIRTIO_NET_F_HOST_TSO4),
        tso6: has(features, VIRTIO_NET_F_HOST_TSO6),
        ecn: has(features, VIRTIO_NET_F_HOST_ECN),
    }
}

/// Whether a feature was negotiated.
pub fn has(features: u64, bit: u32) -> bool {
    features & 1 << bit != 0
}

/// Carries out one command for a card of `engines` pairs of queues; returns the bytes written to its answer.
pub fn serve(
    chain: &mut Chain<'_>,
    features: u64,
    engines: u16,
    shared: &Shared,
    backend: &mut dyn NetBackend,
) -> Result<usize, QueueError> {
    let mut command = [0; 2];
    chain.readable.read(&mut command)?;
    let [class, command] = command.map(u32::from);
    let done = match (class, command) {
        (VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET) => set_mac(chain, shared)?,
        (VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET) => set_pairs(chain, engines, shared)?,
        (VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET) => {
            let mut wanted = [0; 8];
            chain.readable.read(&mut wanted)?;
            let wanted = u64::from_le_bytes(wanted);
            wanted & !features == 0 && backend.accept(accepted(wanted)).is_ok()
        }
        _ => false,
    };
    chain.writable.write(&[if done { VIRTIO_NET_OK } else { VIRTIO_NET_ERR } as u8])?;
    Ok(1)
}

fn set_mac(chain: &mut Chain<'_>, shared: &Shared) -> Result<bool, QueueError> {
    let mut mac = MacAddress::default();
    chain.readable.read(&mut mac)?;
    shared.card.set_mac(mac);
    Ok(true)
}

fn set_pairs(chain: &mut Chain<'_>, engines: u16, shared: &Shared) -> Result<bool, QueueError> {
    let mut pairs = [0; 2];
    chain.readable.read(&mut pairs)?;
    let pairs = u16::from_le_bytes(pairs);
    let valid = pairs > 0 && pairs <= engines;
    if valid {
        shared.pairs.store(pairs, Ordering::Release);
    }
    Ok(valid)
}
