//! An agent that wants to harm the process that runs its guest: [`play`] says what chance or a fuzzer chooses, while the host's side shares
//! its clipboard. In the end an honest agent has to get on with both.

use std::sync::{Arc, Mutex};

use super::{MAX_WAITING, VdAgent};
use crate::{
    clipboard::{GuestClipboard, HostClipboard, MAX_TEXT},
    vmm::{net::hostile::Choices, virtio::console::PortProgram},
};

/// What the honest agent can: texts by demand, clipboards with names, numbered grabs.
const HONEST: u32 = 1 << 5 | 1 << 6 | 1 << 16 | 1 << 17;
/// What lengths and numbers are that somebody may have got wrong.
const ODD: [u32; 8] = [0, 1, 19, 1024, 1025, MAX_TEXT as u32, u32::MAX - 8, u32::MAX];

/// The host's side.
#[derive(Default)]
struct Host(Mutex<Vec<Arc<str>>>);

impl HostClipboard for Host {
    fn offer(&self, _offered: bool) {}

    fn request(&self) {}

    fn provide(&self, text: Option<Arc<str>>) {
        let Some(text) = text else { return };
        assert!(!text.is_empty() && !text.contains('\0'), "{text:?} is no text");
        self.0.lock().unwrap().push(text);
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A message in chunks of at most so many bytes.
fn message(kind: u32, body: &[u8], chunk: usize) -> Vec<u8> {
    let whole = [&words(&[1, kind, 0, 0, body.len() as u32])[..], body].concat();
    whole.chunks(chunk).flat_map(|piece| [&words(&[1, piece.len() as u32])[..], piece].concat()).collect()
}

/// Bytes of chance.
fn noise(choices: &mut Choices<'_>) -> Vec<u8> {
    (0..choices.byte()).map(|_| choices.byte()).collect()
}

/// A message that is right, nearly right or nonsense.
fn anything(choices: &mut Choices<'_>) -> Vec<u8> {
    let kind = choices.one_of(&[4, 6, 7, 8, 9, 14, 1]);
    let numbers: Vec<_> = (0..choices.byte() % 5).map(|_| choices.one_of(&[0, 1, HONEST, u32::MAX, 3])).collect();
    let body = [words(&numbers), noise(choices)].concat();
    let mut bytes = message(kind, &body, usize::from(choices.byte()).max(1));
    // A number of the chunk's or the message's header becomes another one.
    if choices.byte().is_multiple_of(4) {
        let at = usize::from(choices.byte() % 7) * 4;
        if let Some(place) = bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&choices.one_of(&ODD).to_le_bytes());
        }
    }
    bytes
}

/// Takes so much of what waits for the guest as there is room for.
fn take(agent: &VdAgent, room: usize) -> Vec<u8> {
    let mut bytes = vec![0; room];
    let taken = agent.take_output(&mut bytes);
    bytes.truncate(taken);
    bytes
}

/// Plays an attack.
pub fn play(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (agent, host) = (VdAgent::new().unwrap(), Arc::new(Host::default()));
    let connected: Arc<dyn HostClipboard> = Arc::<Host>::clone(&host);
    agent.connect(Arc::downgrade(&connected));
    agent.guest_opened(true);
    while !choices.are_over() {
        let yes = choices.byte().is_multiple_of(2);
        match choices.byte() % 16 {
            0..8 => agent.receive(&anything(&mut choices)),
            8 => agent.receive(&noise(&mut choices)),
            9 => agent.guest_opened(yes),
            10 => agent.restored(yes),
            11 => agent.set_enabled(yes),
            12 => agent.offer(yes),
            13 => _ = agent.request(),
            14 => agent.provide(yes.then_some("one\ntwo")),
            _ => _ = take(&agent, choices.byte().into()),
        }
        let state = agent.state();
        assert!(state.outgoing.len() <= MAX_WAITING, "what nobody reads grows");
        assert!(state.outgoing.front().is_none_or(|message| state.sent < message.len()), "more was sent than there is");
    }

    agent.guest_opened(false);
    agent.set_enabled(true);
    agent.guest_opened(true);
    agent.offer(false);
    agent.receive(&message(6, &words(&[0, HONEST]), 2048));
    take(&agent, 1 << 20);
    agent.offer(true);
    assert_eq!(take(&agent, 1 << 20), message(7, &words(&[0, 0, 1]), 2048), "the host's grab");
    agent.receive(&message(8, &words(&[0, 1]), 2048));
    agent.provide(Some("ours"));
    assert_eq!(take(&agent, 1 << 20), message(4, &[&words(&[0, 1])[..], b"ours"].concat(), 2048), "the host's text");
    agent.receive(&message(7, &words(&[0, 1, 1]), 2048));
    assert!(agent.request(), "the guest's grab counts");
    host.0.lock().unwrap().clear();
    agent.receive(&message(4, &[&words(&[0, 1])[..], b"theirs"].concat(), 7));
    assert_eq!(*host.0.lock().unwrap(), [Arc::from("theirs")]);
}

#[cfg(test)]
mod tests {
    use crate::vmm::net::hostile::each_attack;

    #[test]
    fn nothing_that_an_agent_says_harms_the_clipboard() {
        each_attack(super::play);
    }
}
