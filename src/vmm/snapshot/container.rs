//! The stream of bytes that a saved state is.
//!
//! ```text
//!   header   magic (8 bytes), version (4), 0 (4)
//!   records  kind (4), flags (4), position (8), length (4), CRC-32 of these 20 bytes and of what follows (4), content
//!   the end  a record of its own, whose position is the number of records before it
//! ```
//!
//! All numbers are little-endian. A record's content has at most [`CONTENT_MAX`] bytes, so that reading one takes little
//! memory whatever the file says. Documents (JSON) are spread over as many records as they need. The stream is written and read
//! from front to back: it may be a file, a pipe or a socket.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{Progress, SnapshotError};

const MAGIC: [u8; 8] = *b"LODGEST\x1a";
/// The version of the stream that this program writes and reads.
pub const VERSION: u32 = 1;
/// The most bytes of a record's content.
pub const CONTENT_MAX: usize = (1 << 20) + 64;
/// The most bytes of a document: what the devices of the largest machine need, with room to spare.
const DOCUMENT_MAX: usize = 1 << 30;

const FILE_HEADER: usize = 16;
const RECORD_HEADER: usize = 24;
/// Where in the header of a record its checksum is.
const CHECKSUM: usize = 20;
/// The last piece of a document.
const FLAG_LAST: u32 = 1;

/// What is in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A piece of the machine's description.
    Machine,
    /// A piece of the devices' states.
    Devices,
    /// Pages of RAM.
    Ram,
    /// Pages of video memory.
    Video,
    /// The end of the stream.
    End,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Machine, Self::Devices, Self::Ram, Self::Video, Self::End];

    fn code(self) -> [u8; 4] {
        match self {
            Self::Machine => *b"MACH",
            Self::Devices => *b"DEVS",
            Self::Ram => *b"RAM ",
            Self::Video => *b"VRAM",
            Self::End => *b"END.",
        }
    }
}

/// Writes a stream.
pub struct Writer<'a> {
    to: &'a mut dyn Write,
    progress: &'a Progress,
    records: u64,
    /// A record as it is written, at once.
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Begins a stream to `to`.
    pub fn new(to: &'a mut dyn Write, progress: &'a Progress) -> Result<Self, SnapshotError> {
        let header = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4]].concat();
        to.write_all(&header).map_err(SnapshotError::Write)?;
        progress.count_written(header.len() as u64);
        Ok(Self { to, progress, records: 0, buffer: Vec::new() })
    }

    /// Writes a record whose content is put together by `fill`, behind what is in the buffer already.
    pub fn record(&mut self, kind: Kind, position: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), SnapshotError> {
        self.write(kind, 0, position, fill)
    }

    fn write(
        &mut self,
        kind: Kind,
        flags: u32,
        position: u64,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), SnapshotError> {
        self.progress.check()?;
        self.buffer.clear();
        self.buffer.resize(RECORD_HEADER, 0);
        fill(&mut self.buffer);
        let length = self.buffer.len() - RECORD_HEADER;
        assert!(length <= CONTENT_MAX, "a record of {length} bytes is never written");
        self.buffer[..4].copy_from_slice(&kind.code());
        self.buffer[4..8].copy_from_slice(&flags.to_le_bytes());
        self.buffer[8..16].copy_from_slice(&position.to_le_bytes());
        self.buffer[16..CHECKSUM].copy_from_slice(&(length as u32).to_le_bytes());
        let sum = checksum(&self.buffer[..CHECKSUM], &self.buffer[RECORD_HEADER..]);
        self.buffer[CHECKSUM..RECORD_HEADER].copy_from_slice(&sum.to_le_bytes());
        self.to.write_all(&self.buffer).map_err(SnapshotError::Write)?;
        self.progress.count_written(self.buffer.len() as u64);
        self.records += 1;
        Ok(())
    }

    /// Writes a document.
    pub fn document(&mut self, kind: Kind, document: &impl Serialize) -> Result<(), SnapshotError> {
        let json = serde_json::to_vec(document).map_err(|error| SnapshotError::Write(error.into()))?;
        let last = json.len().saturating_sub(1) / CONTENT_MAX;
        for (index, piece) in json.chunks(CONTENT_MAX).enumerate() {
            let flags = if index == last { FLAG_LAST } else { 0 };
            self.write(kind, flags, index as u64, |content| content.extend_from_slice(piece))?;
        }
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        let records = self.records;
        self.write(Kind::End, 0, records, |_| ())?;
        self.to.flush().map_err(SnapshotError::Write)
    }
}

