//! The colours of a tile and their numbers.

/// So many colours may be in a palette.
pub(super) const MAX_PALETTE: usize = 127;
/// Slots of the hash table: a power of two, twice as many as colours.
const SLOTS: usize = 256;
/// A slot that is free.
const FREE: u8 = u8::MAX;

/// Up to [`MAX_PALETTE`] colours in the order in which they came.
pub(super) struct Palette {
    colours: Vec<u32>,
    /// The numbers of colours, found by a hash of the colour.
    slots: [u8; SLOTS],
    overflown: bool,
}

impl Palette {
    pub(super) fn new() -> Self {
        Self { colours: Vec::with_capacity(MAX_PALETTE), slots: [FREE; SLOTS], overflown: false }
    }

    pub(super) fn clear(&mut self) {
        self.colours.clear();
        self.slots.fill(FREE);
        self.overflown = false;
    }

    /// Adds a colour if it is new.
    pub(super) fn add(&mut self, colour: u32) {
        if self.overflown {
            return;
        }
        let slot = self.slot(colour);
        if self.slots[slot] == FREE {
            if self.colours.len() == MAX_PALETTE {
                self.overflown = true;
            } else {
                self.slots[slot] = self.colours.len() as u8;
                self.colours.push(colour);
            }
        }
    }

    /// The colours, unless there are too many.
    pub(super) fn colours(&self) -> Option<&[u32]> {
        (!self.overflown).then_some(&self.colours)
    }

    /// The number of a colour that was added.
    pub(super) fn number(&self, colour: u32) -> u8 {
        self.slots[self.slot(colour)]
    }

    /// The slot where a colour is or would be: the first from its hash on that has it or is free.
    fn slot(&self, colour: u32) -> usize {
        // Fibonacci hashing: the top eight bits of the product depend on all of the colour's.
        let mut slot = (colour.wrapping_mul(0x9E37_79B1) >> 24) as usize;
        loop {
            let number = self.slots[slot];
            if number == FREE || self.colours.get(usize::from(number)) == Some(&colour) {
                return slot;
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_numbered_as_they_come() {
        let mut palette = Palette::new();

        for colour in [7, 9, 7, 7, 0, 9] {
            palette.add(colour);
        }

        assert_eq!(palette.colours(), Some(&[7, 9, 0][..]));
        assert_eq!([7, 9, 0].map(|colour| palette.number(colour)), [0, 1, 2]);
    }

    #[test]
    fn too_many_colours_are_none_until_it_is_cleared() {
        let mut palette = Palette::new();

        (0..127).for_each(|colour| palette.add(colour << 3));
        assert_eq!(palette.colours().map(<[u32]>::len), Some(127));
        palette.add(1);
        assert_eq!(palette.colours(), None);
        palette.clear();
        assert_eq!(palette.colours(), Some(&[][..]));
    }
}
