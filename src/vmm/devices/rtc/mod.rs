//! The real-time clock and its CMOS memory: Motorola MC146818A data sheet; the memory's use as in SeaBIOS.
//!
//! Region 0 is two ports: the index (0x70) and the data (0x71). The clock is the host's with an offset that the guest sets.
//! Flags are worked out when the guest looks. Only while the guest has an interrupt enabled, and has served the last one, does a
//! timer of the host run for it: an idle guest costs nothing.

#![forbid(unsafe_code)]

mod calendar;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::calendar::Calendar;
use super::timer::Timer;
use crate::vmm::{
    device::{Device, StateError, restore_state, save_state},
    interrupt::Interrupt,
};

const STATE_VERSION: u32 = 1;

/// Bytes behind the index port; its highest bit masks the NMI and is no part of the index.
const SIZE: usize = 128;
const INDEX_MASK: u8 = 0x7f;

const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const STATUS_C: u8 = 0x0c;
const STATUS_D: u8 = 0x0d;
const CENTURY: u8 = 0x32;
/// Where the PS/2 had the century.
const CENTURY_PS2: u8 = 0x37;

const A_UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// A 32,768 Hz crystal, and interrupts at 1,024 Hz when they are enabled.
const A_POWER_ON: u8 = 0x26;
const A_RATE: u8 = 0x0f;
const B_SET: u8 = 1 << 7;
const B_24_HOURS: u8 = 1 << 1;
const B_BINARY: u8 = 1 << 2;
const C_INTERRUPT: u8 = 1 << 7;
const PERIODIC: u8 = 1 << 6;
const ALARM: u8 = 1 << 5;
const UPDATE: u8 = 1 << 4;
const D_VALID: u8 = 1 << 7;
const HOUR_AFTERNOON: u8 = 1 << 7;

const NANOS: i128 = 1_000_000_000;
/// How long before the seconds change the chip says that it is at it.
const UPDATE_WARNING: i128 = 244_000;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// What the firmware learns from the CMOS memory.
#[derive(Debug, Clone, Copy)]
pub struct CmosContents {
    /// Bytes of RAM below 4 GiB.
    pub memory_below_4g: u64,
    /// Bytes of RAM above 4 GiB.
    pub memory_above_4g: u64,
    /// vCPUs that the firmware waits for.
    pub vcpus: u32,
    /// What the guest's clock is ahead of UTC when it is made, in seconds.
    pub utc_offset: i64,
}

impl CmosContents {
    fn bytes(&self) -> [u8; SIZE] {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let mut bytes = [0; SIZE];
        let mut put = |index: usize, value: u64, width: usize| {
            let limit = (1u64 << (8 * width)) - 1;
            bytes[index..index + width].copy_from_slice(&value.min(limit).to_le_bytes()[..width]);
        };
        // Equipment: a mathematical coprocessor and a PS/2 mouse.
        put(0x14, 0x06, 1);
        // Memory: below 1 MiB, above it (twice), above 16 MiB and above 4 GiB.
        put(0x15, 640, 2);
        put(0x17, self.memory_below_4g.saturating_sub(MIB) / KIB, 2);
        put(0x30, self.memory_below_4g.saturating_sub(MIB) / KIB, 2);
        put(0x34, self.memory_below_4g.saturating_sub(16 * MIB) / (64 * KIB), 2);
        put(0x5b, self.memory_above_4g / (64 * KIB), 3);
        put(0x5f, u64::from(self.vcpus.saturating_sub(1)), 1);
        // Boot from a disk, else a CD, else the network, without a look at floppies; `bootorder` in fw_cfg goes before it.
        put(0x3d, 0x32, 1);
        put(0x38, 0x41, 1);
        bytes[usize::from(STATUS_A)] = A_POWER_ON;
        bytes[usize::from(STATUS_B)] = B_24_HOURS;
        bytes[usize::from(STATUS_D)] = D_VALID;
        bytes
    }
}

/// The clock with its memory.
pub struct Rtc {
    shared: Arc<Shared>,
}

type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

struct Shared {
    // Fixed configuration
    contents: [u8; SIZE],
    // Wiring
    interrupt: Interrupt,
    clock: Clock,
    timer: Timer,
    // Volatile state
    inner: Mutex<Inner>,
}

struct Inner {
    running: bool,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    index: u8,
    /// Every register and the memory. Time and date in it count only while the guest holds the clock (SET).
    bytes: Vec<u8>,
    /// What the guest's clock is ahead of the host's, in seconds.
    offset: i64,
    /// The guest's time up to which the flags are worked out, in nanoseconds since 1970.
    seen: i128,
}

