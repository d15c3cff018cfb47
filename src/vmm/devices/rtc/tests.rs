//! The clock as a guest sees it, with a host's time that the test sets.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::vmm::interrupt::testing::FakeLine;

/// 2024-02-29 23:59:50 UTC, a Thursday.
const NOW: u64 = 1_709_251_190;

struct Bench {
    rtc: Rtc,
    line: Arc<FakeLine>,
    host: Arc<AtomicU64>,
}

fn bench() -> Bench {
    let line = Arc::new(FakeLine::default());
    let host = Arc::new(AtomicU64::new(NOW * 1_000_000_000));
    let clock = host.clone();
    let contents = CmosContents { memory_below_4g: 3 << 30, memory_above_4g: 5 << 30, vcpus: 4, utc_offset: 0 };
    let rtc =
        Rtc::with_clock(line.clone(), contents, Box::new(move || Duration::from_nanos(clock.load(Ordering::SeqCst))));
    Bench { rtc, line, host }
}

impl Bench {
    fn read(&mut self, index: u8) -> u8 {
        let mut data = [0];
        self.rtc.write(0, 0, &[index]);
        self.rtc.read(0, 1, &mut data);
        data[0]
    }

    fn write(&mut self, index: u8, value: u8) {
        self.rtc.write(0, 0, &[index]);
        self.rtc.write(0, 1, &[value]);
    }

    fn read_all(&mut self, indices: &[u8]) -> Vec<u8> {
        indices.iter().map(|&index| self.read(index)).collect()
    }

    fn pass(&self, nanos: u64) {
        self.host.fetch_add(nanos, Ordering::SeqCst);
    }

    fn pass_seconds(&self, seconds: u64) {
        self.pass(seconds * 1_000_000_000);
    }
}

const DATE: [u8; 8] = [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS];

#[test]
fn the_firmware_finds_what_it_reads() {
    let mut bench = bench();

    assert_eq!(bench.read_all(&[0x30, 0x31]), [0xff, 0xff], "more than fits");
    assert_eq!(bench.read_all(&[0x34, 0x35]), 0xbf00u16.to_le_bytes());
    assert_eq!(bench.read_all(&[0x5b, 0x5c, 0x5d]), [0x00, 0x40, 0x01]);
    assert_eq!(bench.read(0x5f), 3);
    assert_eq!(bench.read_all(&[0x0b, 0x0d, 0x0f]), [0x02, 0x80, 0x00]);
    assert_eq!(bench.read_all(&[0x38, 0x3d]), [0x41, 0x32]);
}

#[test]
fn the_time_is_the_hosts_in_bcd_and_passes() {
    let mut bench = bench();
    assert_eq!(bench.read_all(&DATE), [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x50]);

    bench.pass_seconds(10);

    assert_eq!(bench.read_all(&DATE), [0x20, 0x24, 0x03, 0x01, 6, 0x00, 0x00, 0x00]);
}

#[test]
fn the_guest_chooses_binary_and_twelve_hours() {
    let mut bench = bench();

    bench.write(STATUS_B, B_BINARY);
    assert_eq!(bench.read_all(&DATE), [0x20, 24, 2, 29, 5, 0x80 | 11, 59, 50]);
    bench.pass_seconds(10);
    assert_eq!(bench.read(HOURS), 12, "midnight");
    bench.pass_seconds(12 * 3600);
    assert_eq!(bench.read(HOURS), 0x80 | 12, "noon");
}

#[test]
fn the_guest_sets_its_own_clock_and_keeps_it_over_a_reset() {
    let mut bench = bench();
    bench.write(STATUS_B, B_SET | B_24_HOURS);
    for (index, value) in
        [(CENTURY, 0x19), (YEAR, 0x95), (MONTH, 0x12), (DAY, 0x31), (HOURS, 0x23), (MINUTES, 0x58), (SECONDS, 0x07)]
    {
        bench.write(index, value);
    }
    bench.pass_seconds(100);
    assert_eq!(bench.read(SECONDS), 0x07, "it is held");

    bench.write(STATUS_B, B_24_HOURS);
    bench.pass_seconds(60);
    bench.rtc.reset();

    assert_eq!(bench.read_all(&DATE), [0x19, 0x95, 0x12, 0x31, 1, 0x23, 0x59, 0x07]);
}

#[test]
fn a_date_that_does_not_exist_changes_nothing() {
    let mut bench = bench();

    for value in 0..=255 {
        bench.write(MONTH, if value == 2 { 0x13 } else { value | 0x20 });
        bench.write(HOURS, 0x77);
    }

    assert_eq!(bench.read_all(&DATE), [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x50]);
}

#[test]
fn an_update_is_announced_before_the_second_changes() {
    let mut bench = bench();
    assert_eq!(bench.read(STATUS_A), 0x26);

    bench.pass(999_800_000);
    assert_eq!(bench.read(STATUS_A), 0xa6);
    bench.pass(200_000);

    assert_eq!(bench.read(STATUS_A), 0x26);
    assert_eq!(bench.read(SECONDS), 0x51);
}

#[test]
fn flags_can_be_polled_without_interrupts() {
    let mut bench = bench();
    assert_eq!(bench.read(STATUS_C), 0);

    bench.pass_seconds(1);

    assert_eq!(bench.read(STATUS_C), PERIODIC | UPDATE);
    assert_eq!(bench.read(STATUS_C), 0, "reading clears them");
    assert_eq!(bench.line.edges(), 0);
}

