//! virtio-rng (virtio 1.2, section 5.4): random numbers from the host's kernel.

#![forbid(unsafe_code)]

use std::io;

use super::{
    device::{Activation, DeviceType, VirtioDevice},
    queue::{Buffers, QueueError, Queues},
    worker::{Engine, Handler, Io},
};

const QUEUE_SIZES: [u16; 1] = [64];

/// A request gets at most this many bytes, whatever its room: a guest cannot make the host work for long by asking once.
const MOST: usize = 4096;

/// A source of random numbers.
pub struct Entropy {
    label: String,
    engine: Engine<Source>,
}

struct Source;

impl Entropy {
    /// A source that is named `label`.
    pub fn new(label: &str) -> Self {
        Self { label: label.to_owned(), engine: Engine::new(label, Source) }
    }
}

/// Fills the buffers, or their first [`MOST`] bytes, and returns how many those are.
fn fill(buffers: &mut Buffers<'_>) -> Result<usize, QueueError> {
    let mut bytes = [0; 256];
    let mut left = buffers.len().min(MOST);
    let total = left;
    while left > 0 {
        let part = left.min(bytes.len());
        let bytes = bytes.get_mut(..part).unwrap_or_default();
        getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))?;
        buffers.write(bytes)?;
        left -= part;
    }
    Ok(total)
}

impl Handler for Source {
    fn kicked(&mut self, queue: u16, io: &mut Io<'_, '_>) -> Result<(), QueueError> {
        let memory = io.memory;
        match io.queue(queue) {
            Some(queue) => queue.serve_all(memory, |chain| fill(&mut chain.writable)),
            None => Ok(()),
        }
    }
}

impl VirtioDevice for Entropy {
    fn label(&self) -> &str {
        &self.label
    }

    fn device_type(&self) -> DeviceType {
        DeviceType::Entropy
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn features(&self) -> u64 {
        0
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation) -> io::Result<()> {
        self.engine.start(activation)
    }

    fn deactivate(&mut self) -> Queues {
        self.engine.stop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::virtio::testing::Bench;

    #[test]
    fn buffers_are_filled_with_numbers_that_differ() {
        let (mut bench, mut queues) = Bench::started(Entropy::new("virtio-rng0"), 0, 16);

        let first = queues[0].send(&[], &[32, 1, 31]);
        let second = queues[0].send(&[], &[64]);
        bench.kick(0);

        assert_eq!(queues[0].wait(), (first.head, 64));
        assert_eq!(queues[0].wait(), (second.head, 64));
        assert_ne!(first.answer(), second.answer());
        assert!(first.answer().iter().any(|&byte| byte != 0));
    }

    #[test]
    fn a_huge_request_gets_a_bounded_answer() {
        let (mut bench, mut queues) = Bench::started(Entropy::new("virtio-rng0"), 0, 16);

        let sent = queues[0].send(&[], &[1 << 20]);
        bench.kick(0);

        assert_eq!(queues[0].wait(), (sent.head, MOST as u32));
        assert!(sent.answer()[MOST..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_request_without_room_is_given_back_empty() {
        let (mut bench, mut queues) = Bench::started(Entropy::new("virtio-rng0"), 0, 16);

        let sent = queues[0].send(&[b"not to be read"], &[]);
        bench.kick(0);

        assert_eq!(queues[0].wait(), (sent.head, 0));
    }
}