impl Rtc {
    /// A clock that interrupts by `interrupt` (IRQ 8).
    pub fn new(interrupt: Interrupt, contents: CmosContents) -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::with_clock(interrupt, contents, Box::new(clock))
    }

    fn with_clock(interrupt: Interrupt, contents: CmosContents, clock: Clock) -> Self {
        let bytes = contents.bytes();
        let mut state = State { index: 0, bytes: bytes.to_vec(), offset: contents.utc_offset, seen: 0 };
        state.seen = state.now(clock());
        let shared = Arc::new_cyclic(|shared: &Weak<Shared>| {
            let shared = shared.clone();
            let expired = move || {
                if let Some(shared) = shared.upgrade() {
                    shared.settle(&mut shared.lock());
                }
            };
            let timer = Timer::new("rtc", expired);
            Shared { contents: bytes, interrupt, clock, timer, inner: Mutex::new(Inner { running: false, state }) }
        });
        Self { shared }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works out the flags up to now, drives the line and plans the next look.
    fn settle(&self, inner: &mut Inner) {
        let now = inner.state.now((self.clock)());
        inner.state.advance(now);
        self.interrupt.set_level(inner.state.register(STATUS_C) & C_INTERRUPT != 0);
        let next = if inner.running { inner.state.next_interrupt(now) } else { None };
        match next.and_then(|at| u64::try_from(at - now).ok()) {
            Some(nanos) => {
                if let Err(error) = self.timer.arm(Instant::now() + Duration::from_nanos(nanos)) {
                    tracing::error!(%error, "the clock has no timer. The guest will miss its interrupts");
                }
            }
            None => self.timer.disarm(),
        }
    }
}

impl State {
    fn register(&self, index: u8) -> u8 {
        self.bytes.get(usize::from(index)).copied().unwrap_or(0xff)
    }

    fn set_register(&mut self, index: u8, value: u8) {
        if let Some(register) = self.bytes.get_mut(usize::from(index)) {
            *register = value;
        }
    }

    /// The guest's time in nanoseconds since 1970, when it is `host` on the host.
    fn now(&self, host: Duration) -> i128 {
        i128::try_from(host.as_nanos()).unwrap_or(i128::MAX / 2) + i128::from(self.offset) * NANOS
    }

    fn held(&self) -> bool {
        self.register(STATUS_B) & B_SET != 0
    }

    /// The time between two periodic interrupts in nanoseconds.
    fn period(&self) -> Option<i128> {
        // The two fastest rates are those of a crystal that nobody uses; this one makes 256 and 128 Hz of them.
        let shift = match self.register(STATUS_A) & A_RATE {
            0 => return None,
            rate @ 1..=2 => rate + 6,
            rate => rate - 1,
        };
        Some((NANOS << shift) / 32_768)
    }

    /// Sets the flags of everything that has happened since the last look.
    fn advance(&mut self, now: i128) {
        let (seen, now) = (self.seen, now.max(self.seen));
        let mut flags = self.register(STATUS_C);
        if self.period().is_some_and(|period| seen.div_euclid(period) != now.div_euclid(period)) {
            flags |= PERIODIC;
        }
        let (from, to) = (seconds(seen), seconds(now));
        if !self.held() && from != to {
            flags |= UPDATE;
            if self.next_alarm(from).is_some_and(|alarm| alarm <= to) {
                flags |= ALARM;
            }
        }
        self.seen = now;
        if flags & self.register(STATUS_B) & (PERIODIC | ALARM | UPDATE) != 0 {
            flags |= C_INTERRUPT;
        }
        self.set_register(STATUS_C, flags);
    }

