//! A 16550A serial port: `PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs`, National Semiconductor, 1995.
//!
//! The registers are vm-superio's. Around them: the interrupt identification register with one cause at a time in the order of
//! their priority, the FIFO control register, and a queue behind the receive FIFO, so that a host may send faster than a guest
//! reads.

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vm_superio::{
    Trigger,
    serial::{NoEvents, SerialState as Registers},
};
use vmm_sys_util::eventfd::EventFd;

use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    interrupt::Interrupt,
};

/// Ports that a serial port takes up.
pub const PORTS: u64 = 8;

/// Bytes that wait behind the FIFO for a guest that does not read.
const BACKLOG: usize = 64 * 1024;

const STATE_VERSION: u32 = 1;

const DATA: u8 = 0;
const INTERRUPT_ENABLE: u8 = 1;
/// Read: interrupt identification. Write: FIFO control.
const IDENTIFICATION: u8 = 2;
const LINE_CONTROL: u8 = 3;
const MODEM_CONTROL: u8 = 4;
const LINE_STATUS: u8 = 5;

const ENABLE_RECEIVED: u8 = 1 << 0;
const ENABLE_TRANSMIT_EMPTY: u8 = 1 << 1;
const ID_NONE: u8 = 0b0001;
const ID_TRANSMIT_EMPTY: u8 = 0b0010;
const ID_RECEIVED: u8 = 0b0100;
const ID_FIFOS: u8 = 0b1100_0000;
const FIFO_ENABLE: u8 = 1 << 0;
const FIFO_CLEAR_RECEIVER: u8 = 1 << 1;
const DIVISOR_LATCH: u8 = 1 << 7;
const LOOPBACK: u8 = 1 << 4;
const DATA_READY: u8 = 1 << 0;

/// Where a serial port sends what the guest writes.
pub trait SerialOutput: Send {
    /// Takes the guest's bytes. Never blocks, since it is called by a vCPU.
    fn write(&mut self, bytes: &[u8]);
}

/// The way into a serial port.
pub trait SerialInput: Send + Sync {
    /// Hands bytes to the guest and returns how many were taken; the queue is bounded, since a guest need not read.
    fn enqueue(&self, bytes: &[u8]) -> usize;

    /// Becomes readable when there is room again after an [`SerialInput::enqueue`] that could not take everything.
    fn room(&self) -> &EventFd;
}

/// A serial port on eight ports.
pub struct Serial {
    label: String,
    shared: Arc<Shared>,
}

struct Shared {
    room: EventFd,
    uart: Mutex<Uart>,
}

struct Uart {
    // Wiring
    interrupt: Interrupt,
    output: Box<dyn SerialOutput>,
    // Volatile state
    registers: vm_superio::Serial<Edge, NoEvents, Vec<u8>>,
    fifos_enabled: bool,
    /// The transmitter has become empty and the guest has not been told yet.
    transmit_empty: bool,
    backlog: VecDeque<u8>,
    /// Somebody waits for room in the backlog.
    room_wanted: bool,
}

/// The interrupt line as vm-superio drives it: an edge for each new cause.
struct Edge(Interrupt);

impl Trigger for Edge {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.pulse();
        Ok(())
    }
}

impl Serial {
    /// A port named `label` that interrupts by `interrupt` and sends to `output`.
    pub fn new(label: &str, interrupt: Interrupt, output: Box<dyn SerialOutput>) -> std::io::Result<Self> {
        let uart = Uart {
            registers: vm_superio::Serial::new(Edge(interrupt.clone()), Vec::new()),
            interrupt,
            output,
            fifos_enabled: false,
            transmit_empty: false,
            backlog: VecDeque::new(),
            room_wanted: false,
        };
        let room = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
        Ok(Self { label: label.to_owned(), shared: Arc::new(Shared { room, uart: Mutex::new(uart) }) })
    }

    /// The way in.
    pub fn input(&self) -> Arc<dyn SerialInput> {
        self.shared.clone()
    }
}

impl Shared {
    fn uart(&self) -> MutexGuard<'_, Uart> {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what waits into the FIFO and tells whoever waits for room once half of the backlog is free: not for every byte.
    fn refill(&self, uart: &mut Uart) {
        uart.refill();
        if uart.room_wanted && uart.backlog.len() <= BACKLOG / 2 {
            uart.room_wanted = false;
            // The counter cannot overflow: it grows once for each time that someone has found the backlog full.
            let _ = self.room.write(1);
        }
    }
}

impl SerialInput for Shared {
    fn enqueue(&self, bytes: &[u8]) -> usize {
        let mut uart = self.uart();
        let taken = bytes.len().min(BACKLOG - uart.backlog.len().min(BACKLOG));
        uart.backlog.extend(bytes.iter().take(taken));
        uart.room_wanted |= taken < bytes.len();
        self.refill(&mut uart);
        taken
    }

    fn room(&self) -> &EventFd {
        &self.room
    }
}

impl Uart {
    fn read(&mut self, offset: u8) -> u8 {
        match offset {
            IDENTIFICATION => self.identify(),
            offset => self.registers.read(offset),
        }
    }

    fn write(&mut self, offset: u8, value: u8) {
        if offset == IDENTIFICATION {
            return self.control_fifos(value);
        }
        // Writing to a Vec and pulsing a line cannot fail, and that is all that can.
        let _ = self.registers.write(offset, value);
        if !self.registers.writer().is_empty() {
            self.output.write(self.registers.writer());
            self.registers.writer_mut().clear();
        }
    }

