//! Which address of the planes each line of the screen shows: the CRT controller's counters in closed form (FreeVGA, "VGA
//! Display Generation"; IBM PS/2 Hardware Interface Technical Reference, "CRT Controller Registers").

#![forbid(unsafe_code)]

use super::registers::{Registers, attribute, crtc, graphics};

/// How the screen's lines walk through the planes. Addresses count characters of eight or nine dots: four bytes of video memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Lines of the screen.
    pub height: u32,
    /// The first address.
    pub start: u32,
    /// Addresses from row to row.
    pub pitch: u32,
    /// Lines of a row, not 0.
    pub row_height: u32,
    /// Every line is shown twice.
    pub doubled: bool,
    /// The line of the first row that is shown first.
    pub first_row_line: u32,
    /// The first line below the split: there the picture begins again at address 0.
    pub split: u32,
    /// How far the picture is moved to the left, in dots.
    pub panning: u32,
    /// The same below the split.
    pub panning_below: u32,
    /// Addresses that the picture begins late below the split.
    pub start_below: u32,
    /// CGA and Hercules addressing: these address bits are replaced by bits of the row's line (bit and its value).
    pub interleave: [Option<u32>; 2],
}

/// What a line of the screen shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Address of its first character.
    pub address: u32,
    /// Which line of the row it is.
    pub row_line: u32,
    /// Dots to leave out at the left.
    pub panning: u32,
}

impl Scan {
    /// The way through `height` rows of one line, without split or panning, `pitch` addresses apart.
    pub fn linear(height: u32, start: u32, pitch: u32) -> Self {
        Self {
            height,
            start,
            pitch,
            row_height: 1,
            doubled: false,
            first_row_line: 0,
            split: u32::MAX,
            panning: 0,
            panning_below: 0,
            start_below: 0,
            interleave: [None; 2],
        }
    }

    /// What the CRT controller's registers say.
    pub fn decode(registers: &Registers) -> Self {
        let at = |index: usize| u32::from(registers.crtc[index]);
        let bit = |index: usize, bit: u32, to: u32| (at(index) >> bit & 1) << to;
        let last_line = at(crtc::VERTICAL_DISPLAY_END) | bit(crtc::OVERFLOW, 1, 8) | bit(crtc::OVERFLOW, 6, 9);
        let line_compare = at(crtc::LINE_COMPARE) | bit(crtc::OVERFLOW, 4, 8) | bit(crtc::MAXIMUM_SCAN_LINE, 6, 9);
        let byte_panning = at(crtc::PRESET_ROW_SCAN) >> 5 & 3;
        let panning = panning(registers);
        let ends_at_split = registers.attribute[attribute::MODE] & 0x20 != 0;
        // Bit 13 of the byte address of CGA's odd lines, bit 14 for Hercules: in word mode the address is half of it.
        let word_mode = u32::from(at(crtc::MODE_CONTROL) & 0x40 == 0);
        let replaced = |bit: u32| (at(crtc::MODE_CONTROL) >> bit & 1 == 0).then_some(1 << (13 + bit - word_mode));
        let is_graphics = registers.graphics[graphics::MISCELLANEOUS] & 1 != 0;
        Self {
            height: last_line + 1,
            start: (at(crtc::START_ADDRESS_HIGH) << 8 | at(crtc::START_ADDRESS_LOW)) + byte_panning,
            pitch: at(crtc::OFFSET) * 2,
            row_height: (at(crtc::MAXIMUM_SCAN_LINE) & 0x1f) + 1,
            doubled: at(crtc::MAXIMUM_SCAN_LINE) & 0x80 != 0,
            first_row_line: at(crtc::PRESET_ROW_SCAN) & 0x1f,
            split: line_compare + 1,
            panning,
            panning_below: if ends_at_split { 0 } else { panning },
            start_below: if ends_at_split { 0 } else { byte_panning },
            interleave: if is_graphics { [replaced(0), replaced(1)] } else { [None; 2] },
        }
    }

