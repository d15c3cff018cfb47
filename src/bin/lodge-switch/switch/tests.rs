use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use super::*;
use crate::port::WAITING_MAX;

/// A card at a port.
struct Card {
    port: PortNumber,
    stream: UnixStream,
    mac: Mac,
    /// The beginning of a frame that has come in part.
    rest: Vec<u8>,
}

/// A switch, its time and cards at it.
struct Lab {
    switch: Switch,
    now: Instant,
    cards: Vec<Card>,
}

impl Lab {
    fn new(count: u8) -> Self {
        let mut lab = Self { switch: Switch::default(), now: Instant::now(), cards: Vec::new() };
        for number in 1..=count {
            let (stream, theirs) = UnixStream::pair().unwrap();
            stream.set_nonblocking(true).unwrap();
            let port = lab.switch.add(theirs, lab.now).unwrap();
            lab.cards.push(Card { port, stream, mac: [0x52, 0x54, 0, 0, 0, number], rest: vec![] });
        }
        lab
    }

    /// Has a card send a frame; the others get what is for them. Whether the switch keeps the card's stream.
    fn send(&mut self, from: usize, to: Mac, content: &[u8]) -> bool {
        let frame = [&to[..], &self.cards[from].mac, &[0x88, 0xb5], content].concat();
        self.send_raw(from, &[&(frame.len() as u32).to_be_bytes()[..], &frame].concat())
    }

    fn send_raw(&mut self, from: usize, bytes: &[u8]) -> bool {
        self.cards[from].stream.write_all(bytes).unwrap();
        let kept = self.switch.receive(self.cards[from].port, self.now);
        assert_eq!(self.switch.flush(), [0; 0]);
        kept.is_ok_and(|kept| kept)
    }

    /// The contents of the frames that a card gets.
    fn received(&mut self, card: usize) -> Vec<Vec<u8>> {
        let Card { stream, rest, .. } = &mut self.cards[card];
        let end = stream.read_to_end(rest).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::WouldBlock);
        let mut frames = Vec::new();
        while let Some((prefix, behind)) = rest.split_first_chunk() {
            let Some((frame, next)) = behind.split_at_checked(u32::from_be_bytes(*prefix) as usize) else { break };
            frames.push(frame[SHORTEST..].to_vec());
            *rest = next.to_vec();
        }
        frames
    }

    fn mac(&self, card: usize) -> Mac {
        self.cards[card].mac
    }
}

const EVERYBODY: Mac = [0xff; 6];

#[test]
fn a_frame_goes_to_all_until_its_receiver_has_been_heard() {
    let mut lab = Lab::new(3);
    let second = lab.mac(1);

    lab.send(0, second, b"anybody?");
    assert_eq!([0, 1, 2].map(|card| lab.received(card).len()), [0, 1, 1]);
    lab.send(1, EVERYBODY, b"here");
    assert_eq!([0, 1, 2].map(|card| lab.received(card).len()), [1, 0, 1]);
    lab.send(0, second, b"to you");

    assert_eq!(lab.received(1), [b"to you"]);
    assert!(lab.received(2).is_empty());
    lab.now += Duration::from_secs(301);
    lab.send(0, second, b"still there?");
    assert_eq!([1, 2].map(|card| lab.received(card).len()), [1, 1], "it has been silent for long");
}

#[test]
fn a_station_that_has_moved_is_found_at_its_new_port_and_one_that_has_gone_nowhere() {
    let mut lab = Lab::new(3);
    lab.send(1, EVERYBODY, b"here");
    lab.cards[2].mac = lab.mac(1);
    lab.send(2, EVERYBODY, b"now here");
    (0..3).for_each(|card| drop(lab.received(card)));

    lab.send(0, lab.mac(1), b"to you");
    assert_eq!([1, 2].map(|card| lab.received(card).len()), [0, 1]);
    lab.switch.remove(lab.cards[2].port);
    lab.send(0, lab.mac(1), b"to you");
    assert_eq!(lab.received(1).len(), 1);
    assert_eq!(lab.switch.len(), 2);
}

