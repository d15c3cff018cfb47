//! The VGA's palette: 256 colours behind four ports (IBM PS/2 Hardware Interface Technical Reference, "Video DAC").

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// One colour as the guest wrote it: red, green, blue.
pub type Colour = [u8; 3];

/// The digital-to-analogue converter: colour registers, their indices and the pel mask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dac {
    colours: Vec<Colour>,
    /// Ands every pixel before it is looked up.
    pub mask: u8,
    read_index: u8,
    write_index: u8,
    /// Which component (0 to 2) is read or written next.
    component: u8,
    /// The components written so far: a colour changes as a whole.
    pending: Colour,
    reading: bool,
}

impl Default for Dac {
    fn default() -> Self {
        Self {
            colours: vec![[0; 3]; 256],
            mask: 0xff,
            read_index: 0,
            write_index: 0,
            component: 0,
            pending: [0; 3],
            reading: false,
        }
    }
}

impl Dac {
    /// Port 0x3C7, read: whether the last index was set for reading (3) or writing (0).
    pub fn state(&self) -> u8 {
        if self.reading { 3 } else { 0 }
    }

    /// Port 0x3C8, read.
    pub fn write_index(&self) -> u8 {
        self.write_index
    }

    /// Port 0x3C7, write: the colour that is read next.
    pub fn set_read_index(&mut self, index: u8) {
        self.read_index = index;
        self.component = 0;
        self.reading = true;
    }

    /// Port 0x3C8, write: the colour that is written next.
    pub fn set_write_index(&mut self, index: u8) {
        self.write_index = index;
        self.component = 0;
        self.reading = false;
    }

    /// Port 0x3C9, read: the next component, after the last one that of the next colour.
    pub fn read(&mut self) -> u8 {
        let value = self.colour(self.read_index)[usize::from(self.component % 3)];
        self.component += 1;
        if self.component >= 3 {
            self.component = 0;
            self.read_index = self.read_index.wrapping_add(1);
        }
        value
    }

    /// Port 0x3C9, write. Says whether a colour is complete and has been set.
    pub fn write(&mut self, value: u8) -> bool {
        self.pending[usize::from(self.component % 3)] = value;
        self.component += 1;
        if self.component < 3 {
            return false;
        }
        if let Some(colour) = self.colours.get_mut(usize::from(self.write_index)) {
            *colour = self.pending;
        }
        self.component = 0;
        self.write_index = self.write_index.wrapping_add(1);
        true
    }

    /// What pixel value `index` looks like, as `0x00RRGGBB`: the pel mask is applied; `wide` says that colours have 8 bits a
    /// component instead of 6.
    pub fn pixel(&self, index: u8, wide: bool) -> u32 {
        let [red, green, blue] = self.colour(index & self.mask).map(|component| {
            let component = if wide { component } else { component << 2 | (component >> 4 & 3) };
            u32::from(component)
        });
        red << 16 | green << 8 | blue
    }

    /// Whether a restored state can be worked with.
    pub fn is_sound(&self) -> bool {
        self.colours.len() == 256 && self.component < 3
    }

    fn colour(&self, index: u8) -> Colour {
        self.colours.get(usize::from(index)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_changes_with_its_last_component_and_the_index_moves_on() {
        let mut dac = Dac::default();
        dac.set_write_index(255);

        let set: Vec<bool> = [63, 0, 1, 2, 3].map(|value| dac.write(value)).into();

        assert_eq!(set, [false, false, true, false, false]);
        assert_eq!(dac.pixel(255, false), 0xff_00_04);
        assert_eq!(dac.pixel(0, false), 0, "the next colour is not complete");
        assert_eq!(dac.write_index(), 0);
    }

    #[test]
    fn reading_walks_through_the_components() {
        let mut dac = Dac::default();
        dac.set_write_index(7);
        for value in [1, 2, 3, 4, 5, 6] {
            dac.write(value);
        }
        dac.set_read_index(7);

        assert_eq!(dac.state(), 3);
        assert_eq!([(); 6].map(|()| dac.read()), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn six_bit_colours_reach_full_white_and_eight_bit_ones_are_taken_as_they_are() {
        let mut dac = Dac::default();
        dac.set_write_index(1);
        for value in [0x3f, 0x3f, 0x20] {
            dac.write(value);
        }

        assert_eq!(dac.pixel(1, false), 0xff_ff_82);
        assert_eq!(dac.pixel(1, true), 0x3f_3f_20);
    }

    #[test]
    fn the_pel_mask_is_applied_to_the_index() {
        let mut dac = Dac::default();
        dac.set_write_index(0x0f);
        for value in [0x10, 0, 0] {
            dac.write(value);
        }
        dac.mask = 0x0f;

        assert_eq!(dac.pixel(0xff, true), 0x10_00_00);
    }
}
