//! The gate as viewers meet it.

use std::{net::Ipv4Addr, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::*;
use crate::rfb::{
    clipboard::ClipboardMessage,
    protocol::{ClientMessage, Encoding, WireRect},
};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NOTHING: Rules = Rules { password: None, tls: None, websocket: false, view_only: false };

fn with_password() -> Rules {
    Rules { password: Some(Password::new("secret").unwrap()), ..NOTHING }
}

/// A viewer at the gate, the screen behind it, and how the viewing ends.
struct Scene {
    viewer: DuplexStream,
    screen: DuplexStream,
    ended: tokio::task::JoinHandle<Result<(), GateError>>,
}

fn come(gate: &Arc<Gate>) -> Scene {
    let (viewer, theirs) = tokio::io::duplex(1 << 16);
    let (screen, behind) = tokio::io::duplex(1 << 16);
    let gate = Arc::clone(gate);
    let ended = tokio::spawn(async move { gate.serve(theirs, ADDRESS, async { Ok(behind) }).await });
    Scene { viewer, screen, ended }
}

fn gate(rules: Rules) -> Arc<Gate> {
    Arc::new(Gate::new(rules))
}

async fn say(stream: &mut (impl Stream + ?Sized), bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
}

async fn expect(stream: &mut (impl Stream + ?Sized), bytes: &[u8]) {
    let mut seen = vec![0; bytes.len()];
    stream.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, bytes);
}

/// Plays the screen's server, up to the viewer's first message, which is this.
async fn answer_gate(screen: &mut DuplexStream, first: &[u8]) {
    say(screen, b"RFB 003.008\n\x01\x01").await;
    expect(screen, b"RFB 003.008\n\x01").await;
    say(screen, &[0; 4]).await;
    expect(screen, first).await;
}

/// Answers the challenge with a password.
async fn log_in(viewer: &mut DuplexStream, password: &str) {
    expect(viewer, b"RFB 003.008\n").await;
    say(viewer, b"RFB 003.008\n").await;
    expect(viewer, &[1, 2]).await;
    say(viewer, &[2]).await;
    let mut challenge = [0; 16];
    viewer.read_exact(&mut challenge).await.unwrap();
    say(viewer, &Password::new(password).unwrap().answer(&challenge)).await;
}