    /// When the next interrupt is due that is enabled and not pending yet.
    fn next_interrupt(&self, now: i128) -> Option<i128> {
        let waited_for = self.register(STATUS_B) & !self.register(STATUS_C);
        let second = seconds(now);
        let periodic = self.period().map(|period| (now.div_euclid(period) + 1) * period);
        let update = (!self.held()).then_some(second + 1);
        let alarm = if self.held() || waited_for & ALARM == 0 { None } else { self.next_alarm(second) };
        [
            periodic.filter(|_| waited_for & PERIODIC != 0),
            update.filter(|_| waited_for & UPDATE != 0).map(|at| i128::from(at) * NANOS),
            alarm.map(|at| i128::from(at) * NANOS),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The first second after `after` at which the alarm goes off. Fields above 0xC0 match everything.
    fn next_alarm(&self, after: i64) -> Option<i64> {
        let wanted = |index: u8, decode: fn(&Self, u8) -> u8| {
            let value = self.register(index);
            (value < 0xc0).then(|| decode(self, value))
        };
        let second = wanted(SECONDS_ALARM, Self::decode);
        let minute = wanted(MINUTES_ALARM, Self::decode);
        // An afternoon hour of the 12 hour clock has its highest bit set, but only the two highest together are a wildcard.
        let hour = wanted(HOURS_ALARM, Self::decode_hour);
        let matches = |wanted: Option<u8>, field: i64| wanted.is_none_or(|wanted| i64::from(wanted) == field);
        (1..=DAY_SECONDS).map(|step| after.saturating_add(step)).find(|moment| {
            matches(second, moment.rem_euclid(60))
                && matches(minute, moment.div_euclid(60).rem_euclid(60))
                && matches(hour, moment.div_euclid(3600).rem_euclid(24))
        })
    }

    fn read(&mut self, now: i128) -> u8 {
        match self.index {
            SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY | CENTURY_PS2 => {
                if !self.held() {
                    self.show(now);
                }
                self.register(self.index)
            }
            STATUS_A => {
                let updating = !self.held() && now.rem_euclid(NANOS) >= NANOS - UPDATE_WARNING;
                self.register(STATUS_A) | if updating { A_UPDATE_IN_PROGRESS } else { 0 }
            }
            STATUS_C => {
                let flags = self.register(STATUS_C);
                self.set_register(STATUS_C, 0);
                flags
            }
            index => self.register(index),
        }
    }

    fn write(&mut self, value: u8, now: i128) {
        match self.index {
            SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY | CENTURY_PS2 => {
                if self.held() {
                    self.set_time_register(value);
                } else {
                    self.show(now);
                    self.set_time_register(value);
                    self.set_clock(now);
                }
            }
            STATUS_A => self.set_register(STATUS_A, value & !A_UPDATE_IN_PROGRESS),
            STATUS_B => {
                let was_held = self.held();
                if !was_held && value & B_SET != 0 {
                    self.show(now);
                }
                // While the clock is held its update interrupt is off.
                self.set_register(STATUS_B, if value & B_SET != 0 { value & !UPDATE } else { value });
                if was_held && !self.held() {
                    self.set_clock(now);
                }
            }
            STATUS_C | STATUS_D => {}
            index => self.set_register(index, value),
        }
    }

    fn set_time_register(&mut self, value: u8) {
        self.set_register(self.index, value);
        // The two centuries are one.
        if matches!(self.index, CENTURY | CENTURY_PS2) {
            self.set_register(CENTURY, value);
            self.set_register(CENTURY_PS2, value);
        }
    }

    /// Puts the time `now` into the registers.
    fn show(&mut self, now: i128) {
        let moment = Calendar::from_seconds(seconds(now));
        let year = moment.year.rem_euclid(10_000);
        let hour = match (self.register(STATUS_B) & B_24_HOURS != 0, moment.hour) {
            (true, hour) => self.encode(hour),
            (false, 0) => self.encode(12),
            (false, hour @ 1..12) => self.encode(hour),
            (false, 12) => self.encode(12) | HOUR_AFTERNOON,
            (false, hour) => self.encode(hour - 12) | HOUR_AFTERNOON,
        };
        // The century is in BCD whatever the mode, since firmware reads it without a look at the mode.
        let century = (((year / 1000) << 4) | (year / 100 % 10)) as u8;
        for (index, value) in [
            (SECONDS, self.encode(moment.second)),
            (MINUTES, self.encode(moment.minute)),
            (HOURS, hour),
            (WEEKDAY, moment.weekday),
            (DAY, self.encode(moment.day)),
            (MONTH, self.encode(moment.month)),
            (YEAR, self.encode((year % 100) as u8)),
            (CENTURY, century),
            (CENTURY_PS2, century),
        ] {
            self.set_register(index, value);
        }
    }

    /// Sets the clock to what the registers say. A date that does not exist leaves it as it was.
    fn set_clock(&mut self, now: i128) {
        let century = self.register(CENTURY);
        let moment = Calendar {
            year: i64::from(century >> 4) * 1000
                + i64::from(century & 0xf) * 100
                + i64::from(self.decode(self.register(YEAR))),
            month: self.decode(self.register(MONTH)),
            day: self.decode(self.register(DAY)),
            weekday: 1,
            hour: self.decode_hour(self.register(HOURS)),
            minute: self.decode(self.register(MINUTES)),
            second: self.decode(self.register(SECONDS)),
        };
        if let Some(target) = moment.seconds() {
            let difference = target - seconds(now);
            self.offset = self.offset.saturating_add(difference);
            // A clock that was set has not passed through the time between.
            self.seen = now + i128::from(difference) * NANOS;
        }
    }

    fn encode(&self, value: u8) -> u8 {
        if self.register(STATUS_B) & B_BINARY != 0 { value } else { ((value / 10) << 4) | (value % 10) }
    }

    fn decode(&self, value: u8) -> u8 {
        if self.register(STATUS_B) & B_BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0xf) }
    }

