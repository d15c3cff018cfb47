//! The CD-ROM drive, by packets over the registers.

use crate::vmm::devices::ide::{
    drive::{DATA_REQUEST, ERROR},
    testing::{Bench, medium, pattern},
};

/// Sends a packet and takes the whole answer through the data register, in blocks of `limit`; `Err` is the sense key and codes.
fn ask(bench: &mut Bench, packet: [u8; 12], limit: u16) -> Result<Vec<u8>, [u8; 3]> {
    bench.packet(packet, limit, false);
    let mut answer = Vec::new();
    loop {
        let status = bench.interrupt();
        if status & ERROR != 0 {
            let sense = ask(bench, [3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0], 18).unwrap();
            assert_eq!(bench.read(1), 0);
            return Err([sense[2], sense[12], sense[13]]);
        }
        if status & DATA_REQUEST == 0 {
            assert_eq!(bench.read(2) & 3, 3, "a command has ended");
            return Ok(answer);
        }
        assert_eq!(bench.read(2) & 3, 2, "data for the guest");
        let length = u16::from_le_bytes([bench.read(4), bench.read(5)]);
        assert!(length <= limit && length > 0);
        answer.extend(bench.read_data(length.into()));
    }
}

fn read_10(first: u32, count: u16) -> [u8; 12] {
    let ([a, b, c, d], [high, low]) = (first.to_be_bytes(), count.to_be_bytes());
    [0x28, 0, a, b, c, d, 0, high, low, 0, 0, 0]
}

const READY: [u8; 12] = [0; 12];
const CAPACITY: [u8; 12] = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const EVENT: [u8; 12] = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0, 0, 0];

fn start_stop(what: u8) -> [u8; 12] {
    [0x1b, 0, 0, 0, what, 0, 0, 0, 0, 0, 0, 0]
}

