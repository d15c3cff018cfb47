//! Memory in a saved state: chunks of up to 256 pages. A chunk begins with a bitmap of the pages that follow; pages that are not
//! there are zero, and a chunk of zeroes is not there at all.

use std::{io, ops::Range};

use super::{
    Progress, SnapshotError,
    container::{Kind, Record, Writer},
};

/// A page in bytes.
pub const PAGE: usize = 4096;
const PAGES_OF_CHUNK: usize = 256;
/// A chunk in bytes. Chunks begin at multiples of it.
const CHUNK: u64 = (PAGE * PAGES_OF_CHUNK) as u64;
/// The bitmap in bytes, the lowest bit of the first byte first.
const BITMAP: usize = PAGES_OF_CHUNK / 8;

/// Memory that is saved by pages. Nobody changes it meanwhile.
pub trait Pages: Send + Sync {
    /// Where there is memory, in ascending order. All bounds are multiples of [`PAGE`].
    fn ranges(&self) -> Vec<Range<u64>>;

    /// The first part of `range`, which lies in one of the ranges, that may be anything but zero. Its bounds need not be those of
    /// pages.
    fn next_data(&self, range: Range<u64>) -> Option<Range<u64>> {
        (!range.is_empty()).then_some(range)
    }

    /// Reads what is at `address`, within one of the ranges.
    fn read(&self, address: u64, to: &mut [u8]) -> io::Result<()>;

    /// Writes to `address`, within one of the ranges.
    fn write(&self, address: u64, from: &[u8]) -> io::Result<()>;

    /// Makes all of it zero.
    fn clear(&self) -> io::Result<()>;
}

/// The bytes of `memory`.
pub fn size(memory: &dyn Pages) -> u64 {
    memory.ranges().iter().map(|range| range.end - range.start).sum()
}

/// Writes `memory` as records of `kind`.
pub fn save(kind: Kind, memory: &dyn Pages, to: &mut Writer<'_>, progress: &Progress) -> Result<(), SnapshotError> {
    let mut chunk = vec![0; CHUNK as usize];
    for range in memory.ranges() {
        let mut at = range.start;
        while let Some(data) = memory.next_data(at..range.end) {
            let start = data.start - data.start % CHUNK;
            let bounds = start.max(range.start)..(start + CHUNK).min(range.end);
            save_chunk(kind, memory, start, bounds.clone(), &mut chunk, to)?;
            progress.advance(bounds.end - at);
            at = bounds.end;
        }
        progress.advance(range.end - at);
    }
    Ok(())
}

/// Writes the part `bounds` of the chunk at `start`.
fn save_chunk(
    kind: Kind,
    memory: &dyn Pages,
    start: u64,
    bounds: Range<u64>,
    chunk: &mut [u8],
    to: &mut Writer<'_>,
) -> Result<(), SnapshotError> {
    const ZEROES: [u8; PAGE] = [0; PAGE];
    let used = &mut chunk[..(bounds.end - bounds.start) as usize];
    memory.read(bounds.start, used).map_err(SnapshotError::Memory)?;
    let first = (bounds.start - start) as usize / PAGE;
    let pages = || (first..).zip(used.chunks_exact(PAGE)).filter(|(_, page)| *page != ZEROES);
    let mut bitmap = [0; BITMAP];
    pages().for_each(|(index, _)| bitmap[index / 8] |= 1 << (index % 8));
    if bitmap == [0; BITMAP] {
        return Ok(());
    }
    to.record(kind, start, |content| {
        content.extend_from_slice(&bitmap);
        pages().for_each(|(_, page)| content.extend_from_slice(page));
    })
}

