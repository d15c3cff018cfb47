//! The transceiver (PHY) behind MDIC: what a driver asks a Marvell 88E1011 for. It has negotiated 1000 Mbit/s when the cable is
//! plugged in (manual, section 8.10; IEEE 802.3, clause 22).

use serde::{Deserialize, Serialize};

/// Fields of MDIC.
const DATA: u32 = 0xffff;
const REGISTER_SHIFT: u32 = 16;
const PHY_SHIFT: u32 = 21;
const WRITE: u32 = 1 << 26;
const READ: u32 = 2 << 26;
const OPERATION: u32 = 3 << 26;
const READY: u32 = 1 << 28;
const INTERRUPT: u32 = 1 << 29;
const ERROR: u32 = 1 << 30;
/// The only PHY's address.
const ADDRESS: u32 = 1;

const CONTROL: usize = 0;
const STATUS: usize = 1;
const ID: [usize; 2] = [2, 3];
const ADVERTISED: usize = 4;
const PARTNER: usize = 5;
const GIGABIT_CONTROL: usize = 9;
const GIGABIT_STATUS: usize = 10;
const SPECIFIC_CONTROL: usize = 16;
const SPECIFIC_STATUS: usize = 17;
const EXTENDED_CONTROL: usize = 20;
const REGISTERS: usize = 32;

/// Autonegotiation, full duplex, 1000 Mbit/s.
const CONTROL_DEFAULT: u16 = 0x1140;
/// Resets itself, and negotiates anew: both are done at once.
const CONTROL_MOMENTARY: u16 = 1 << 15 | 1 << 9;
/// All speeds over copper, extended registers, can negotiate.
const STATUS_ABLE: u16 = 0x7949;
/// The link is up, the negotiation is complete.
const STATUS_LINK: u16 = 1 << 2 | 1 << 5;
/// The partner can do 10 and 100 Mbit/s and pauses.
const PARTNER_ABLE: u16 = 0x45e1;
/// The partner can do 1000 Mbit/s, both receivers are fine.
const GIGABIT_LINK: u16 = 0x3c00;
/// 1000 Mbit/s, full duplex, resolved, link.
const SPECIFIC_LINK: u16 = 0xac00;

/// What software has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phy {
    registers: Vec<u16>,
}

impl Default for Phy {
    fn default() -> Self {
        let mut registers = vec![0; REGISTERS];
        for (register, value) in [
            (CONTROL, CONTROL_DEFAULT),
            (ADVERTISED, 0x0de1),
            (GIGABIT_CONTROL, 0x0e00),
            (SPECIFIC_CONTROL, 0x0068),
            (EXTENDED_CONTROL, 0x0d60),
        ] {
            if let Some(place) = registers.get_mut(register) {
                *place = value;
            }
        }
        Self { registers }
    }
}

impl Phy {
    /// What MDIC reads as after `value` was written to it, and whether it is to interrupt.
    pub fn command(&mut self, value: u32, link: bool) -> (u32, bool) {
        let register = (value >> REGISTER_SHIFT & 0x1f) as usize;
        let wants_interrupt = value & INTERRUPT != 0;
        let answer = match value & OPERATION {
            _ if value >> PHY_SHIFT & 0x1f != ADDRESS => value | ERROR,
            READ => value & !DATA | u32::from(self.read(register, link)),
            WRITE => {
                self.write(register, (value & DATA) as u16);
                value
            }
            _ => value | ERROR,
        };
        (answer | READY, wants_interrupt)
    }

    fn read(&self, register: usize, link: bool) -> u16 {
        let when_up = |value| if link { value } else { 0 };
        match register {
            STATUS => STATUS_ABLE | when_up(STATUS_LINK),
            register if register == ID[0] => 0x0141,
            register if register == ID[1] => 0x0c20,
            PARTNER => when_up(PARTNER_ABLE),
            GIGABIT_STATUS => when_up(GIGABIT_LINK),
            SPECIFIC_STATUS => when_up(SPECIFIC_LINK),
            _ => self.registers.get(register).copied().unwrap_or(0),
        }
    }

    fn write(&mut self, register: usize, value: u16) {
        if !matches!(register, CONTROL | ADVERTISED | GIGABIT_CONTROL | SPECIFIC_CONTROL | EXTENDED_CONTROL) {
            return;
        }
        if let Some(place) = self.registers.get_mut(register) {
            *place = if register == CONTROL { value & !CONTROL_MOMENTARY } else { value };
        }
    }

    /// Whether a saved state can be one.
    pub fn is_possible(&self) -> bool {
        self.registers.len() == REGISTERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(phy: &mut Phy, register: u32, link: bool) -> u16 {
        let (answer, _) = phy.command(READ | ADDRESS << PHY_SHIFT | register << REGISTER_SHIFT, link);
        assert_eq!(answer & (READY | ERROR), READY);
        answer as u16
    }

    #[test]
    fn the_link_shows_in_every_register_that_tells_of_it() {
        let mut phy = Phy::default();

        let up = [1, 5, 10, 17].map(|register| read(&mut phy, register, true));
        let down = [1, 5, 10, 17].map(|register| read(&mut phy, register, false));

        assert_eq!(up, [0x796d, 0x45e1, 0x3c00, 0xac00]);
        assert_eq!(down, [0x7949, 0, 0, 0]);
        assert_eq!([2, 3].map(|register| read(&mut phy, register, true)), [0x0141, 0x0c20]);
    }

    #[test]
    fn a_reset_of_the_phy_is_over_at_once_and_others_do_not_answer() {
        let mut phy = Phy::default();

        let (answer, interrupt) = phy.command(WRITE | ADDRESS << PHY_SHIFT | INTERRUPT | 0x9340, true);

        assert!(interrupt && answer & READY != 0);
        assert_eq!(read(&mut phy, 0, true), 0x1140);
        assert_ne!(phy.command(READ | 2 << PHY_SHIFT, true).0 & ERROR, 0);
        assert_ne!(phy.command(3 << 26 | 1 << PHY_SHIFT, true).0 & ERROR, 0);
    }
}
