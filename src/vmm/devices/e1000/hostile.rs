//! A driver that wants to harm the host through its card: [`play`] does what chance or a fuzzer chooses, over each kind of back end,
//! and then sees to it that the card works for an honest driver.

use vm_memory::{Bytes, GuestAddress};

use super::{
    registers::{RECEIVE, Ring, TRANSMIT, ctrl},
    *,
};
use crate::vmm::{
    limits::Limits,
    net::hostile::{self, Choices, Far, HONEST},
    virtio::testing::wait_for,
};

const MAC: MacAddress = [0x52, 0x54, 0, 1, 2, 3];
/// Where an honest driver has its rings, of so many descriptors, and where frames and buffers are, again and again the same.
const RINGS: [(Ring, u64); 2] = [(RECEIVE, 0x1000), (TRANSMIT, 0x2000)];
const ENTRIES: u64 = 32;
const ARENA: std::ops::Range<u64> = 0x10_0000..0x30_0000;
const MEMORY: usize = 4 << 20;
/// Registers in which a driver can do something.
const REGISTERS: [u32; 20] = [
    registers::CTRL,
    registers::EECD,
    registers::EERD,
    registers::MDIC,
    registers::VET,
    registers::ICR,
    registers::ITR,
    registers::ICS,
    registers::IMS,
    registers::RCTL,
    registers::TCTL,
    registers::RXCSUM,
    RECEIVE.base_low(),
    RECEIVE.base_high(),
    RECEIVE.length(),
    RECEIVE.head(),
    TRANSMIT.base_low(),
    TRANSMIT.length(),
    TRANSMIT.head(),
    TRANSMIT.tail(),
];

/// The driver, and what it does things to.
struct Attack<'a> {
    choices: Choices<'a>,
    card: E1000,
    handle: NetHandle,
    memory: Arc<GuestMemory>,
    far: Far,
    position: u64,
    tails: [u64; 2],
}

/// Plays an attack.
pub fn play(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (far, backend) = Far::choose(&mut choices);
    let memory = Arc::new(GuestMemory::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap());
    let (mut card, handle) = E1000::new("net0", MAC, backend, memory.clone()).unwrap();
    card.config_mut().write(4, &[7, 0]);
    card.config_written(4, 2);
    card.resume();
    let mut attack = Attack { choices, card, handle, memory, far, position: 0, tails: [0; 2] };
    attack.set_up();
    while !attack.choices.are_over() {
        attack.step();
        attack.far.drain();
    }
    attack.check();
}

