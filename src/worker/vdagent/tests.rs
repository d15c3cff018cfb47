//! The agent's end, played by us.

use super::*;
use crate::clipboard::HostClipboard;

const BOTH: u32 = Capabilities::OURS.0 | Capabilities::MAX_CLIPBOARD.0;
const CLIPBOARD: u32 = 0;

/// The host's side, which remembers what it was told.
#[derive(Default)]
struct Host(Mutex<Vec<Told>>);

impl HostClipboard for Host {
    fn offer(&self, offered: bool) {
        self.0.lock().unwrap().push(Told::Offer(offered));
    }

    fn request(&self) {
        self.0.lock().unwrap().push(Told::Request);
    }

    fn provide(&self, text: Option<Arc<str>>) {
        self.0.lock().unwrap().push(Told::Provide(text));
    }
}

struct Fixture {
    agent: VdAgent,
    host: Arc<Host>,
}

/// One whose agent has not come.
fn alone() -> Fixture {
    let (agent, host) = (VdAgent::new().unwrap(), Arc::new(Host::default()));
    let connected: Arc<dyn HostClipboard> = Arc::<Host>::clone(&host);
    agent.connect(Arc::downgrade(&connected));
    Fixture { agent, host }
}

/// One that has agreed with an agent on everything.
fn agreed() -> Fixture {
    agreed_on(BOTH)
}

fn agreed_on(capabilities: u32) -> Fixture {
    let fixture = alone();
    fixture.agent.guest_opened(true);
    fixture.say(6, &words(&[0, capabilities]));
    fixture.output();
    fixture
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A message in chunks of at most `chunk` bytes.
fn chunked(kind: u32, body: &[u8], chunk: usize) -> Vec<u8> {
    let whole = [&words(&[1, kind, 0, 0, body.len() as u32])[..], body].concat();
    whole.chunks(chunk).flat_map(|piece| [&words(&[1, piece.len() as u32])[..], piece].concat()).collect()
}

impl Fixture {
    fn say(&self, kind: u32, body: &[u8]) {
        self.agent.receive(&chunked(kind, body, 2048));
    }

    fn grab(&self, serial: u32) {
        self.say(7, &words(&[CLIPBOARD, serial, 1]));
    }

    /// All that waits for the guest: kinds and bodies.
    fn output(&self) -> Vec<(u32, Vec<u8>)> {
        let mut bytes = Vec::new();
        let mut buffer = [0; 777];
        loop {
            let taken = self.agent.take_output(&mut buffer);
            if taken == 0 {
                break;
            }
            bytes.extend_from_slice(&buffer[..taken]);
        }
        let (mut incoming, mut rest, mut all) = (Incoming::default(), &bytes[..], Vec::new());
        while let Some(Raw { kind, body }) = incoming.take(&mut rest, true).unwrap() {
            all.push((kind, body.unwrap()));
        }
        all
    }

    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.host.0.lock().unwrap())
    }
}

#[test]
fn both_say_what_they_can_when_the_port_is_opened() {
    let Fixture { agent, host } = alone();
    let fixture = Fixture { agent, host };
    fixture.agent.offer(true);
    assert!(!fixture.agent.has_output());

    fixture.agent.guest_opened(true);
    assert_eq!(fixture.output(), [(6, words(&[1, Capabilities::OURS.0]))]);
    fixture.say(6, &words(&[1, BOTH]));
    assert_eq!(fixture.output(), [(6, words(&[0, Capabilities::OURS.0]))]);
    fixture.say(6, &words(&[0, BOTH, 0xFFFF_FFFF]));

    let grab = (7, words(&[CLIPBOARD, 0, 1]));
    assert_eq!(fixture.output(), [(14, words(&[MAX_TEXT as u32])), grab], "what was offered before is offered now");
}

#[test]
fn the_guests_text_comes_when_it_is_asked_for() {
    let fixture = agreed();
    fixture.say(4, &[&words(&[CLIPBOARD, 1])[..], b"nobody has asked"].concat());
    assert!(!fixture.agent.request());

    fixture.grab(0);
    assert!(fixture.agent.request());
    assert_eq!(fixture.output(), [(8, words(&[CLIPBOARD, 1]))]);
    fixture.say(4, &[&words(&[CLIPBOARD, 1])[..], "Grüße\r\n\0".as_bytes()].concat());
    fixture.say(4, &[&words(&[CLIPBOARD, 1])[..], b"once more"].concat());

    assert_eq!(fixture.told(), [Told::Offer(true), Told::Provide(Some("Grüße\n".into()))]);
    fixture.say(9, &words(&[CLIPBOARD]));
    assert_eq!(fixture.told(), [Told::Offer(false)]);
    assert!(!fixture.agent.request());
}

