//! The ISA bridge 82371SB (PIIX3): the routing of PCI interrupts to the lines of the legacy controllers
//! (Intel 82371SB datasheet, section 2.2). The controllers themselves and their ELCR are KVM's.

#![forbid(unsafe_code)]

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    PciAddress, PciFunction,
    configuration::{ConfigSpace, ConfigState},
};
use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    interrupt::{Interrupt, InterruptLine},
};

/// Where the ISA bridge is.
pub const ISA_BRIDGE: PciAddress = PciAddress::new(1, 0);

const LABEL: &str = "piix3";
const STATE_VERSION: u32 = 1;

/// PIRQs, and the registers that route them.
const PIRQS: usize = 4;
const PIRQ_ROUTES: u16 = 0x60;
/// The PIRQ is routed nowhere.
const ROUTE_DISABLED: u8 = 0x80;
/// ISA interrupt lines.
const IRQS: usize = 16;

/// The wiring from the interrupt pins of PCI functions over PIRQA to PIRQD to the ISA lines.
pub struct PirqRouter {
    lines: [Interrupt; IRQS],
    state: Mutex<RouterState>,
}

struct RouterState {
    routes: [u8; PIRQS],
    /// Pins that pull each PIRQ now.
    pulling: [u32; PIRQS],
    /// The lines that are held high, one bit each.
    high: u16,
}