    /// The cause of highest priority (table 4 of the data sheet). Only the transmitter's is cleared by being read; vm-superio
    /// would report both at once, which means a line error, and forget both.
    fn identify(&mut self) -> u8 {
        self.transmit_empty |= self.registers.read(IDENTIFICATION) & (ID_NONE | ID_TRANSMIT_EMPTY) == ID_TRANSMIT_EMPTY;
        let enabled = self.without_latch(|registers| registers.read(INTERRUPT_ENABLE));
        let received = self.registers.read(LINE_STATUS) & DATA_READY != 0;
        let cause = if received && enabled & ENABLE_RECEIVED != 0 {
            ID_RECEIVED
        } else if enabled & ENABLE_TRANSMIT_EMPTY != 0 && std::mem::take(&mut self.transmit_empty) {
            ID_TRANSMIT_EMPTY
        } else {
            ID_NONE
        };
        cause | if self.fifos_enabled { ID_FIFOS } else { 0 }
    }

    fn control_fifos(&mut self, value: u8) {
        let enabled = value & FIFO_ENABLE != 0;
        // A change of the mode clears the FIFOs too.
        if value & FIFO_CLEAR_RECEIVER != 0 || enabled != self.fifos_enabled {
            self.without_latch(|registers| {
                while registers.read(LINE_STATUS) & DATA_READY != 0 {
                    registers.read(DATA);
                }
            });
        }
        self.fifos_enabled = enabled;
    }

    /// Calls `access` with the divisor latch switched off, which otherwise hides two registers.
    fn without_latch<R>(&mut self, access: impl FnOnce(&mut vm_superio::Serial<Edge, NoEvents, Vec<u8>>) -> R) -> R {
        let control = self.registers.read(LINE_CONTROL);
        let _ = self.registers.write(LINE_CONTROL, control & !DIVISOR_LATCH);
        let result = access(&mut self.registers);
        let _ = self.registers.write(LINE_CONTROL, control);
        result
    }

    fn refill(&mut self) {
        // In loopback mode the receiver is connected to the transmitter and nothing else.
        if self.registers.read(MODEM_CONTROL) & LOOPBACK != 0 {
            return;
        }
        let count = self.registers.fifo_capacity().min(self.backlog.len());
        if count > 0 {
            let bytes: Vec<u8> = self.backlog.drain(..count).collect();
            // There is room for them, and the interrupt cannot fail.
            let _ = self.registers.enqueue_raw_bytes(&bytes);
        }
    }

    fn load(&mut self, registers: &Registers) -> Result<(), String> {
        self.registers = vm_superio::Serial::from_state(registers, Edge(self.interrupt.clone()), NoEvents, Vec::new())
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Device for Serial {
    fn label(&self) -> &str {
        &self.label
    }

    fn read(&mut self, _region: usize, offset: u64, data: &mut [u8]) {
        let mut uart = self.shared.uart();
        // A wider access is one access to each port, as the bus of such a chip does it.
        for (offset, byte) in (0..).zip(data).map(|(step, byte)| (offset.saturating_add(step), byte)) {
            *byte = if offset < PORTS { uart.read(offset as u8) } else { 0xff };
        }
        self.shared.refill(&mut uart);
    }

    fn write(&mut self, _region: usize, offset: u64, data: &[u8]) {
        let mut uart = self.shared.uart();
        for (offset, &byte) in (0..).zip(data).map(|(step, byte)| (offset.saturating_add(step), byte)) {
            if offset < PORTS {
                uart.write(offset as u8, byte);
            }
        }
        self.shared.refill(&mut uart);
    }

    /// The bytes that wait behind the FIFO are the host's and stay.
    fn reset(&mut self) {
        let mut uart = self.shared.uart();
        let _ = uart.load(&Registers::default());
        uart.fifos_enabled = false;
        uart.transmit_empty = false;
        self.shared.refill(&mut uart);
    }

    fn save(&self) -> Result<Value, StateError> {
        let uart = self.shared.uart();
        let registers = uart.registers.state();
        save_state(
            &self.label,
            STATE_VERSION,
            State {
                divisor: u16::from_le_bytes([registers.baud_divisor_low, registers.baud_divisor_high]),
                interrupt_enable: registers.interrupt_enable,
                interrupt_identification: registers.interrupt_identification,
                line_control: registers.line_control,
                line_status: registers.line_status,
                modem_control: registers.modem_control,
                modem_status: registers.modem_status,
                scratch: registers.scratch,
                fifo: registers.in_buffer,
                fifos_enabled: uart.fifos_enabled,
                transmit_empty: uart.transmit_empty,
                backlog: uart.backlog.iter().copied().collect(),
            },
        )
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let state: State = restore_state(&self.label, STATE_VERSION, state)?;
        if state.backlog.len() > BACKLOG {
            return Err(StateError::damaged(&self.label, "too many bytes wait for the guest"));
        }
        if (state.line_status & DATA_READY != 0) == state.fifo.is_empty() {
            return Err(StateError::damaged(&self.label, "the line status contradicts the FIFO"));
        }
        let [baud_divisor_low, baud_divisor_high] = state.divisor.to_le_bytes();
        let registers = Registers {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.fifo,
        };
        let mut uart = self.shared.uart();
        uart.load(&registers).map_err(|error| StateError::damaged(&self.label, error))?;
        uart.fifos_enabled = state.fifos_enabled;
        uart.transmit_empty = state.transmit_empty;
        uart.backlog = state.backlog.into();
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    divisor: u16,
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    fifo: Vec<u8>,
    fifos_enabled: bool,
    transmit_empty: bool,
    backlog: Vec<u8>,
}

#[cfg(test)]
mod tests;