    fn decode_hour(&self, value: u8) -> u8 {
        if self.register(STATUS_B) & B_24_HOURS != 0 {
            return self.decode(value);
        }
        let hour = self.decode(value & !HOUR_AFTERNOON) % 12;
        if value & HOUR_AFTERNOON != 0 { hour + 12 } else { hour }
    }
}

fn seconds(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(NANOS)).unwrap_or(i64::MAX)
}

impl Device for Rtc {
    fn label(&self) -> &str {
        "rtc"
    }

    fn read(&mut self, _region: usize, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        // The index port cannot be read.
        let Some(first) = data.first_mut().filter(|_| offset == 1) else { return };
        let mut inner = self.shared.lock();
        let now = inner.state.now((self.shared.clock)());
        inner.state.advance(now);
        *first = inner.state.read(now);
        // Only reading the flags changes what is waited for.
        if inner.state.index == STATUS_C {
            self.shared.settle(&mut inner);
        }
    }

    fn write(&mut self, _region: usize, offset: u64, data: &[u8]) {
        // A wider access reaches the second port too.
        for (offset, &value) in (0..).zip(data).map(|(step, value)| (offset.saturating_add(step), value)) {
            let mut inner = self.shared.lock();
            match offset {
                0 => inner.state.index = value & INDEX_MASK,
                1 => {
                    let now = inner.state.now((self.shared.clock)());
                    inner.state.advance(now);
                    inner.state.write(value, now);
                    self.shared.settle(&mut inner);
                }
                _ => {}
            }
        }
    }

    /// The clock goes on: it has a battery.
    fn reset(&mut self) {
        let mut inner = self.shared.lock();
        inner.state.index = 0;
        inner.state.bytes = self.shared.contents.to_vec();
        inner.state.seen = inner.state.now((self.shared.clock)());
        self.shared.settle(&mut inner);
    }

    fn pause(&mut self) {
        let mut inner = self.shared.lock();
        inner.running = false;
        self.shared.timer.disarm();
    }

    fn resume(&mut self) {
        let mut inner = self.shared.lock();
        inner.running = true;
        self.shared.settle(&mut inner);
    }

    fn save(&self) -> Result<Value, StateError> {
        let state = &self.shared.lock().state;
        let saved = SavedState {
            index: state.index,
            bytes: state.bytes.clone(),
            offset: state.offset,
            seen_seconds: seconds(state.seen),
            seen_nanos: state.seen.rem_euclid(NANOS) as u32,
        };
        save_state(self.label(), STATE_VERSION, saved)
    }

    fn restore(&mut self, state: Value) -> Result<(), StateError> {
        self.reset();
        let saved: SavedState = restore_state(self.label(), STATE_VERSION, state)?;
        if saved.bytes.len() != SIZE || saved.index > INDEX_MASK {
            return Err(StateError::damaged(self.label(), "the CMOS memory has another size"));
        }
        // Ten thousand years either way would be nobody's clock, and could not be counted with.
        const FAR: u64 = 10_000 * 366 * DAY_SECONDS as u64;
        let impossible = [saved.offset, saved.seen_seconds].iter().any(|time| time.unsigned_abs() > FAR);
        if impossible || i128::from(saved.seen_nanos) >= NANOS {
            return Err(StateError::damaged(self.label(), "the clock shows an impossible time"));
        }
        self.shared.lock().state = State {
            index: saved.index,
            bytes: saved.bytes,
            offset: saved.offset,
            seen: i128::from(saved.seen_seconds) * NANOS + i128::from(saved.seen_nanos),
        };
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct SavedState {
    index: u8,
    bytes: Vec<u8>,
    offset: i64,
    seen_seconds: i64,
    seen_nanos: u32,
}