    /// What line `y` of the screen shows.
    pub fn line(&self, y: u32) -> Line {
        let below = y.checked_sub(self.split);
        let (start, line, panning) = match below {
            Some(y) => (self.start_below, y >> u32::from(self.doubled), self.panning_below),
            None => (self.start, (y >> u32::from(self.doubled)) + self.first_row_line, self.panning),
        };
        let row_line = line % self.row_height;
        let mut address = start + line / self.row_height * self.pitch;
        for (bit, replaced) in self.interleave.iter().enumerate() {
            if let Some(replaced) = replaced {
                address = address & !replaced | if row_line >> bit & 1 != 0 { *replaced } else { 0 };
            }
        }
        Line { address, row_line, panning }
    }
}

/// How far the attribute controller moves the picture to the left, in dots.
fn panning(registers: &Registers) -> u32 {
    let value = u32::from(registers.attribute[attribute::PANNING]);
    let is_graphics = registers.graphics[graphics::MISCELLANEOUS] & 1 != 0;
    if !is_graphics && super::mode::has_nine_dots(registers) {
        // Nine dots: 8 stands for none, 0 to 7 for one to eight.
        return if value >= 8 { 0 } else { value + 1 };
    }
    value & 7
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_repeat_their_address_for_each_of_their_lines() {
        let scan = Scan { row_height: 16, ..Scan::linear(400, 80, 80) };

        assert_eq!(scan.line(0), Line { address: 80, row_line: 0, panning: 0 });
        assert_eq!(scan.line(31), Line { address: 160, row_line: 15, panning: 0 });
        assert_eq!(scan.line(399), Line { address: 80 + 24 * 80, row_line: 15, panning: 0 });
    }

    #[test]
    fn below_the_split_the_picture_begins_again_without_panning() {
        let scan = Scan { row_height: 2, split: 100, panning: 3, first_row_line: 1, ..Scan::linear(200, 1000, 40) };

        assert_eq!(scan.line(0), Line { address: 1000, row_line: 1, panning: 3 });
        assert_eq!(scan.line(1), Line { address: 1040, row_line: 0, panning: 3 });
        assert_eq!(scan.line(100), Line { address: 0, row_line: 0, panning: 0 });
        assert_eq!(scan.line(103), Line { address: 40, row_line: 1, panning: 0 });
    }

    #[test]
    fn doubled_lines_are_shown_twice() {
        let scan = Scan { doubled: true, row_height: 8, ..Scan::linear(400, 0, 40) };

        let lines = [0, 1, 2, 15, 16].map(|y| (scan.line(y).address, scan.line(y).row_line));

        assert_eq!(lines, [(0, 0), (0, 0), (0, 1), (0, 7), (40, 0)]);
    }

    #[test]
    fn cga_puts_odd_lines_8_kib_further() {
        let mut registers = Registers::default();
        registers.graphics[graphics::MISCELLANEOUS] = 0x0f;
        registers.crtc[crtc::MODE_CONTROL] = 0xa2;
        registers.crtc[crtc::MAXIMUM_SCAN_LINE] = 0x01;
        registers.crtc[crtc::OFFSET] = 20;
        registers.crtc[crtc::LINE_COMPARE] = 0xff;

        let word = Scan::decode(&registers);
        registers.crtc[crtc::MODE_CONTROL] = 0xc2;
        let byte = Scan::decode(&registers);

        assert_eq!([0, 1, 2, 3].map(|y| word.line(y).address), [0, 0x1000, 40, 0x1000 + 40]);
        assert_eq!([0, 1, 2, 3].map(|y| byte.line(y).address), [0, 0x2000, 40, 0x2000 + 40]);
    }

    #[test]
    fn nine_dots_count_panning_from_eight() {
        let mut registers = Registers::default();
        registers.attribute[attribute::PANNING] = 8;
        assert_eq!(Scan::decode(&registers).panning, 0);
        registers.attribute[attribute::PANNING] = 0;
        assert_eq!(Scan::decode(&registers).panning, 1);
        registers.sequencer[1] = 1;
        assert_eq!(Scan::decode(&registers).panning, 0);
    }
}