impl Attack<'_> {
    fn set(&mut self, register: u32, value: u32) {
        self.card.write(MEMORY_BAR, register.into(), &value.to_le_bytes());
    }

    /// What an honest driver does first.
    fn set_up(&mut self) {
        self.set(registers::CTRL, ctrl::RESET);
        for (ring, base) in RINGS {
            self.memory.write_slice(&[0; 16 * ENTRIES as usize], GuestAddress(base)).unwrap();
            self.set(ring.base_low(), base as u32);
            self.set(ring.length(), 16 * ENTRIES as u32);
        }
        self.set(registers::RCTL, 1 << 1 | 1 << 15);
        self.set(registers::TCTL, 1 << 1 | 1 << 3);
        self.set(registers::IMS, u32::MAX);
        self.tails = [0; 2];
    }

    fn step(&mut self) {
        match self.choices.byte() % 16 {
            0..=4 => self.send(),
            5..=6 => self.give_buffers(),
            7..=8 => {
                let (frame, is_torn) = (hostile::frame(&mut self.choices), self.choices.byte().is_multiple_of(8));
                self.far.send(&frame, is_torn);
            }
            9 => self.break_register(),
            10 => {
                // A descriptor of anything.
                let bytes: Vec<_> = (0..16).map(|_| self.choices.byte()).collect();
                let ring = self.choices.below(2);
                self.put(ring, u128::from_le_bytes(bytes.try_into().unwrap()));
                self.go(ring);
            }
            11 => self.handle.set_link(self.choices.byte().is_multiple_of(2)),
            12 => self.handle.set_limits(hostile::limits(&mut self.choices)),
            13 => {
                let (far, backend) = Far::choose(&mut self.choices);
                assert!(self.handle.exchange(vec![backend]));
                self.far = far;
            }
            14 => {
                self.card.pause();
                self.card.resume();
            }
            _ => self.set_up(),
        }
    }

    /// A place for so many bytes.
    fn place(&mut self, length: usize) -> u64 {
        let room = ARENA.end - ARENA.start - length as u64;
        self.position = (self.position + 16 * u64::from(self.choices.byte())) % room;
        ARENA.start + self.position
    }

    fn put(&mut self, ring: usize, descriptor: u128) {
        let place = RINGS[ring].1 + 16 * (self.tails[ring] % ENTRIES);
        self.memory.write_slice(&descriptor.to_le_bytes(), GuestAddress(place)).unwrap();
        self.tails[ring] += 1;
    }

    fn go(&mut self, ring: usize) {
        let tail = self.tails[ring] % ENTRIES;
        self.set(RINGS[ring].0.tail(), tail as u32);
    }

    /// Sends a frame in pieces, with work left to the card that may not fit it.
    fn send(&mut self) {
        let frame = hostile::frame(&mut self.choices).split_off(12);
        let place = self.place(frame.len());
        self.memory.write_slice(&frame, GuestAddress(place)).unwrap();
        let is_extended = self.choices.byte().is_multiple_of(2);
        if is_extended && self.choices.byte().is_multiple_of(2) {
            self.put_context(frame.len());
        }
        let command = if is_extended { 0x20 | self.choices.byte() } else { self.choices.byte() & !0x20 };
        let kind = if is_extended { self.choices.one_of(&[1, 1, 1, 0, 7]) } else { 0 };
        let (options, special) = (u128::from(self.choices.word()), u128::from(self.choices.word()));
        let step = self.choices.one_of(&[60, 1000, 65_535, 1 << 20]);
        let mut done = 0;
        while done < frame.len() {
            let length = step.min(frame.len() - done);
            let end = u8::from(done + length == frame.len());
            let (low, kind, command) = (length as u128, kind as u128, u128::from(command & !1 | end));
            let upper = low | kind << 20 | command << 24 | (options & 0xff) << 40 | special << 48;
            self.put(1, (place + done as u64) as u128 | upper << 64);
            done += length;
        }
        self.go(1);
    }

    /// A context: that of TCP over IPv4, or one with numbers of all kinds.
    fn put_context(&mut self, length: usize) {
        let mut context = [14, 24, 33, 0, 34, 50, 0, 0, length as u8, (length >> 8) as u8, 0, 0x27, 0, 54, 0xe8, 3];
        for _ in 0..self.choices.below(4) {
            let at = self.choices.below(16);
            context[at] = self.choices.edgy() as u8;
        }
        // It stays a context.
        (context[10], context[11]) = (context[10] & 0xf, context[11] | 0x20);
        self.put(1, u128::from_le_bytes(context));
    }

    fn give_buffers(&mut self) {
        for _ in 0..=self.choices.below(20) {
            let place = self.place(0x4000);
            self.put(0, place.into());
        }
        self.go(0);
    }

    /// Writes a register that does something, or any.
    fn break_register(&mut self) {
        let register = match self.choices.byte() % 4 {
            0 => u32::from(self.choices.word()) << 1 & !3,
            _ => self.choices.one_of(&REGISTERS),
        };
        let value = u32::from(self.choices.word()) << self.choices.below(17) | u32::from(self.choices.edgy());
        self.set(register, value);
        self.card.read(MEMORY_BAR, register.into(), &mut [0; 4]);
        self.card.write(PORTS_BAR, self.choices.byte().into(), &value.to_le_bytes());
    }

    /// An honest driver finds a card that works.
    fn check(mut self) {
        self.handle.set_link(true);
        self.handle.set_limits(Limits::default());
        self.set_up();
        self.memory.write_slice(HONEST, GuestAddress(ARENA.start)).unwrap();
        let whole = (HONEST.len() as u128 | 0b1011 << 24) << 64;
        // The first ones may go to a network that has just ended, and have no room until what others have sent is taken.
        let (mut has_come, mut head) = (false, [0; 4]);
        wait_for("the honest frame", || {
            self.put(1, u128::from(ARENA.start) | whole);
            self.go(1);
            wait_for("the descriptor", || {
                has_come |= self.far.drain();
                self.card.read(MEMORY_BAR, TRANSMIT.head().into(), &mut head);
                u64::from(u32::from_le_bytes(head)) == self.tails[1] % ENTRIES
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
    fn no_frame_and_no_register_of_a_guest_harms_the_card() {
        hostile::each_attack(play);
    }
}
