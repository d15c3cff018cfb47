//! RFB inside of a WebSocket (RFC 6455), as noVNC speaks it: the stream's bytes are binary messages, cut anywhere.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::server::{Callback, ErrorResponse, Request, Response},
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

use super::{GateError, Stream};

/// No message from a browser is longer, in bytes.
const LONGEST: usize = 256 * 1024;
/// What is on its way in each direction at most, and no message to the browser is longer.
const BUFFER: usize = 64 * 1024;

/// Greets a browser. The stream of bytes inside of its messages ends when either side goes.
pub(super) async fn accept(browser: Box<dyn Stream>) -> Result<DuplexStream, GateError> {
    let config = WebSocketConfig::default().max_message_size(Some(LONGEST)).max_frame_size(Some(LONGEST));
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(browser, AsBinary, Some(config)).await;
    let socket = accepted.map_err(Box::new)?;
    let (inside, outside) = tokio::io::duplex(BUFFER);
    tokio::spawn(async move {
        if let Err(error) = pump(socket, outside).await {
            tracing::debug!("a browser has gone: {error}");
        }
    });
    Ok(inside)
}

/// Agrees to the subprotocol that old versions of noVNC ask for.
struct AsBinary;

impl Callback for AsBinary {
    fn on_request(self, request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let wishes = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        let mut wishes = wishes.iter().filter_map(|wish| wish.to_str().ok()).flat_map(|wishes| wishes.split(','));
        if wishes.any(|wish| wish.trim() == "binary") {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("binary"));
        }
        Ok(response)
    }
}

async fn pump(mut socket: WebSocketStream<Box<dyn Stream>>, mut bytes: DuplexStream) -> Result<(), GateError> {
    let mut buffer = vec![0; BUFFER];
    loop {
        tokio::select! {
            read = bytes.read(&mut buffer) => match read? {
                0 => break,
                length => {
                    let message = Message::binary(buffer[..length].to_vec());
                    socket.send(message).await.map_err(Box::new)?;
                }
            },
            message = socket.next() => match message.transpose().map_err(Box::new)? {
                Some(Message::Binary(message)) => bytes.write_all(&message).await?,
                None | Some(Message::Close(_)) => break,
                // Pings are answered by the crate; text is no RFB.
                Some(_) => {}
            },
        }
    }
    socket.close(None).await.map_err(Box::new)?;
    Ok(())
}
