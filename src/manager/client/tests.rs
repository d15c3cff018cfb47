use std::path::PathBuf;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use super::*;

const GREETING: &str =
    r#"{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "test"}, "capabilities": []}}"#;

struct Server {
    _folder: tempfile::TempDir,
    path: PathBuf,
    listener: UnixListener,
}

impl Server {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self { _folder: folder, path, listener }
    }

    /// Accepts, greets and answers the negotiation.
    async fn negotiate(&self) -> BufReader<UnixStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        say(&mut stream, GREETING).await;
        let request = hear(&mut stream).await;
        assert_eq!(request["execute"], "qmp_capabilities");
        answer(&mut stream, &request, json!({})).await;
        stream
    }
}

async fn say(stream: &mut BufReader<UnixStream>, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn hear(stream: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    serde_json::from_str(&line).unwrap()
}

async fn answer(stream: &mut BufReader<UnixStream>, request: &Value, value: Value) {
    say(stream, &json!({ "return": value, "id": request["id"] }).to_string()).await;
}

async fn pair() -> (Client, BufReader<UnixStream>, Server) {
    let server = Server::new();
    let (client, stream) = tokio::join!(Client::connect(&server.path), server.negotiate());
    (client.unwrap(), stream, server)
}

#[tokio::test]
async fn answers_find_their_requests_whatever_their_order() {
    let (client, mut stream, _server) = pair().await;

    let serve = async {
        let first = hear(&mut stream).await;
        let second = hear(&mut stream).await;
        answer(&mut stream, &second, json!({ "for": second["execute"] })).await;
        answer(&mut stream, &first, json!({ "for": first["execute"] })).await;
    };
    let (one, two, ()) =
        tokio::join!(client.execute("one", Value::Null), client.execute("two", json!({ "a": 1 })), serve);

    assert_eq!(one.unwrap()["for"], "one");
    assert_eq!(two.unwrap()["for"], "two");
}

#[tokio::test]
async fn a_refusal_is_told_in_the_workers_words() {
    let (client, mut stream, _server) = pair().await;

    let serve = async {
        let request = hear(&mut stream).await;
        let error = json!({ "error": { "class": "CommandNotFound", "desc": "no such thing" }, "id": request["id"] });
        say(&mut stream, &error.to_string()).await;
    };
    let (result, ()) = tokio::join!(client.execute("novelty", Value::Null), serve);

    assert!(matches!(
        result,
        Err(ClientError::Refused { class: ErrorClass::CommandNotFound, description }) if description == "no such thing"
    ));
}

#[tokio::test]
async fn a_worker_that_hangs_hangs_nobody_and_its_late_answer_is_dropped() {
    let (client, mut stream, _server) = pair().await;

    let result = client.execute_within("stop", Value::Null, Duration::from_millis(20)).await;

    assert!(matches!(result, Err(ClientError::Timeout { .. })));
    let late = hear(&mut stream).await;
    answer(&mut stream, &late, json!({})).await;
    let serve = async {
        let request = hear(&mut stream).await;
        answer(&mut stream, &request, json!({ "after": true })).await;
    };
    let (result, ()) = tokio::join!(client.execute("cont", Value::Null), serve);
    assert_eq!(result.unwrap()["after"], true);
}

#[tokio::test]
async fn a_worker_that_reads_nothing_hangs_nobody() {
    let (client, stream, _server) = pair().await;
    let long = json!({ "text": "x".repeat(100_000) });

    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (client, long) = (client.clone(), long.clone());
        requests.spawn(async move { client.execute_within("x", long, Duration::from_millis(50)).await });
    }

    while let Some(result) = requests.join_next().await {
        assert!(matches!(result.unwrap(), Err(ClientError::Timeout { .. })));
    }
    drop(stream);
}