#[test]
fn the_guest_gets_text_when_it_asks_and_lines_as_it_ends_them() {
    for (capabilities, expected) in [(BOTH, "a\nb"), (BOTH | Capabilities::CRLF.0, "a\r\nb")] {
        let fixture = agreed_on(capabilities);
        fixture.say(8, &words(&[CLIPBOARD, 1]));
        assert_eq!(fixture.output(), [(4, words(&[CLIPBOARD, 0]))], "there is none yet");

        fixture.agent.offer(true);
        fixture.say(8, &words(&[CLIPBOARD, 1]));
        fixture.agent.provide(Some("a\nb"));
        fixture.agent.offer(false);

        assert_eq!(fixture.told(), [Told::Request]);
        let text = [&words(&[CLIPBOARD, 1])[..], expected.as_bytes()].concat();
        assert_eq!(fixture.output(), [(7, words(&[CLIPBOARD, 0, 1])), (4, text), (9, words(&[CLIPBOARD]))]);
    }
}

#[test]
fn of_grabs_that_cross_the_hosts_counts() {
    let fixture = agreed();
    fixture.grab(0);
    fixture.agent.offer(true);
    // The agent has not read our second one when it sends its own second one.
    fixture.grab(1);
    assert_eq!(fixture.told(), [Told::Offer(true)]);
    fixture.say(8, &words(&[CLIPBOARD, 1]));
    assert_eq!(fixture.told(), [Told::Request]);

    fixture.grab(2);
    assert_eq!(fixture.told(), [Told::Offer(true)]);
    fixture.agent.offer(true);
    assert_eq!(fixture.output().last().unwrap(), &(7, words(&[CLIPBOARD, 3, 1])));
}

#[test]
fn other_clipboards_and_pictures_are_not_shared() {
    let fixture = agreed();
    fixture.say(7, &words(&[1, 0, 1]));
    fixture.say(8, &words(&[1, 1]));
    assert!(fixture.told().is_empty() && fixture.output().is_empty());

    fixture.agent.offer(true);
    fixture.output();
    fixture.say(7, &words(&[CLIPBOARD, 1, 2, 3]));
    fixture.say(8, &words(&[CLIPBOARD, 1]));
    assert_eq!(fixture.told(), [Told::Offer(false)]);
    assert_eq!(fixture.output(), [(4, words(&[CLIPBOARD, 0]))], "the host's text was replaced by a picture");
}

#[test]
fn an_agent_without_selections_and_numbers_is_understood() {
    let fixture = agreed_on(Capabilities::BY_DEMAND.0);
    fixture.say(7, &words(&[1]));
    assert!(fixture.agent.request());
    fixture.say(4, &[&words(&[1])[..], b"text"].concat());
    fixture.agent.offer(true);

    assert_eq!(fixture.told(), [Told::Offer(true), Told::Provide(Some("text".into()))]);
    assert_eq!(fixture.output(), [(8, words(&[1])), (7, words(&[1]))]);
}

#[test]
fn a_text_that_is_too_long_is_none_and_takes_no_memory() {
    let fixture = agreed();
    fixture.grab(0);
    fixture.agent.request();

    fixture.say(4, &[&words(&[CLIPBOARD, 1])[..], &vec![b'x'; MAX_TEXT + 1]].concat());
    fixture.agent.request();
    fixture.say(4, &[&words(&[CLIPBOARD, 1])[..], &vec![b'x'; MAX_TEXT]].concat());

    assert_eq!(
        fixture.told(),
        [Told::Offer(true), Told::Provide(None), Told::Provide(Some("x".repeat(MAX_TEXT).into()))]
    );
}

#[test]
fn a_guest_that_asks_and_never_reads_fills_a_bounded_queue() {
    let fixture = agreed();
    fixture.agent.offer(true);
    let text = "x".repeat(1 << 20);

    for _ in 0..10_000 {
        fixture.say(8, &words(&[CLIPBOARD, 1]));
        fixture.agent.provide(Some(&text));
        fixture.agent.offer(true);
    }

    let waiting = fixture.output();
    assert!(waiting.len() <= MAX_WAITING);
    assert!(waiting.iter().map(|(_, body)| body.len()).sum::<usize>() < 2 << 20);
    // What was dropped was not counted.
    let grabs = waiting.iter().filter(|(kind, _)| *kind == 7).count() as u32;
    fixture.agent.offer(true);
    assert_eq!(fixture.output(), [(7, words(&[CLIPBOARD, grabs, 1]))]);
}