impl PirqRouter {
    /// A router to `lines` (by their numbers), routing nothing yet.
    pub fn new(lines: [Interrupt; IRQS]) -> Arc<Self> {
        let state = RouterState { routes: [ROUTE_DISABLED; PIRQS], pulling: [0; PIRQS], high: 0 };
        Arc::new(Self { lines, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, RouterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The input for pin `pin` (0 is INTA) of slot `slot`.
    pub fn input(self: &Arc<Self>, slot: u8, pin: u8) -> Interrupt {
        let pirq = usize::from(slot.wrapping_add(pin).wrapping_sub(1)) % PIRQS;
        Arc::new(Input { router: self.clone(), pirq, high: AtomicBool::new(false) })
    }

    /// Routes PIRQA to PIRQD as the bridge's registers say.
    pub fn set_routes(&self, routes: [u8; PIRQS]) {
        let mut state = self.state();
        state.routes = routes;
        self.drive(&mut state);
    }

    /// Drives the lines as the pins and the routes demand.
    fn drive(&self, state: &mut RouterState) {
        let mut high = 0u16;
        for (&route, &pulling) in state.routes.iter().zip(&state.pulling) {
            if pulling > 0 && usize::from(route) < IRQS {
                high |= 1 << route;
            }
        }
        for (irq, line) in self.lines.iter().enumerate() {
            if (high ^ state.high) >> irq & 1 != 0 {
                line.set_level(high >> irq & 1 != 0);
            }
        }
        state.high = high;
    }
}

/// A function's end of the wiring.
struct Input {
    router: Arc<PirqRouter>,
    pirq: usize,
    high: AtomicBool,
}

impl InterruptLine for Input {
    fn set_level(&self, high: bool) {
        let mut state = self.router.state();
        if self.high.swap(high, Ordering::AcqRel) != high {
            let pulling = &mut state.pulling[self.pirq];
            *pulling = if high { *pulling + 1 } else { *pulling - 1 };
            self.router.drive(&mut state);
        }
    }
}

/// The ISA bridge's function.
pub struct Piix3 {
    // Wiring
    router: Arc<PirqRouter>,
    // Volatile state
    config: ConfigSpace,
}

impl Piix3 {
    /// The bridge, programming `router`.
    pub fn new(router: Arc<PirqRouter>) -> Self {
        let mut config = ConfigSpace::builder(0x8086, 0x7000)
            .class(0x06, 0x01, 0x00)
            .subsystem(0x1af4, 0x1100)
            .multifunction()
            .build();
        // X-bus chip select, top of memory, and the registers that DMA and APM software sets: nothing here depends on them.
        config.fix(0x4c, &[0x4d]);
        config.fix(0x4e, &[0x03, 0x00]);
        config.fix(0x69, &[0x02]);
        for register in [0x4c, 0x4e, 0x4f, 0x69, 0x6a, 0x70, 0x71, 0x76, 0x77, 0x82] {
            config.allow(register, &[0xff]);
        }
        config.fix(PIRQ_ROUTES.into(), &[ROUTE_DISABLED; PIRQS]);
        config.allow(PIRQ_ROUTES.into(), &[0xff; PIRQS]);
        Self { router, config }
    }

    fn route(&self) {
        self.router.set_routes(self.config.u32(PIRQ_ROUTES).to_le_bytes());
    }
}

impl Device for Piix3 {
    fn label(&self) -> &str {
        LABEL
    }

    fn read(&mut self, _region: usize, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&mut self, _region: usize, _offset: u64, _data: &[u8]) {}

    fn reset(&mut self) {
        self.config.reset();
        self.route();
    }

    fn save(&self) -> Result<Value, StateError> {
        save_state(LABEL, STATE_VERSION, State { config: self.config.save() })
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: State = restore_state(LABEL, STATE_VERSION, state)?;
        self.config.restore(LABEL, &state.config)?;
        self.route();
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    config: ConfigState,
}

impl PciFunction for Piix3 {
    fn config(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn config_written(&mut self, offset: u16, len: u8) {
        if ConfigSpace::touches(offset, len, PIRQ_ROUTES..PIRQ_ROUTES + PIRQS as u16) {
            self.route();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::{
        interrupt::testing::FakeLine,
        pci::{PIRQ_INTERRUPTS, slot_interrupt},
    };

    fn router() -> (Arc<PirqRouter>, Vec<Arc<FakeLine>>) {
        let lines: Vec<_> = (0..IRQS).map(|_| Arc::new(FakeLine::default())).collect();
        (PirqRouter::new(std::array::from_fn(|irq| lines[irq].clone() as Interrupt)), lines)
    }

    /// The lines that are high, one bit each.
    fn high(lines: &[Arc<FakeLine>]) -> u16 {
        (0..IRQS).map(|irq| u16::from(lines[irq].is_high()) << irq).sum()
    }

    fn write(bridge: &mut Piix3, offset: u16, data: &[u8]) {
        bridge.config_mut().write(offset, data);
        bridge.config_written(offset, data.len() as u8);
    }

    #[test]
    fn pins_reach_the_lines_that_the_bridge_routes_them_to() {
        let (router, lines) = router();
        let mut bridge = Piix3::new(router.clone());
        write(&mut bridge, PIRQ_ROUTES, &PIRQ_INTERRUPTS);

        for slot in 0..8 {
            for pin in 0..4 {
                let input = router.input(slot, pin);
                input.set_level(true);
                assert_eq!(high(&lines), 1 << slot_interrupt(slot, pin), "slot {slot} pin {pin}");
                input.set_level(false);
                assert_eq!(high(&lines), 0);
            }
        }
    }

    #[test]
    fn a_line_stays_high_while_any_pin_pulls_it() {
        let (router, lines) = router();
        router.set_routes([10, 10, 11, 11]);
        let (one, other) = (router.input(1, 0), router.input(2, 0));

        one.set_level(true);
        other.set_level(true);
        one.set_level(false);
        one.set_level(false);
        let held = high(&lines);
        other.set_level(false);

        assert_eq!(held, 1 << 10);
        assert_eq!(high(&lines), 0);
    }

    #[test]
    fn a_pulled_pin_moves_with_its_route() {
        let (router, lines) = router();
        let mut bridge = Piix3::new(router.clone());
        let input = router.input(1, 0);
        input.set_level(true);
        let before = high(&lines);

        write(&mut bridge, PIRQ_ROUTES, &[11]);
        let routed = high(&lines);
        write(&mut bridge, PIRQ_ROUTES, &[5]);
        let moved = high(&lines);
        write(&mut bridge, PIRQ_ROUTES, &[ROUTE_DISABLED | 5]);

        assert_eq!((before, routed, moved, high(&lines)), (0, 1 << 11, 1 << 5, 0));
    }

    #[test]
    fn a_route_to_no_line_is_harmless() {
        let (router, lines) = router();
        router.input(1, 0).set_level(true);

        router.set_routes([0x7f; 4]);

        assert_eq!(high(&lines), 0);
    }

    #[test]
    fn a_restored_bridge_routes_again() {
        let (router, lines) = router();
        let mut bridge = Piix3::new(router.clone());
        write(&mut bridge, PIRQ_ROUTES, &PIRQ_INTERRUPTS);
        let state = bridge.save().unwrap();
        bridge.reset();
        router.input(1, 0).set_level(true);
        let reset = high(&lines);

        bridge.restore(state.clone()).unwrap();

        assert_eq!(reset, 0);
        assert_eq!(high(&lines), 1 << 10);
        assert_eq!(bridge.save().unwrap(), state);
    }
}