fn prevent(what: u8) -> [u8; 12] {
    [0x1e, 0, 0, 0, what, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn blocks_are_read_in_pieces_of_the_size_that_the_guest_wants() {
    let mut bench = Bench::new();
    let content = pattern(256 << 10, 2);

    for limit in [2048, 0xfffe, 1000, 0xffff] {
        let data = ask(&mut bench, read_10(3, 100), limit).unwrap();
        assert!(data == content[3 * 2048..103 * 2048], "{limit}");
    }
    assert_eq!(ask(&mut bench, CAPACITY, 8), Ok(vec![0, 0, 0, 127, 0, 0, 8, 0]));
    assert_eq!(ask(&mut bench, read_10(127, 2), 2048), Err([5, 0x21, 0]));
    assert_eq!(ask(&mut bench, [0xf7; 12], 2048), Err([5, 0x20, 0]));
}

#[test]
fn an_answer_is_no_longer_than_the_guest_allows() {
    let mut bench = Bench::new();

    let whole = ask(&mut bench, [0x12, 0, 0, 0, 96, 0, 0, 0, 0, 0, 0, 0], 0xfffe).unwrap();
    let part = ask(&mut bench, [0x12, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0], 0xfffe).unwrap();
    let none = ask(&mut bench, [0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0xfffe).unwrap();

    assert_eq!((&whole[..2], &whole[8..14], whole.len()), (&[5, 0x80][..], &b"LODGE "[..], 36));
    assert_eq!((part, none), (whole[..5].to_vec(), Vec::new()));
}

#[test]
fn every_question_of_a_driver_has_an_answer() {
    let mut bench = Bench::new();
    let mut ask = |packet: &[u8]| {
        let mut whole = [0; 12];
        whole[..packet.len()].copy_from_slice(packet);
        self::ask(&mut bench, whole, 0xfffe)
    };

    let contents = ask(&[0x43, 0, 0, 0, 0, 0, 0, 0, 255]).unwrap();
    let times = ask(&[0x43, 2, 0, 0, 0, 0, 0xaa, 0, 255]).unwrap();
    let sessions = ask(&[0x43, 0, 1, 0, 0, 0, 0, 0, 255]).unwrap();
    let configuration = ask(&[0x46, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    let one_feature = ask(&[0x46, 2, 0, 3, 0, 0, 0, 1, 0]).unwrap();
    let capabilities = ask(&[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255]).unwrap();
    let disc = ask(&[0x51, 0, 0, 0, 0, 0, 0, 0, 255]).unwrap();
    let track = ask(&[0x52, 1, 0, 0, 0, 1, 0, 0, 255]).unwrap();
    let mechanism = ask(&[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]).unwrap();

    // Track 1 from block 0, the lead-out at block 128.
    assert_eq!(contents, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0, 128]);
    assert_eq!(times, [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 3, 53]);
    assert_eq!(sessions, [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    assert_eq!(u32::from_be_bytes(configuration[..4].try_into().unwrap()) as usize, configuration.len() - 4);
    assert_eq!(configuration[6..8], [0, 8], "a CD");
    assert_eq!((one_feature.len(), &one_feature[8..10]), (16, &[0, 3][..]));
    assert_eq!((capabilities.len(), capabilities[8]), (8 + 22, 0x2a));
    assert_eq!((disc.len(), disc[2]), (34, 0x0e));
    assert_eq!((track.len(), &track[24..28]), (36, &[0, 0, 0, 128][..]));
    assert_eq!(mechanism.len(), 8);
    assert_eq!(ask(&[0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4]), Err([5, 0x24, 0]), "a CD has no structure of DVDs");
}

#[test]
fn a_guest_learns_of_another_medium_however_quick_the_change_was() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, READY, 8), Ok(Vec::new()));
    let other = tempfile::tempfile().unwrap();
    other.set_len(10 * 2048).unwrap();

    bench.tray.open(false).unwrap();
    let open = [ask(&mut bench, READY, 8), ask(&mut bench, CAPACITY, 8)];
    let event_of_opening = ask(&mut bench, EVENT, 8).unwrap();
    assert!(bench.tray.exchange(Some(medium(&other, true))));
    bench.tray.close();
    let event_of_closing = ask(&mut bench, EVENT, 8).unwrap();
    let closed = [ask(&mut bench, READY, 8), ask(&mut bench, READY, 8), ask(&mut bench, CAPACITY, 8)];
    bench.tray.open(false).unwrap();
    bench.tray.close();
    let quick = [ask(&mut bench, READY, 8), ask(&mut bench, READY, 8), ask(&mut bench, READY, 8)];

    assert_eq!(open, [Err([2, 0x3a, 2]), Err([2, 0x3a, 2])]);
    assert_eq!((event_of_opening[4] & 0xf, event_of_opening[5]), (3, 0b11));
    assert_eq!((event_of_closing[4] & 0xf, event_of_closing[5]), (2, 0b10));
    assert_eq!(closed, [Err([6, 0x28, 0]), Ok(Vec::new()), Ok(vec![0, 0, 0, 9, 0, 0, 8, 0])]);
    assert_eq!(quick, [Err([2, 0x3a, 1]), Err([6, 0x28, 0]), Ok(Vec::new())]);
}

#[test]
fn a_locked_tray_stays_closed_and_an_unlocked_one_obeys_the_guest() {
    let mut bench = Bench::new();

    ask(&mut bench, prevent(1), 8).unwrap();
    let locked = ask(&mut bench, start_stop(2), 8);
    let wish = bench.tray.open(false);
    let event = ask(&mut bench, EVENT, 8).unwrap();
    ask(&mut bench, prevent(0), 8).unwrap();
    ask(&mut bench, start_stop(2), 8).unwrap();
    let open = bench.tray.info().open;
    ask(&mut bench, start_stop(3), 8).unwrap();

    assert_eq!(locked, Err([5, 0x53, 2]));
    assert!(wish.is_err());
    assert_eq!(event[4] & 0xf, 1, "somebody wants the medium");
    assert!(open && !bench.tray.info().open);
}

#[test]
fn an_empty_drive_says_so() {
    let mut bench = Bench::new();
    bench.tray.open(false).unwrap();
    bench.tray.exchange(None);
    bench.tray.close();

    assert_eq!(ask(&mut bench, READY, 8), Err([2, 0x3a, 1]));
    assert_eq!(ask(&mut bench, READY, 8), Err([2, 0x3a, 1]));
    assert_eq!(ask(&mut bench, read_10(0, 1), 2048), Err([2, 0x3a, 1]));
}
