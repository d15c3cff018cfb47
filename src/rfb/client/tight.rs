//! Takes a Tight rectangle from the stream, piece by piece.

use super::handshake::take;
use super::reader::{End, Reader};
use crate::rfb::encoding::DecodeError;
use crate::rfb::encoding::tight::{Body, Decoder, Head};
use crate::screen::Rect;
use tokio::io::AsyncRead;

/// What zlib may add to pixels that it can't make smaller, in bytes.
const OVERHEAD: usize = 64 * 1024;

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads what follows the rectangle's header.
    pub(super) async fn read_tight(&mut self, rect: Rect) -> Result<(), End> {
        let [first] = take(&mut self.stream).await?;
        let (stream, filtered) = match self.tight.begin(first)? {
            Head::Fill => {
                let bytes = take(&mut self.stream).await?;
                return Ok(Decoder::fill(bytes, rect, &mut self.picture.lock())?);
            }
            Head::Basic { stream, filter } => (stream, filter),
        };
        let [filter] = if filtered { take(&mut self.stream).await? } else { [0] };
        let mut body = Body::new(filter)?;
        if body.has_palette() {
            let [last] = take(&mut self.stream).await?;
            self.fill_buffer((usize::from(last) + 1) * 3).await?;
            body.set_palette(&self.buffer);
        }
        let plain = body.length(rect)?;
        let compressed = Body::is_compressed(plain);
        let length = if compressed { self.read_compact_length().await? } else { plain };
        if length > plain + OVERHEAD {
            return Err(DecodeError::Length("more").into());
        }
        self.fill_buffer(length).await?;
        let stream = compressed.then_some(stream);
        Ok(self.tight.decode(&body, stream, &self.buffer, rect, &mut self.picture.lock())?)
    }

    /// Reads a length in up to three bytes, the lowest bits first.
    async fn read_compact_length(&mut self) -> Result<usize, End> {
        let mut length = 0;
        for shift in [0, 7, 14] {
            let [byte] = take(&mut self.stream).await?;
            let more = byte & 0x80 != 0 && shift < 14;
            let bits = if shift < 14 { byte & 0x7F } else { byte };
            length |= usize::from(bits) << shift;
            if !more {
                break;
            }
        }
        Ok(length)
    }
}