fn checksum(header: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(content);
    hasher.finalize()
}

/// Reads a stream.
pub struct Reader<'a> {
    from: &'a mut dyn Read,
    records: u64,
    content: Vec<u8>,
}

/// A record that has been read; its content is right.
pub struct Record<'a> {
    /// What is in it.
    pub kind: Kind,
    /// Where in its kind it belongs.
    pub position: u64,
    flags: u32,
    /// The content.
    pub content: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins to read a stream from `from`.
    pub fn new(from: &'a mut dyn Read) -> Result<Self, SnapshotError> {
        let mut header = [0; FILE_HEADER];
        from.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SnapshotError::Foreign,
            _ => SnapshotError::Read(error),
        })?;
        check_header(&header)?;
        Ok(Self { from, records: 0, content: Vec::new() })
    }

    /// The next record. Behind the end there is none.
    pub fn read(&mut self) -> Result<Record<'_>, SnapshotError> {
        let mut header = [0; RECORD_HEADER];
        self.fill(&mut header)?;
        let header = RecordHeader::parse(&header)?;
        if header.length > CONTENT_MAX {
            return Err(SnapshotError::damaged(format_args!("a record has {} bytes", header.length)));
        }
        let mut content = std::mem::take(&mut self.content);
        content.resize(header.length, 0);
        self.fill(&mut content)?;
        self.content = content;
        if checksum(&header.bytes, &self.content) != header.checksum {
            return Err(SnapshotError::damaged("a checksum is wrong"));
        }
        if header.kind == Kind::End && (header.position != self.records || header.length != 0) {
            return Err(SnapshotError::damaged("records are missing"));
        }
        self.records += 1;
        Ok(Record { kind: header.kind, position: header.position, flags: header.flags, content: &self.content })
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SnapshotError> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SnapshotError::Truncated,
            _ => SnapshotError::Read(error),
        })
    }

    /// Reads a document, which must come next.
    pub fn document<T: DeserializeOwned>(&mut self, kind: Kind) -> Result<T, SnapshotError> {
        let mut json = Vec::new();
        for index in 0.. {
            let record = self.read()?;
            if record.kind != kind || record.position != index {
                return Err(SnapshotError::damaged(format_args!("a record of {kind:?} is missing")));
            }
            if json.len() + record.content.len() > DOCUMENT_MAX {
                return Err(SnapshotError::damaged(format_args!("{kind:?} is too long")));
            }
            json.extend_from_slice(record.content);
            if record.flags & FLAG_LAST != 0 {
                break;
            }
        }
        serde_json::from_slice(&json).map_err(|error| SnapshotError::damaged(format_args!("{kind:?}: {error}")))
    }
}

struct RecordHeader {
    kind: Kind,
    flags: u32,
    position: u64,
    length: usize,
    checksum: u32,
    /// What the checksum counts in.
    bytes: [u8; CHECKSUM],
}

impl RecordHeader {
    fn parse(header: &[u8; RECORD_HEADER]) -> Result<Self, SnapshotError> {
        let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let code = [header[0], header[1], header[2], header[3]];
        let kind = Kind::ALL.into_iter().find(|kind| kind.code() == code);
        let mut bytes = [0; CHECKSUM];
        bytes.copy_from_slice(&header[..CHECKSUM]);
        Ok(Self {
            kind: kind.ok_or_else(|| SnapshotError::damaged("a record is of an unknown kind"))?,
            flags: word(4),
            position: u64::from(word(8)) | u64::from(word(12)) << 32,
            length: word(16) as usize,
            checksum: word(CHECKSUM),
            bytes,
        })
    }
}

fn check_header(header: &[u8; FILE_HEADER]) -> Result<(), SnapshotError> {
    if header[..8] != MAGIC {
        return Err(SnapshotError::Foreign);
    }
    match u32::from_le_bytes([header[8], header[9], header[10], header[11]]) {
        VERSION => Ok(()),
        found => Err(SnapshotError::Version { found }),
    }
}