#[test]
fn one_that_takes_nothing_holds_nobody_up() {
    let mut lab = Lab::new(3);
    lab.send(1, EVERYBODY, b"slow");
    lab.send(2, EVERYBODY, b"quick");
    let (slow, quick) = (lab.mac(1), lab.mac(2));
    (1..3).for_each(|card| drop(lab.received(card)));

    for _ in 0..200 {
        lab.send(0, slow, &[7; 60_000]);
        lab.send(0, quick, b"to you");
    }

    assert_eq!(lab.received(2).len(), 200);
    assert!(lab.switch.ports().any(|(port, _, is_waiting)| port == lab.cards[1].port && is_waiting));
    let mut got = 0;
    while lab.switch.ports().any(|(_, _, is_waiting)| is_waiting) {
        got += lab.received(1).len();
        lab.switch.flush();
    }
    got += lab.received(1).len();
    assert!((10..10 + WAITING_MAX / 60_000).contains(&got), "{got} of 200 had room");
    lab.send(0, slow, b"once more");
    assert_eq!(lab.received(1), [b"once more"]);
}

#[test]
fn frames_to_everybody_are_limited_and_others_are_not() {
    let mut lab = Lab::new(2);
    lab.send(1, EVERYBODY, b"here");
    let second = lab.mac(1);
    let mut got = 0;
    for _ in 0..10_000 {
        lab.send(0, EVERYBODY, b"storm");
        got += lab.received(1).len();
    }

    assert_eq!(got, 2000);
    lab.send(0, second, b"to you");
    assert_eq!(lab.received(1), [b"to you"]);
    lab.now += Duration::from_secs(1);
    lab.send(0, EVERYBODY, b"again");
    assert_eq!(lab.received(1), [b"again"]);
}

#[test]
fn what_is_no_frame_goes_nowhere() {
    let mut lab = Lab::new(2);
    let link_local = [0x01, 0x80, 0xc2, 0, 0, 0x0e];

    assert!(lab.send(0, link_local, b"neighbour discovery"));
    for source in [[0x01, 0, 0, 0, 0, 1], dhcp::MAC] {
        lab.cards[0].mac = source;
        assert!(lab.send(0, EVERYBODY, b"forged"));
    }
    assert!(lab.send_raw(0, &[0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert!(lab.send_raw(0, &[0, 0, 0, 0]));
    assert!(lab.received(1).is_empty());
    assert!(!lab.send_raw(0, &[0, 1, 0x20, 0]), "its stream is given up");
    assert!(!lab.send_raw(1, &[0xff; 4]));
}

#[test]
fn a_frame_that_comes_in_pieces_is_one() {
    let mut lab = Lab::new(2);
    let frame = [&[0, 0, 0, 18][..], &EVERYBODY, &lab.mac(0), &[0x88, 0xb5], b"a", b"bcd"].concat();

    frame.iter().for_each(|byte| assert!(lab.send_raw(0, &[*byte])));
    assert_eq!(lab.received(1), [b"abcd"]);
    lab.send_raw(0, &frame.repeat(3));
    assert_eq!(lab.received(1), [b"abcd"; 3]);
}

#[test]
fn one_subnet_is_served_and_a_closed_stream_is_noticed() {
    let mut lab = Lab::new(2);
    let subnet = "10.55.0.0/24".parse().unwrap();

    assert_eq!(lab.switch.serve(subnet), Ok(()));
    assert_eq!(lab.switch.serve(subnet), Ok(()));
    assert_eq!(lab.switch.serve("10.56.0.0/24".parse().unwrap()), Err(subnet));
    assert_eq!(lab.switch.subnet(), Some(subnet));
    let card = lab.cards.remove(0);
    drop(card.stream);
    assert!(!lab.switch.receive(card.port, lab.now).unwrap());
}
