//! Virtio-net (virtio 1.2, section 5.1): a network card over a [`NetBackend`].
//!
//! Each pair of queues has a back end and a thread of its own; the first thread also answers the control queue. Frames go
//! between back end and guest memory as they are, header included: who leaves work on packets to the other side was agreed on
//! with the driver and told to the back end.

#![forbid(unsafe_code)]

mod control;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod pair;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ,
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MQ,
    VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU, VIRTIO_NET_F_STATUS,
};

use super::{
    device::{Activation, DeviceType, VirtioDevice, read_config_bytes},
    queue::Queues,
    worker::{Engine, share},
};
use crate::vmm::{
    device::{StateError, restore_state, save_state},
    net::{
        NetBackend, Offloads,
        card::{Card, MacAddress, NetHandle},
    },
};
use pair::QueuePair;

/// Descriptors of each receive and transmit queue. Longer ones have the guest go round more memory than a cache holds.
const QUEUE_SIZE: u16 = 256;
/// Descriptors of the control queue.
const CONTROL_SIZE: u16 = 64;
const STATE_VERSION: u32 = 1;
/// Configuration status: the link is up.
const LINK_UP: u16 = 1;

/// A network card to be made.
pub struct NetConfig {
    /// Its name, unique in the machine: `net0`.
    pub id: String,
    /// Its address.
    pub mac: MacAddress,
    /// One back end a pair of queues; at least one.
    pub backends: Vec<Box<dyn NetBackend>>,
}

/// What the card's threads and the outside share.
struct Shared {
    card: NetHandle,
    /// The longest packet, where it is not the usual 1500 bytes.
    mtu: Option<u16>,
    /// Pairs of queues that the driver uses.
    pairs: AtomicU16,
}

/// The card.
pub struct VirtioNet {
    // Fixed configuration
    label: String,
    mac: MacAddress,
    queue_sizes: Vec<u16>,
    features: u64,
    // Wiring
    engines: Vec<Engine<QueuePair>>,
    // Volatile state
    shared: Arc<Shared>,
}

#[derive(Serialize, Deserialize)]
struct State {
    mac: MacAddress,
    link: bool,
    pairs: u16,
}

impl VirtioNet {
    /// A card with its link up, and its face to the outside.
    pub fn new(config: NetConfig) -> io::Result<(Self, NetHandle)> {
        let NetConfig { id, mac, backends } = config;
        let label = format!("virtio-{id}");
        let pairs = backends.len();
        let offloads = backends.first().map_or_else(Offloads::default, |backend| backend.offloads());
        let mtu = backends.first().and_then(|backend| backend.mtu());
        let card = Card::new(mac, pairs)?;
        let shared = Arc::new(Shared { card: card.clone(), mtu, pairs: AtomicU16::new(1) });
        let mut queue_sizes = vec![QUEUE_SIZE; 2 * pairs];
        queue_sizes.push(CONTROL_SIZE);
        let engines = (0u16..)
            .zip(backends)
            .map(|(index, backend)| Engine::new(&label, QueuePair::new(index, pairs as u16, backend, shared.clone())))
            .collect();
        let features = features(offloads, mtu, pairs);
        Ok((Self { label, mac, queue_sizes, features, engines, shared }, card))
    }

    /// The configuration structure (section 5.1.4): address, status, most pairs of queues, longest packet.
    fn config(&self) -> [u8; 12] {
        let card = &self.shared.card;
        let mut config = [0; 12];
        config[..6].copy_from_slice(&card.mac());
        let status = if card.link() { LINK_UP } else { 0 };
        config[6..8].copy_from_slice(&status.to_le_bytes());
        config[8..10].copy_from_slice(&(self.engines.len() as u16).to_le_bytes());
        config[10..].copy_from_slice(&self.shared.mtu.unwrap_or_default().to_le_bytes());
        config
    }
}

/// What the card offers over a back end with these abilities.
fn features(offloads: Offloads, mtu: Option<u16>, pairs: usize) -> u64 {
    let when = |condition, bits: &[u32]| if condition { bits.iter().fold(0, |all, bit| all | 1u64 << bit) } else { 0 };
    when(
        true,
        &[
            VIRTIO_NET_F_MAC,
            VIRTIO_NET_F_STATUS,
            VIRTIO_NET_F_MRG_RXBUF,
            VIRTIO_NET_F_CTRL_VQ,
            VIRTIO_NET_F_CTRL_MAC_ADDR,
        ],
    ) | when(pairs > 1, &[VIRTIO_NET_F_MQ])
        | when(mtu.is_some(), &[VIRTIO_NET_F_MTU])
        | when(offloads.checksum, &[VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS])
        | when(offloads.tso4, &[VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_GUEST_TSO4])
        | when(offloads.tso6, &[VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_GUEST_TSO6])
        | when(offloads.ecn, &[VIRTIO_NET_F_HOST_ECN, VIRTIO_NET_F_GUEST_ECN])
}

impl VirtioDevice for VirtioNet {
    fn label(&self) -> &str {
        &self.label
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.config(), offset, data);
    }

    fn activate(&mut self, mut activation: Activation) -> io::Result<()> {
        let interrupt = activation.interrupt.clone();
        self.shared.card.observe_link(Some(Box::new(move || interrupt.configuration_changed())));
        let control = control::queue_index(activation.features, self.engines.len());
        for (pair, engine) in (0u16..).zip(&mut self.engines) {
            let control = (pair == 0).then_some(control);
            let queues = [2 * pair, 2 * pair + 1].into_iter().chain(control);
            if let Err(error) = engine.start(share(&mut activation, queues)) {
                self.deactivate();
                return Err(error);
            }
        }
        Ok(())
    }

    fn deactivate(&mut self) -> Queues {
        self.shared.card.observe_link(None);
        let mut queues = Queues::new();
        for engine in &mut self.engines {
            queues.append(engine.stop());
        }
        queues
    }

    fn reset(&mut self) {
        self.shared.card.set_mac(self.mac);
        self.shared.pairs.store(1, Ordering::Release);
    }

    fn save(&self) -> Result<Value, StateError> {
        let (card, pairs) = (&self.shared.card, self.shared.pairs.load(Ordering::Acquire));
        save_state(&self.label, STATE_VERSION, State { mac: card.mac(), link: card.link(), pairs })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        let state: State = restore_state(&self.label, STATE_VERSION, state)?;
        if state.pairs == 0 || usize::from(state.pairs) > self.engines.len() {
            return Err(StateError::damaged(&self.label, format_args!("{} pairs of queues", state.pairs)));
        }
        self.shared.card.set_mac(state.mac);
        self.shared.card.restore_link(state.link);
        self.shared.pairs.store(state.pairs, Ordering::Release);
        Ok(())
    }
}