/// Whether `file` holds a state from its beginning to its end. Only both ends are looked at.
pub fn is_complete(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let Some(end) = length.checked_sub(RECORD_HEADER as u64) else { return Ok(false) };
    let (mut first, mut last) = ([0; FILE_HEADER], [0; RECORD_HEADER]);
    file.read_exact_at(&mut first, 0)?;
    file.read_exact_at(&mut last, end)?;
    let ends = RecordHeader::parse(&last)
        .is_ok_and(|header| header.kind == Kind::End && header.checksum == checksum(&header.bytes, &[]));
    Ok(first[..8] == MAGIC && ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document longer than a record, and pages.
    fn stream() -> Vec<u8> {
        let (mut bytes, progress) = (Vec::new(), Progress::default());
        let mut writer = Writer::new(&mut bytes, &progress).unwrap();
        writer.document(Kind::Machine, &"x".repeat(CONTENT_MAX + 5)).unwrap();
        writer.document(Kind::Devices, &[1, 2, 3]).unwrap();
        writer.record(Kind::Ram, 0x10_0000, |content| content.extend_from_slice(&[7; 40])).unwrap();
        writer.finish().unwrap();
        assert_eq!(progress.written(), bytes.len() as u64);
        bytes
    }

    fn read(mut bytes: &[u8]) -> Result<(String, Vec<u32>), SnapshotError> {
        let mut reader = Reader::new(&mut bytes)?;
        let (machine, devices) = (reader.document(Kind::Machine)?, reader.document(Kind::Devices)?);
        loop {
            let record = reader.read()?;
            match record.kind {
                Kind::Ram => assert_eq!((record.position, record.content), (0x10_0000, &[7; 40][..])),
                Kind::End => return Ok((machine, devices)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn is_complete(bytes: &[u8]) -> bool {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        super::is_complete(&file).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let stream = stream();

        let (machine, devices) = read(&stream).unwrap();

        assert_eq!((machine.len(), devices), (CONTENT_MAX + 5, vec![1, 2, 3]));
        assert!(is_complete(&stream));
    }

    #[test]
    fn a_stream_that_was_cut_off_is_refused_wherever_that_was() {
        let stream = stream();
        let near_an_edge = (0..200).chain(CONTENT_MAX..stream.len());

        for length in near_an_edge {
            let error = read(&stream[..length]).unwrap_err();

            assert!(matches!(error, SnapshotError::Truncated | SnapshotError::Foreign), "{length}: {error}");
            assert!(!is_complete(&stream[..length]), "{length}");
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is() {
        let mut stream = stream();
        let behind_the_document = CONTENT_MAX + 16 + RECORD_HEADER;
        // The last four bytes of the header mean nothing yet.
        for at in (0..12).chain(16..200).chain(behind_the_document..stream.len()) {
            for bit in 0..8 {
                stream[at] ^= 1 << bit;
                assert!(read(&stream).is_err(), "bit {bit} of byte {at}");
                stream[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut stream = stream();
        stream[8] = 9;

        assert!(matches!(read(&stream), Err(SnapshotError::Version { found: 9 })));
    }

    #[test]
    fn a_missing_record_is_noticed() {
        let stream = stream();
        let pages = stream.len() - RECORD_HEADER - 40 - RECORD_HEADER;

        let shortened = [&stream[..pages], &stream[stream.len() - RECORD_HEADER..]].concat();

        assert!(matches!(read(&shortened), Err(SnapshotError::Damaged(_))));
    }

    #[test]
    fn a_record_that_claims_to_be_huge_is_refused_before_it_takes_memory() {
        let mut stream = stream();
        stream[FILE_HEADER + 16..FILE_HEADER + CHECKSUM].copy_from_slice(&u32::MAX.to_le_bytes());

        let error = read(&stream).unwrap_err();

        assert!(error.to_string().contains("4294967295 bytes"), "{error}");
    }

    #[test]
    fn a_cancelled_writer_stops() {
        let (mut bytes, progress) = (Vec::new(), Progress::default());
        let mut writer = Writer::new(&mut bytes, &progress).unwrap();

        progress.cancel();

        assert!(matches!(writer.record(Kind::Ram, 0, |_| ()), Err(SnapshotError::Cancelled)));
    }
}
