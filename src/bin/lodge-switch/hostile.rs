//! A guest that wants to harm the switch, and by it other guests: [`play`] sends what chance or a fuzzer chooses.

#[allow(dead_code, reason = "network cards use more of it")]
#[path = "../../vmm/net/hostile/frames.rs"]
mod frames;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use frames::Choices;

use crate::switch::Switch;

/// Sends frames from one card to a switch that gives addresses, and then one from another card to the third.
pub fn play(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (mut switch, mut now) = (Switch::default(), Instant::now());
    switch.serve("10.0.2.0/24".parse().unwrap()).unwrap();
    let mut cards: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
    let [hostile, honest, third] = [0, 1, 2].map(|number| {
        let (card, theirs) = &mut cards[number];
        card.set_nonblocking(true).unwrap();
        switch.add(theirs.try_clone().unwrap(), now).unwrap()
    });
    let mut read = vec![0; 1 << 20];
    while !choices.are_over() {
        let frame = frames::content(&mut choices);
        // What has no room is lost; what has some leaves a frame that is not whole, which is the switch's to bear.
        drop(cards[0].0.write(&[&(frame.len() as u32).to_be_bytes()[..], &frame].concat()));
        now += Duration::from_millis(choices.byte().into());
        if !switch.receive(hostile, now).is_ok_and(|is_open| is_open) {
            break;
        }
        switch.flush();
        cards.iter_mut().for_each(|(card, _)| drop(card.read(&mut read)));
    }

    // The stations that it has invented are forgotten at last.
    now += Duration::from_secs(1000);
    let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[0x88, 0xb5], b"honest"].concat();
    cards[1].0.write_all(&[&(frame.len() as u32).to_be_bytes()[..], &frame].concat()).unwrap();
    assert!(switch.receive(honest, now).unwrap());
    let mut came = Vec::new();
    while !came.ends_with(&frame) {
        assert!(switch.flush().is_empty());
        let waits = switch.ports().any(|(port, _, is_waiting)| port == third && is_waiting);
        let length = cards[2].0.read(&mut read).unwrap_or(0);
        came.extend(&read[..length]);
        assert!(length > 0 || waits, "the frame has not come");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_frame_of_a_guest_harms_the_switch_and_other_guests() {
        super::frames::each_attack(super::play);
    }
}