#[tokio::test]
async fn who_knows_the_password_sees_the_screen() {
    let Scene { mut viewer, mut screen, ended } = come(&gate(with_password()));

    log_in(&mut viewer, "secret").await;
    expect(&mut viewer, &[0; 4]).await;
    let mut said = vec![1];
    ClientMessage::Key { down: true, keysym: 97 }.write(&mut said);
    say(&mut viewer, &said).await;

    answer_gate(&mut screen, &said).await;
    say(&mut screen, b"pixels").await;
    expect(&mut viewer, b"pixels").await;
    drop((viewer, screen));
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_does_not_know_it_is_told_so_and_after_some_times_no_longer_asked() {
    let gate = gate(with_password());
    for _ in 0..5 {
        let Scene { mut viewer, screen: _screen, ended } = come(&gate);
        log_in(&mut viewer, "guess").await;
        expect(&mut viewer, b"\0\0\0\x01\0\0\0\x18it gave a wrong password").await;
        assert!(matches!(ended.await.unwrap(), Err(GateError::WrongPassword)));
    }

    let Scene { mut viewer, screen: _screen, ended } = come(&gate);
    expect(&mut viewer, b"RFB 003.008\n").await;
    say(&mut viewer, b"RFB 003.008\n").await;

    expect(&mut viewer, b"\0\0\0\0\x34there were too many wrong passwords from its address").await;
    assert!(matches!(ended.await.unwrap(), Err(GateError::TooManyAttempts)));
}

#[tokio::test]
async fn old_viewers_log_in_as_they_know_it() {
    let Scene { mut viewer, mut screen, ended: _ended } = come(&gate(with_password()));
    expect(&mut viewer, b"RFB 003.008\n").await;
    say(&mut viewer, b"RFB 003.003\n").await;
    expect(&mut viewer, &[0, 0, 0, 2]).await;
    let mut challenge = [0; 16];
    viewer.read_exact(&mut challenge).await.unwrap();
    say(&mut viewer, &Password::new("secret").unwrap().answer(&challenge)).await;
    expect(&mut viewer, &[0; 4]).await;
    say(&mut viewer, &[0]).await;

    answer_gate(&mut screen, &[0]).await;
}

#[tokio::test]
async fn a_security_type_that_was_not_offered_leads_nowhere() {
    for chosen in [0, 1, 19, 255] {
        let Scene { mut viewer, screen: _screen, ended } = come(&gate(with_password()));
        expect(&mut viewer, b"RFB 003.008\n").await;
        say(&mut viewer, &[b"RFB 003.008\n", &[chosen][..]].concat()).await;

        assert!(matches!(ended.await.unwrap(), Err(GateError::Protocol(ProtocolError::Security(_)))), "{chosen}");
    }
}

#[tokio::test]
async fn who_hangs_up_anywhere_is_gone() {
    let whole = b"RFB 003.008\n\x02sixteen bytes...";
    for length in 0..whole.len() {
        let Scene { mut viewer, screen: _screen, ended } = come(&gate(with_password()));
        say(&mut viewer, &whole[..length]).await;
        drop(viewer);

        assert!(ended.await.unwrap().is_err(), "after {length} bytes");
    }
}

#[tokio::test]
async fn who_only_looks_changes_nothing() {
    let Scene { mut viewer, mut screen, ended: _ended } = come(&gate(Rules { view_only: true, ..NOTHING }));
    expect(&mut viewer, b"RFB 003.008\n").await;
    say(&mut viewer, b"RFB 003.008\n").await;
    expect(&mut viewer, &[1, 1]).await;
    say(&mut viewer, &[1]).await;
    expect(&mut viewer, &[0; 4]).await;
    let (mut said, mut passed) = (vec![0], Vec::new());
    ClientMessage::SetEncodings(vec![Encoding::EXTENDED_CLIPBOARD, Encoding::ZRLE]).write(&mut said);
    ClientMessage::SetEncodings(vec![Encoding::NO_CLIPBOARD, Encoding::ZRLE]).write(&mut passed);
    ClientMessage::Clipboard(ClipboardMessage::Notify { text: true }).write(&mut said);
    ClientMessage::Key { down: true, keysym: 97 }.write(&mut said);
    ClientMessage::Pointer { buttons: 1, x: 2, y: 3 }.write(&mut said);
    ClientMessage::CutText(vec![b'x'; 1000]).write(&mut said);
    ClientMessage::SetDesktopSize { width: 1, height: 1 }.write(&mut said);
    let request =
        ClientMessage::UpdateRequest { incremental: true, area: WireRect { x: 0, y: 0, width: 1, height: 1 } };
    request.write(&mut said);
    request.write(&mut passed);

    // Cut anywhere.
    for byte in said {
        say(&mut viewer, &[byte]).await;
    }

    answer_gate(&mut screen, &[&[1], &passed[..]].concat()).await;
}

#[tokio::test]
async fn nobody_is_promised_memory_that_cannot_be_shared_over_a_network() {
    let asked = vec![
        Encoding::SHARED_MEMORY,
        Encoding::ZRLE,
        Encoding::EXTENDED_MOUSE_BUTTONS,
        Encoding::DESKTOP_SIZE,
        Encoding::IN_MEMORY,
    ];
    for view_only in [false, true] {
        let Scene { mut viewer, mut screen, ended } = come(&gate(Rules { view_only, ..with_password() }));
        log_in(&mut viewer, "secret").await;
        expect(&mut viewer, &[0; 4]).await;
        let (mut said, mut passed) = (vec![1], vec![1]);
        ClientMessage::SetEncodings(asked.clone()).write(&mut said);
        let remark = view_only.then_some(Encoding::NO_CLIPBOARD);
        let heard = remark.into_iter().chain([Encoding::ZRLE, Encoding::DESKTOP_SIZE]).collect();
        ClientMessage::SetEncodings(heard).write(&mut passed);
        let key = ClientMessage::Key { down: true, keysym: 97 };
        key.write(&mut said);
        if !view_only {
            key.write(&mut passed);
        }

        say(&mut viewer, &said).await;
        drop(viewer);

        answer_gate(&mut screen, &passed).await;
        ended.await.unwrap().unwrap();
        let mut rest = Vec::new();
        screen.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn a_browser_comes_by_websocket() {
    let Scene { viewer, mut screen, ended: _ended } = come(&gate(Rules { websocket: true, ..with_password() }));
    let mut request = "ws://localhost/websockify".into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "binary".parse().unwrap());
    let (mut browser, response) = tokio_tungstenite::client_async(request, viewer).await.unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "binary");
    // A stream again, to be logged in by as all others.
    let (mut stream, mut inside) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let mut buffer = [0; 7];
        loop {
            tokio::select! {
                Ok(length @ 1..) = inside.read(&mut buffer) => {
                    browser.send(Message::binary(buffer[..length].to_vec())).await.unwrap();
                }
                Some(Ok(message)) = browser.next() => inside.write_all(&message.into_data()).await.unwrap(),
                else => break,
            }
        }
    });

    log_in(&mut stream, "secret").await;
    expect(&mut stream, &[0; 4]).await;
    say(&mut stream, &[1]).await;

    answer_gate(&mut screen, &[1]).await;
    say(&mut screen, b"pixels").await;
    expect(&mut stream, b"pixels").await;
}
