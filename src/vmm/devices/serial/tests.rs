//! The port as a guest sees it, without KVM.

use super::*;
use crate::vmm::interrupt::testing::FakeLine;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl SerialOutput for Sink {
    fn write(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

fn port() -> (Serial, Arc<FakeLine>, Sink) {
    let (line, sink) = (Arc::new(FakeLine::default()), Sink::default());
    (Serial::new("serial0", line.clone(), Box::new(sink.clone())).unwrap(), line, sink)
}

fn read(serial: &mut Serial, offset: u8) -> u8 {
    let mut data = [0];
    serial.read(0, offset.into(), &mut data);
    data[0]
}

fn write(serial: &mut Serial, offset: u8, value: u8) {
    serial.write(0, offset.into(), &[value]);
}

#[test]
fn what_the_guest_writes_goes_out() {
    let (mut serial, line, sink) = port();

    write(&mut serial, DATA, b'h');
    write(&mut serial, DATA, b'i');

    assert_eq!(*sink.0.lock().unwrap(), b"hi");
    assert_eq!(line.edges(), 0, "interrupts are off");
    assert_eq!(read(&mut serial, LINE_STATUS), 0x60, "always empty and idle");
}

#[test]
fn received_data_interrupts_once_and_is_read_in_order() {
    let (mut serial, line, _) = port();
    write(&mut serial, INTERRUPT_ENABLE, ENABLE_RECEIVED);

    let taken = serial.input().enqueue(b"abc");

    assert_eq!(taken, 3);
    assert_eq!(line.edges(), 1);
    assert_eq!(read(&mut serial, IDENTIFICATION), ID_RECEIVED);
    assert_eq!(read(&mut serial, IDENTIFICATION), ID_RECEIVED, "reading it does not clear it");
    assert_eq!([0; 3].map(|_| read(&mut serial, DATA)), *b"abc");
    assert_eq!(read(&mut serial, IDENTIFICATION), ID_NONE);
    assert_eq!(read(&mut serial, LINE_STATUS) & DATA_READY, 0);
}

#[test]
fn two_causes_are_reported_one_after_the_other() {
    let (mut serial, _, _) = port();
    write(&mut serial, INTERRUPT_ENABLE, ENABLE_RECEIVED | ENABLE_TRANSMIT_EMPTY);
    serial.input().enqueue(b"x");
    write(&mut serial, DATA, b'y');

    let first = read(&mut serial, IDENTIFICATION);
    read(&mut serial, DATA);
    let second = read(&mut serial, IDENTIFICATION);
    let third = read(&mut serial, IDENTIFICATION);

    assert_eq!([first, second, third], [ID_RECEIVED, ID_TRANSMIT_EMPTY, ID_NONE]);
}

#[test]
fn the_fifo_control_register_shows_in_the_identification_and_clears_the_receiver() {
    let (mut serial, _, _) = port();
    write(&mut serial, IDENTIFICATION, FIFO_ENABLE);
    serial.input().enqueue(b"stale");
    write(&mut serial, LINE_CONTROL, DIVISOR_LATCH | 3);

    write(&mut serial, IDENTIFICATION, FIFO_ENABLE | FIFO_CLEAR_RECEIVER);

    assert_eq!(read(&mut serial, IDENTIFICATION), ID_FIFOS | ID_NONE);
    assert_eq!(read(&mut serial, LINE_STATUS) & DATA_READY, 0);
    assert_eq!(read(&mut serial, LINE_CONTROL), DIVISOR_LATCH | 3, "left as it was");
}

#[test]
fn a_guest_that_does_not_read_fills_the_queue_and_room_is_announced_later() {
    let (mut serial, _, _) = port();
    let input = serial.input();
    let everything: Vec<u8> = (0..2 * BACKLOG).map(|index| index as u8).collect();

    let mut taken = input.enqueue(&everything);
    taken += input.enqueue(&everything[taken..]);
    let more = input.enqueue(&everything[taken..]);
    let told_early = input.room().read().is_ok();
    let received: Vec<u8> = (0..taken).map(|_| read(&mut serial, DATA)).collect();

    assert_eq!(taken, BACKLOG + 64, "the queue and the FIFO");
    assert_eq!(more, 0);
    assert!(!told_early);
    assert_eq!(received, everything[..taken]);
    assert_eq!(input.room().read().unwrap(), 1);
}

#[test]
fn loopback_keeps_the_outside_out_until_it_ends() {
    let (mut serial, _, sink) = port();
    write(&mut serial, MODEM_CONTROL, LOOPBACK);
    serial.input().enqueue(b"outside");

    write(&mut serial, DATA, b'l');
    let looped = read(&mut serial, DATA);
    let nothing = read(&mut serial, LINE_STATUS) & DATA_READY;
    write(&mut serial, MODEM_CONTROL, 0);

    assert_eq!((looped, nothing), (b'l', 0));
    assert_eq!(read(&mut serial, DATA), b'o');
    assert!(sink.0.lock().unwrap().is_empty());
}

#[test]
fn accesses_of_any_offset_and_width_are_harmless() {
    let (mut serial, _, _) = port();
    let mut data = [0; 8];

    serial.read(7, u64::MAX, &mut data);
    serial.write(7, u64::MAX, &data);
    serial.write(0, 6, &[0xff; 8]);

    assert_eq!(data, [0xff; 8]);
}

#[test]
fn a_restored_port_is_equal_and_goes_on_where_it_was() {
    let (mut serial, _, _) = port();
    write(&mut serial, IDENTIFICATION, FIFO_ENABLE);
    write(&mut serial, INTERRUPT_ENABLE, 3);
    serial.input().enqueue(&[7; 100]);
    write(&mut serial, DATA, b'z');
    let state = serial.save().unwrap();

    let (mut restored, _, _) = port();
    restored.restore(state.clone()).unwrap();

    assert_eq!(restored.save().unwrap(), state);
    assert_eq!((0..100).filter(|_| read(&mut restored, DATA) == 7).count(), 100);
}

#[test]
fn a_damaged_state_is_refused_and_leaves_a_fresh_port() {
    let (mut serial, _, _) = port();
    let fresh = serial.save().unwrap();
    write(&mut serial, 7, 0x55);
    for damage in [("fifo", serde_json::json!(vec![0; 65])), ("line_status", 0x61.into()), ("version", 9.into())] {
        let mut state = fresh.clone();
        state[damage.0] = damage.1;

        assert!(serial.restore(state).is_err());
        assert_eq!(serial.save().unwrap(), fresh);
    }
}

#[test]
fn reset_is_idempotent() {
    let (mut serial, _, _) = port();
    let fresh = serial.save().unwrap();
    write(&mut serial, INTERRUPT_ENABLE, 3);
    write(&mut serial, LINE_CONTROL, 0x1b);

    serial.reset();
    serial.reset();

    assert_eq!(serial.save().unwrap(), fresh);
}