/// Writes the pages of a record to `memory`, which was cleared before.
pub fn restore(record: &Record<'_>, memory: &dyn Pages, ranges: &[Range<u64>]) -> Result<(), SnapshotError> {
    let damaged = |reason: &str| SnapshotError::damaged(format_args!("memory at {:#x}: {reason}", record.position));
    let Some((bitmap, mut content)) = record.content.split_at_checked(BITMAP) else {
        return Err(damaged("a record is too short"));
    };
    if !record.position.is_multiple_of(CHUNK) {
        return Err(damaged("a chunk begins in the middle of one"));
    }
    let is_there = |index: usize| bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 != 0);
    let mut index = 0;
    while index < PAGES_OF_CHUNK {
        // A run of pages is written at once.
        let count = (index..PAGES_OF_CHUNK).take_while(|&index| is_there(index)).count();
        if count > 0 {
            let (run, rest) = content.split_at_checked(count * PAGE).ok_or_else(|| damaged("pages are missing"))?;
            content = rest;
            let start = record.position.checked_add((index * PAGE) as u64);
            let end = start.and_then(|start| start.checked_add(run.len() as u64));
            let (Some(start), Some(end)) = (start, end) else { return Err(damaged("there is no such address")) };
            if !ranges.iter().any(|range| range.start <= start && end <= range.end) {
                return Err(damaged("the machine has no memory there"));
            }
            memory.write(start, run).map_err(SnapshotError::Memory)?;
        }
        index += count + 1;
    }
    if content.is_empty() { Ok(()) } else { Err(damaged("there are more pages than it says")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::vmm::snapshot::container::Reader;

    const SIZE: usize = 3 * CHUNK as usize;
    const HOLE: Range<usize> = 0xa_0000..0xc_0000;

    /// Three chunks of memory with a hole in the first; the last ends early.
    struct Fake(Mutex<Vec<u8>>);

    impl Fake {
        fn new(fill: impl Fn(usize) -> u8) -> Self {
            Self(Mutex::new((0..SIZE).map(|at| if HOLE.contains(&at) { 0 } else { fill(at / PAGE) }).collect()))
        }
    }

    impl Pages for Fake {
        fn ranges(&self) -> Vec<Range<u64>> {
            vec![0..HOLE.start as u64, HOLE.end as u64..(SIZE - 5 * PAGE) as u64]
        }

        fn read(&self, address: u64, to: &mut [u8]) -> io::Result<()> {
            to.copy_from_slice(&self.0.lock().unwrap()[address as usize..][..to.len()]);
            Ok(())
        }

        fn write(&self, address: u64, from: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap()[address as usize..][..from.len()].copy_from_slice(from);
            Ok(())
        }

        fn clear(&self) -> io::Result<()> {
            self.0.lock().unwrap().fill(0);
            Ok(())
        }
    }

    fn saved(memory: &Fake) -> Vec<u8> {
        let (mut bytes, progress) = (Vec::new(), Progress::default());
        let mut writer = Writer::new(&mut bytes, &progress).unwrap();
        save(Kind::Ram, memory, &mut writer, &progress).unwrap();
        writer.finish().unwrap();
        assert_eq!(progress.done(), size(memory));
        bytes
    }

    fn restored(mut bytes: &[u8], memory: &Fake) -> Result<(), SnapshotError> {
        let mut reader = Reader::new(&mut bytes)?;
        loop {
            let record = reader.read()?;
            match record.kind {
                Kind::End => return Ok(()),
                _ => restore(&record, memory, &memory.ranges())?,
            }
        }
    }

    #[test]
    fn memory_is_the_same_afterwards_and_zeroes_take_no_room() {
        // One page of three is zero, and so is the second chunk.
        let memory =
            Fake::new(
                |page| if page % 3 == 0 || (256..512).contains(&page) || page >= 763 { 0 } else { page as u8 | 1 },
            );
        let bytes = saved(&memory);
        let other = Fake::new(|_| 0);

        restored(&bytes, &other).unwrap();

        assert!(*other.0.lock().unwrap() == *memory.0.lock().unwrap());
        let pages = memory.0.lock().unwrap().chunks(PAGE).filter(|page| page[0] != 0).count();
        assert!(bytes.len() < pages * PAGE + 300, "{} bytes for {pages} pages", bytes.len());
    }

    #[test]
    fn empty_memory_is_a_few_bytes() {
        assert!(saved(&Fake::new(|_| 0)).len() < 100);
    }

    #[test]
    fn pages_where_there_is_no_memory_are_refused() {
        let write = |position: u64, bitmap: [u8; BITMAP], pages: usize| {
            let (mut bytes, progress) = (Vec::new(), Progress::default());
            let mut writer = Writer::new(&mut bytes, &progress).unwrap();
            let fill = |content: &mut Vec<u8>| {
                content.extend_from_slice(&bitmap);
                content.extend(vec![1; pages * PAGE]);
            };
            writer.record(Kind::Ram, position, fill).unwrap();
            writer.finish().unwrap();
            restored(&bytes, &Fake::new(|_| 0))
        };
        let one = |page: usize| std::array::from_fn(|byte| if byte == page / 8 { 1 << (page % 8) } else { 0 });

        assert!(write(0, one(0), 1).is_ok());
        assert!(write(0, one(0xa0), 1).is_err(), "in the hole");
        assert!(write(2 * CHUNK, one(255), 1).is_err(), "behind the end");
        assert!(write(u64::MAX - CHUNK + 1, one(255), 1).is_err(), "beyond all addresses");
        assert!(write(0, one(0), 0).is_err() && write(0, one(0), 2).is_err(), "another number of pages");
        assert!(write(PAGE as u64, one(0), 1).is_err(), "not at a chunk's beginning");
    }
}
