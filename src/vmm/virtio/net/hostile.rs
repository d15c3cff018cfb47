//! A driver that wants to harm the host through its card: [`play`] does what chance or a fuzzer chooses, over each kind of back end,
//! and then sees to it that the card works for an honest driver.

use super::*;
use crate::vmm::{
    device::Device,
    limits::Limits,
    net::{
        HEADER_SIZE,
        hostile::{self, Choices, Far, HONEST},
    },
    virtio::testing::{Bench, EVENT_INDEX, TestQueue, WRITE, wait_for},
};

const MAC: MacAddress = [0x52, 0x54, 0, 1, 2, 3];
/// Descriptors of each queue.
const SIZE: u16 = 32;
/// Where frames and buffers are, again and again the same: also while the card still works on them.
const ARENA: u64 = 1 << 20;

/// The driver, and what it does things to.
struct Attack<'a> {
    choices: Choices<'a>,
    bench: Bench,
    queues: Vec<TestQueue>,
    handle: NetHandle,
    far: Far,
    arena: u64,
    offered: u64,
    position: u64,
}

/// Plays an attack.
pub fn play(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (far, backend) = Far::choose(&mut choices);
    let (device, handle) = VirtioNet::new(NetConfig { id: "net0".into(), mac: MAC, backends: vec![backend] }).unwrap();
    let mut bench = Bench::new(device);
    let offered = bench.offered();
    let mut queues = bench.start(offered & EVENT_INDEX, SIZE);
    let arena = queues[0].allocate(ARENA);
    restart(&mut bench, &mut queues, offered, &mut choices);
    let mut attack = Attack { choices, bench, queues, handle, far, arena, offered, position: 0 };
    while !attack.choices.are_over() {
        attack.step();
        attack.far.drain();
        if attack.bench.status() & 0x40 != 0 {
            attack.restart();
        }
    }
    attack.check();
}

/// A new beginning, with some of what the card offers.
fn restart(bench: &mut Bench, queues: &mut Vec<TestQueue>, offered: u64, choices: &mut Choices<'_>) {
    bench.write_common(0x14, 1, 0);
    let unwanted =
        if choices.byte().is_multiple_of(2) { 0 } else { u64::from(choices.word()) | u64::from(choices.word()) << 16 };
    bench.negotiate(offered & !unwanted & 0xffff_ffff);
    *queues = queues.iter().map(|queue| bench.set_up_again(queue)).collect();
    bench.write_common(0x14, 1, 15);
}

impl Attack<'_> {
    fn restart(&mut self) {
        restart(&mut self.bench, &mut self.queues, self.offered, &mut self.choices);
    }

    fn step(&mut self) {
        match self.choices.byte() % 16 {
            0..=4 => self.send(),
            5..=6 => self.give_buffers(),
            7..=8 => {
                let (frame, is_torn) = (hostile::frame(&mut self.choices), self.choices.byte().is_multiple_of(8));
                self.far.send(&frame, is_torn);
            }
            9 => self.command(),
            10 => self.break_ring(),
            11 => self.handle.set_link(self.choices.byte().is_multiple_of(2)),
            12 => self.handle.set_limits(hostile::limits(&mut self.choices)),
            13 => self.exchange(),
            14 => {
                self.bench.pci.pause();
                self.bench.pci.resume();
            }
            _ => self.restart(),
        }
    }

    /// A place for so many bytes.
    fn place(&mut self, length: usize) -> u64 {
        self.position = (self.position + 16 * u64::from(self.choices.byte())) % (ARENA - length as u64);
        self.arena + self.position
    }

    /// Sends a frame, or several that are the same, in pieces.
    fn send(&mut self) {
        let frame = hostile::frame(&mut self.choices);
        let place = self.place(frame.len());
        self.queues[1].write_bytes(place, &frame);
        let mut cuts: Vec<_> = (0..self.choices.below(5)).map(|_| self.choices.below(frame.len())).collect();
        cuts.extend([0, frame.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> =
            cuts.windows(2).map(|pair| (place + pair[0] as u64, (pair[1] - pair[0]) as u32, 0)).collect();
        for _ in 0..=self.choices.below(12) {
            self.queues[1].send_raw(&pieces);
        }
        self.bench.kick(1);
    }

    fn give_buffers(&mut self) {
        for _ in 0..=self.choices.below(20) {
            let length = match self.choices.byte() % 4 {
                0 => self.choices.edgy(),
                _ => 1536,
            };
            let place = self.place(length.into());
            self.queues[0].send_raw(&[(place, length.into(), WRITE)]);
        }
        self.bench.kick(0);
    }

    /// Something for the control queue, which may be none.
    fn command(&mut self) {
        let mut command = vec![self.choices.byte() % 8, self.choices.byte() % 4];
        command.extend((0..self.choices.below(12)).map(|_| self.choices.byte()));
        let place = self.place(64);
        let Some(queue) = self.queues.get_mut(2) else { return };
        queue.write_bytes(place, &command);
        let answer = u32::from(self.choices.byte() % 3);
        queue.send_raw(&[(place, command.len() as u32, 0), (place + 32, answer, WRITE)]);
        self.bench.kick(2);
    }

    /// Descriptors that lead nowhere, or an index that cannot be.
    fn break_ring(&mut self) {
        let which = self.choices.below(self.queues.len());
        let length = u32::from(self.choices.word()) << 16 | u32::from(self.choices.edgy());
        let (address, flags) = (u64::from(self.choices.word()) << self.choices.below(49), self.choices.word() % 8);
        let queue = &mut self.queues[which];
        match self.choices.byte() % 3 {
            0 => queue.set_available_index(self.choices.word()),
            1 => drop(queue.send_raw(&[(address, length, flags)])),
            _ => queue.write_descriptor(self.choices.word() % SIZE, address, length, flags, self.choices.edgy()),
        }
        self.bench.kick(which as u16);
    }

    /// Switches the card to another network.
    fn exchange(&mut self) {
        let (far, backend) = Far::choose(&mut self.choices);
        assert!(self.handle.exchange(vec![backend]));
        // A card that is stopped or in trouble takes it when it starts again.
        self.far = far;
    }

    /// An honest driver finds a card that works.
    fn check(mut self) {
        self.handle.set_link(true);
        self.handle.set_limits(Limits::default());
        self.bench.write_common(0x14, 1, 0);
        self.bench.negotiate(0);
        let mut queues: Vec<_> = self.queues.iter().map(|queue| self.bench.set_up_again(queue)).collect();
        self.bench.write_common(0x14, 1, 15);
        let place = self.arena;
        queues[1].write_bytes(place, &[&[0; HEADER_SIZE], HONEST].concat());
        // The first ones may go to a network that has just ended, and have no room until what others have sent is taken.
        let mut has_come = false;
        wait_for("the honest frame", || {
            queues[1].send_raw(&[(place, (HEADER_SIZE + HONEST.len()) as u32, 0)]);
            self.bench.kick(1);
            wait_for("the used buffer", || {
                has_come |= self.far.drain();
                queues[1].take_used().is_some()
            });
            has_come |= self.far.drain();
            has_come
        });
        assert_eq!(self.handle.mac(), MAC);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_frame_and_no_ring_of_a_guest_harms_the_card() {
        hostile::each_attack(play);
    }
}