#[test]
fn an_enabled_interrupt_holds_the_line_until_the_flags_are_read() {
    let mut bench = bench();
    bench.write(STATUS_B, B_24_HOURS | UPDATE);
    bench.pass_seconds(1);

    bench.rtc.resume();

    assert!(bench.line.is_high());
    assert_eq!(bench.read(STATUS_C), C_INTERRUPT | PERIODIC | UPDATE);
    assert!(!bench.line.is_high());
}

#[test]
fn the_alarm_matches_time_and_wildcards() {
    let mut bench = bench();
    bench.write(HOURS_ALARM, 0x00);
    bench.write(MINUTES_ALARM, 0xff);
    bench.write(SECONDS_ALARM, 0x05);

    bench.pass_seconds(10);
    let midnight = bench.read(STATUS_C) & ALARM;
    bench.pass_seconds(5);
    let five_past = bench.read(STATUS_C) & ALARM;
    bench.pass_seconds(60);
    let a_minute_later = bench.read(STATUS_C) & ALARM;
    bench.pass_seconds(3600);
    bench.read(STATUS_C);
    bench.pass_seconds(3600);
    let another_hour = bench.read(STATUS_C) & ALARM;

    assert_eq!([midnight, five_past, a_minute_later, another_hour], [0, ALARM, ALARM, 0]);
}

#[test]
fn the_timer_waits_only_for_what_is_enabled_and_not_pending() {
    let mut state = bench().rtc.shared.lock().state.clone();
    let now = i128::from(NOW) * NANOS + 500;
    assert_eq!(state.next_interrupt(now), None);

    state.set_register(STATUS_B, B_24_HOURS | PERIODIC);
    assert_eq!(
        state.next_interrupt(now),
        Some(i128::from(NOW) * NANOS + 976_562 - (i128::from(NOW) * NANOS) % 976_562)
    );
    state.set_register(STATUS_B, B_24_HOURS | UPDATE);
    assert_eq!(state.next_interrupt(now), Some(i128::from(NOW + 1) * NANOS));
    state.set_register(STATUS_B, B_24_HOURS | ALARM);
    assert_eq!(state.next_interrupt(now), Some(i128::from(NOW + 10) * NANOS), "midnight");
    state.set_register(STATUS_C, ALARM | C_INTERRUPT);

    assert_eq!(state.next_interrupt(now), None);
}

#[test]
fn every_rate_has_a_period_that_can_be_counted_with() {
    let mut bench = bench();
    for rate in 0..=255 {
        bench.write(STATUS_A, rate);
        bench.pass_seconds(1);
        let flags = bench.read(STATUS_C);

        assert_eq!(flags & PERIODIC != 0, rate & A_RATE != 0);
    }
}

#[test]
fn the_host_timer_interrupts_a_guest_that_only_waits() {
    let line = Arc::new(FakeLine::default());
    let contents = CmosContents { memory_below_4g: 1 << 26, memory_above_4g: 0, vcpus: 1, utc_offset: 0 };
    let mut rtc = Rtc::new(line.clone(), contents);
    rtc.resume();
    rtc.write(0, 0, &[STATUS_B]);
    rtc.write(0, 1, &[B_24_HOURS | PERIODIC]);

    let deadline = Instant::now() + Duration::from_secs(60);
    while !line.is_high() {
        assert!(Instant::now() < deadline, "no interrupt came");
        std::thread::yield_now();
    }
}

#[test]
fn accesses_of_any_offset_and_width_are_harmless() {
    let mut bench = bench();
    for index in 0..=255 {
        bench.write(index, 0xff);
        bench.read(index);
        bench.pass_seconds(1);
    }
    let mut data = [0; 8];
    bench.rtc.write(0, 0, &[0x90, 0x55]);
    bench.rtc.write(0, u64::MAX, &[1; 8]);
    bench.rtc.read(0, 0, &mut data);

    assert_eq!(data, [0xff; 8]);
    assert_eq!(bench.read(0x10), 0x55, "a 16-bit write is index and data");
}

#[test]
fn a_restored_clock_is_equal_and_shows_the_same_time() {
    let mut bench = bench();
    bench.write(YEAR, 0x99);
    bench.write(0x50, 0xaa);
    bench.write(STATUS_B, B_24_HOURS | ALARM);
    bench.pass_seconds(100);
    bench.read(SECONDS);
    let state = bench.rtc.save().unwrap();
    let shown = bench.read_all(&DATE);

    let mut other = self::bench();
    other.host.store(bench.host.load(Ordering::SeqCst), Ordering::SeqCst);
    other.rtc.restore(state.clone()).unwrap();

    assert_eq!(other.rtc.save().unwrap(), state);
    assert_eq!(other.read_all(&DATE), shown);
    assert_eq!(other.read(0x50), 0xaa);
}

#[test]
fn a_damaged_state_is_refused_and_leaves_a_fresh_clock() {
    let mut bench = bench();
    let fresh = bench.rtc.save().unwrap();
    bench.write(0x50, 1);
    for (field, value) in [
        ("bytes", serde_json::json!([1, 2])),
        ("index", 200.into()),
        ("offset", i64::MIN.into()),
        ("offset", i64::MAX.into()),
        ("version", 2.into()),
    ] {
        let mut state = fresh.clone();
        state[field] = value;

        assert!(bench.rtc.restore(state).is_err(), "{field}");
        assert_eq!(bench.rtc.save().unwrap(), fresh);
    }
}