#[test]
fn nonsense_closes_the_port_until_the_guest_has_closed_it_too() {
    let bad = [
        words(&[3, 20]),
        words(&[1, 2049]),
        chunked(6, &[1, 2], 2048),
        chunked(8, &words(&[CLIPBOARD]), 2048),
        [words(&[1, 20]), words(&[2, 6, 0, 0, 0])].concat(),
    ];
    for bad in bad {
        let fixture = agreed();
        fixture.grab(0);

        fixture.agent.receive(&bad);
        fixture.grab(1);
        assert!(!fixture.agent.is_open() && !fixture.agent.has_output(), "{bad:?}");
        assert_eq!(fixture.told(), [Told::Offer(true), Told::Offer(false)]);
        fixture.agent.guest_opened(true);
        assert!(!fixture.agent.is_open());

        fixture.agent.guest_opened(false);
        assert!(fixture.agent.is_open());
        fixture.agent.guest_opened(true);
        assert_eq!(fixture.output().len(), 1);
    }
}

#[test]
fn a_guest_that_goes_on_from_a_saved_state_begins_anew() {
    let fixture = agreed();
    fixture.agent.restored(true);
    fixture.agent.receive(b"the rest of a message");
    assert!(!fixture.agent.is_open());

    fixture.agent.guest_opened(false);
    assert!(fixture.agent.is_open());
    let closed = alone();
    closed.agent.restored(false);
    assert!(closed.agent.is_open());
}

#[test]
fn what_is_switched_off_is_offered_to_nobody_and_comes_back() {
    let fixture = agreed();
    fixture.grab(0);
    fixture.agent.set_enabled(false);
    assert!(!fixture.agent.request());
    fixture.grab(1);
    fixture.agent.set_enabled(true);
    assert_eq!(fixture.told(), [Told::Offer(true), Told::Offer(false), Told::Offer(true)]);

    fixture.agent.offer(true);
    fixture.agent.set_enabled(false);
    fixture.say(8, &words(&[CLIPBOARD, 1]));
    fixture.agent.set_enabled(true);
    let kinds: Vec<u32> = fixture.output().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [7, 9, 4, 7]);
    assert!(fixture.told().is_empty());
}

#[test]
fn messages_are_the_same_however_they_are_cut() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..200 {
        let fixture = agreed();
        fixture.grab(0);
        fixture.agent.request();
        let text = "y".repeat(random.usize(1..5000));
        let mouse = [words(&[2, 12]), vec![0xAB; 12]].concat();
        let said = [
            chunked(99, &vec![7; random.usize(0..5000)], random.usize(1..=2048)),
            mouse,
            chunked(4, &[&words(&[CLIPBOARD, 1])[..], text.as_bytes()].concat(), random.usize(1..=2048)),
            chunked(9, &words(&[CLIPBOARD]), random.usize(1..=2048)),
        ]
        .concat();

        let mut rest = &said[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.usize(1..=rest.len().min(3000)));
            fixture.agent.receive(now);
            rest = later;
        }

        assert_eq!(fixture.told(), [Told::Offer(true), Told::Provide(Some(text.into())), Told::Offer(false)]);
    }
}

#[test]
fn whatever_comes_nothing_breaks_and_little_is_kept() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let fixture = agreed();
        for _ in 0..random.usize(1..20) {
            let kind = random.u32(0..17);
            let length = random.usize(0..40);
            let body: Vec<u8> = std::iter::repeat_with(|| random.u8(0..4)).take(length).collect();
            let mut said = chunked(kind, &body, random.usize(1..=64));
            if random.bool() {
                let at = random.usize(..said.len());
                said[at] = random.u8(..);
            }
            fixture.agent.receive(&said);
            match random.u8(0..4) {
                0 => fixture.agent.offer(random.bool()),
                1 => _ = fixture.agent.request(),
                2 => fixture.agent.provide(Some("text")),
                _ => fixture.agent.guest_opened(random.bool()),
            }
        }
        assert!(fixture.agent.state().outgoing.len() <= MAX_WAITING);
    }
}
