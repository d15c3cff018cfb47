//! A zlib stream that lasts as long as a connection.

use flate2::{Compress, CompressError, Compression, FlushCompress};

/// So many bytes are taken from zlib at a time.
const COMPRESSED: usize = 16 * 1024;

/// The compressing end of the stream.
pub(super) struct Deflater {
    zlib: Compress,
    /// What zlib gives, on its way out. (It would fill all of a vector's spare room with zeros at each call.)
    compressed: Box<[u8]>,
}

impl Deflater {
    /// A stream that is compressed with a level of zlib's, 0 (not at all) to 9.
    pub(super) fn new(level: u32) -> Self {
        let zlib = Compress::new(Compression::new(level.min(9)), true);
        Self { zlib, compressed: vec![0; COMPRESSED].into_boxed_slice() }
    }

    /// Appends what becomes of `input`; all of it with [`FlushCompress::Sync`].
    pub(super) fn compress(
        &mut self,
        mut input: &[u8],
        flush: FlushCompress,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressError> {
        let mut interrupted = false;
        loop {
            let (before_in, before_out) = (self.zlib.total_in(), self.zlib.total_out());
            self.zlib.compress(input, &mut self.compressed, flush)?;
            input = &input[(self.zlib.total_in() - before_in) as usize..];
            let given = (self.zlib.total_out() - before_out) as usize;
            out.extend_from_slice(&self.compressed[..given]);
            if given == COMPRESSED {
                interrupted = true;
            } else if input.is_empty() && !interrupted {
                return Ok(());
            } else {
                // A call that first had to give what an earlier one had no room for does not flush (miniz_oxide); at worst
                // the next flushes nothing once more.
                interrupted = false;
            }
        }
    }
}