#[tokio::test]
async fn everybody_who_waits_is_told_when_the_worker_goes() {
    let (client, mut stream, _server) = pair().await;
    let other = client.clone();

    let serve = async {
        hear(&mut stream).await;
        drop(stream);
    };
    let (result, (), ()) = tokio::join!(client.execute("quit", Value::Null), serve, other.closed());

    assert!(matches!(result, Err(ClientError::Closed)));
    assert!(matches!(client.execute("stop", Value::Null).await, Err(ClientError::Closed)));
    assert!(client.is_closed());
}

#[tokio::test]
async fn events_reach_every_listener_and_their_end_is_told() {
    let (client, mut stream, _server) = pair().await;
    let (mut one, mut two) = (client.events(), client.events());

    say(&mut stream, r#"{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}"#).await;

    assert_eq!(one.recv().await.unwrap().event, "STOP");
    assert_eq!(two.recv().await.unwrap().event, "STOP");
    drop(stream);
    assert!(matches!(one.recv().await, Err(broadcast::error::RecvError::Closed)));
    assert!(matches!(client.events().recv().await, Err(broadcast::error::RecvError::Closed)));
}

#[tokio::test]
async fn a_worker_that_floods_is_read_slowly_and_heard_all_the_same() {
    let (client, mut stream, _server) = pair().await;
    let event = r#"{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}"#;

    let begin = std::time::Instant::now();
    let flood = async {
        say(&mut stream, &event.repeat(2000)).await;
        let request = hear(&mut stream).await;
        answer(&mut stream, &request, json!(7)).await;
    };
    let (answer, ()) = tokio::join!(client.execute("stop", Value::Null), flood);

    assert_eq!(answer.unwrap(), 7);
    assert!(begin.elapsed() > Duration::from_millis(200), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_connection_closes_with_the_last_client() {
    let (client, mut stream, _server) = pair().await;

    drop(client.clone());
    drop(client);

    let mut line = String::new();
    assert_eq!(stream.read_line(&mut line).await.unwrap(), 0);
}

#[tokio::test]
async fn a_worker_that_never_greets_is_given_up() {
    let server = Server::new();

    let result = Client::connect_within(&server.path, Duration::from_millis(20)).await;

    assert!(matches!(result, Err(ClientError::Timeout { .. })));
}

#[tokio::test]
async fn a_worker_that_dies_before_it_greets_is_told_apart_from_none() {
    let server = Server::new();
    let path = server.path.clone();
    let (result, ()) = tokio::join!(Client::connect(&path), async {
        drop(server.listener.accept().await.unwrap());
    });
    assert!(matches!(result, Err(ClientError::Closed)));

    assert!(matches!(Client::connect(&path.with_extension("none")).await, Err(ClientError::Connect(_))));
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let server = Server::new();

    let (result, ()) = tokio::join!(Client::connect(&server.path), async {
        let (mut stream, _) = server.listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
    });

    assert!(matches!(result, Err(ClientError::Protocol(_))));
}

#[tokio::test]
async fn typing_sends_one_stroke_after_the_other_and_stops_when_it_is_told_to() {
    let (client, mut stream, _server) = pair().await;

    let worker = async {
        for keys in [json!(["shift", "h"]), json!(["i"])] {
            let request = hear(&mut stream).await;
            let sent: Vec<_> =
                request["arguments"]["keys"].as_array().unwrap().iter().map(|key| key["data"].clone()).collect();
            assert_eq!((request["execute"].as_str(), Value::from(sent)), (Some("send-key"), keys));
            answer(&mut stream, &request, json!({})).await;
        }
    };
    let (typed, ()) = tokio::join!(client.type_text("Hi, there", &|done, total| (done, total) < (2, 9)), worker);

    assert!(!typed.unwrap());
}

#[tokio::test]
async fn a_text_with_characters_that_cannot_be_typed_is_refused_as_a_whole() {
    let (client, _stream, _server) = pair().await;

    let error = client.type_text("für 5 €", &|_, _| true).await.unwrap_err();

    assert!(error.to_string().contains("'ü', '€' are on no key"), "{error}");
}
