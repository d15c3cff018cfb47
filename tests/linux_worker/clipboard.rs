//! The clipboard between a viewer and a Linux guest, where the shell plays the agent: it speaks the vdagent protocol
//! (`spice/vd_agent.h`) on its port, byte by byte.

use lodge::rfb::client::{Client, Event, Options};
use tokio::sync::mpsc;

use super::{
    Guest,
    common::guest::{PATIENCE, Serial},
};

/// Finds the port and opens it; reads so many bytes of it.
const SHELL: &str = "for port in /sys/class/virtio-ports/*; do \
    [ $(cat $port/name) != com.redhat.spice.0 ] || agent=/dev/${port##*/}; done; \
    exec 5<>$agent; hear() { dd bs=1 count=$1 <&5 2>/dev/null | hexdump -v -e '1/1 \"%02x\"'; echo; }";

/// The headers of a chunk and of a message take so many bytes.
const HEADERS: usize = 28;

/// The bytes of a message of this kind.
fn message(kind: u32, words: &[u32], text: &str) -> Vec<u8> {
    let length = (words.len() * 4 + text.len()) as u32;
    let words = [&[1, 20 + length, 1, kind, 0, 0, length], words].concat();
    [words.iter().flat_map(|word| word.to_le_bytes()).collect(), text.as_bytes().to_vec()].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The guest's end.
struct Agent<'a>(&'a mut Serial);

impl Agent<'_> {
    fn say(&mut self, bytes: &[u8]) {
        let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        self.0.send(&format!("printf '{escaped}' >&5"));
    }

    /// Waits for the host to say this.
    fn hear(&mut self, message: &[u8]) {
        self.0.send(&format!("hear {}", message.len()));
        self.0.wait_for(&hex(message));
    }
}

/// The next event that is about a clipboard.
async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    loop {
        let event =
            tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event comes").expect("it is connected");
        if matches!(event, Event::ClipboardOffered(_) | Event::ClipboardRequested | Event::ClipboardProvided(_)) {
            return event;
        }
    }
}

/// Text goes both ways, and an agent that says nonsense is closed until it begins anew.
pub fn is_shared(guest: &Guest, serial: &mut Serial) {
    let (client, mut events) = guest.runtime.block_on(async {
        let stream = tokio::net::UnixStream::connect(guest.paths.vnc()).await.unwrap();
        Client::connect(stream, Options { clipboard: true, ..Options::local() }).await.unwrap()
    });
    let mut next = || guest.runtime.block_on(next(&mut events));
    let mut agent = Agent(serial);
    agent.0.send(SHELL);
    let (asked, ours) = (message(6, &[1, 0x3_0060], ""), message(6, &[0, 0x60], ""));
    agent.hear(&asked);
    agent.say(&ours);

    let from_host = "vom Wirt\nzum Gast 🦀";
    client.offer_clipboard(true);
    agent.hear(&message(7, &[0, 1], ""));
    agent.say(&message(8, &[0, 1], ""));
    assert!(matches!(next(), Event::ClipboardRequested));
    client.provide_clipboard(from_host);
    agent.hear(&message(4, &[0, 1], from_host));

    let from_guest = "vom Gast\nzum Wirt 🐧";
    agent.say(&message(7, &[0, 1], ""));
    assert!(matches!(next(), Event::ClipboardOffered(true)));
    client.request_clipboard();
    agent.hear(&message(8, &[0, 1], ""));
    agent.say(&message(4, &[0, 1], from_guest));
    let provided = next();
    assert!(matches!(&provided, Event::ClipboardProvided(text) if text == from_guest), "{provided:?}");

    agent.say(&[0xFF; HEADERS]);
    assert!(matches!(next(), Event::ClipboardOffered(false)));
    agent.0.send("hear 1; exec 5>&-; exec 5<>$agent; echo anew$((1+1))");
    agent.0.wait_for("anew2");
    agent.hear(&asked);
    agent.say(&ours);
    client.offer_clipboard(true);
    agent.hear(&message(7, &[0, 1], ""));
    agent.0.send("exec 5>&-");
}
