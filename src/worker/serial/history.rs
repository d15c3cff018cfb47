//! What a serial port has said: the first and the last mebibyte of it, for whoever comes later.
//!
//! It lies in chunks that are made when they are needed, so that a guest which says little costs little.

use std::collections::VecDeque;

/// The size of a chunk, in bytes.
const CHUNK: usize = 4096;

/// What is kept of the beginning, in chunks.
const HEAD: usize = (1 << 20) / CHUNK;

/// What is kept of the end, in chunks: one more, since the first and the last are not whole.
const TAIL: usize = (1 << 20) / CHUNK + 1;

type Chunk = Box<[u8]>;

/// The history; see the module. Places in it are counted in bytes from the beginning of all.
#[derive(Debug, Default)]
pub struct History {
    head: Vec<Chunk>,
    tail: VecDeque<Chunk>,
    /// The chunks that were dropped between head and tail.
    dropped: u64,
    end: u64,
}

/// What there is at a place of the history.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// So many bytes are no longer kept.
    Gap(u64),
    /// Nothing yet.
    End,
}

impl History {
    /// How many bytes were said in all.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = (self.end % CHUNK as u64) as usize;
            if within == 0 {
                self.grow();
            }
            let Some(chunk) = self.tail.back_mut().or(self.head.last_mut()) else { return };
            let room = chunk.get_mut(within..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            if let Some(place) = room.get_mut(..now.len()) {
                place.copy_from_slice(now);
            }
            self.end += now.len() as u64;
            bytes = later;
        }
    }

    fn grow(&mut self) {
        if self.head.len() < HEAD {
            self.head.push(new_chunk());
        } else if self.tail.len() < TAIL {
            self.tail.push_back(new_chunk());
        } else if let Some(oldest) = self.tail.pop_front() {
            self.tail.push_back(oldest);
            self.dropped += 1;
        }
    }

    /// What there is at `place`, up to the end of a chunk.
    pub fn at(&self, place: u64) -> Piece<'_> {
        if place >= self.end {
            return Piece::End;
        }
        let number = place / CHUNK as u64;
        let within = (place % CHUNK as u64) as usize;
        let kept = usize::try_from(number).ok().and_then(|number| self.head.get(number));
        let chunk = match (kept, (number.checked_sub(HEAD as u64)).and_then(|number| number.checked_sub(self.dropped)))
        {
            (Some(chunk), _) => Some(chunk),
            (None, Some(number)) => usize::try_from(number).ok().and_then(|number| self.tail.get(number)),
            (None, None) => None,
        };
        match chunk {
            Some(chunk) => {
                let length = (self.end - place).min((CHUNK - within) as u64) as usize;
                Piece::Bytes(chunk.get(within..within + length).unwrap_or_default())
            }
            None => Piece::Gap(((HEAD as u64 + self.dropped) * CHUNK as u64).saturating_sub(place)),
        }
    }
}

fn new_chunk() -> Chunk {
    vec![0; CHUNK].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that is kept, and how much is missing.
    fn read(history: &History) -> (Vec<u8>, u64) {
        let (mut place, mut bytes, mut missing) = (0, Vec::new(), 0);
        loop {
            match history.at(place) {
                Piece::Bytes(piece) => {
                    bytes.extend(piece);
                    place += piece.len() as u64;
                }
                Piece::Gap(length) => {
                    missing += length;
                    place += length;
                }
                Piece::End => return (bytes, missing),
            }
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn a_short_history_is_whole_and_takes_one_chunk() {
        let mut history = History::default();

        history.push(b"Hello ");
        history.push(b"world");

        assert_eq!(read(&history), (b"Hello world".to_vec(), 0));
        assert_eq!((history.head.len(), history.tail.len()), (1, 0));
    }

    #[test]
    fn a_history_of_two_mebibytes_is_whole() {
        let mut history = History::default();
        let said = pattern(2 << 20);

        said.chunks(1000).for_each(|bytes| history.push(bytes));

        let (kept, missing) = read(&history);
        assert!(kept == said);
        assert_eq!(missing, 0);
    }

    #[test]
    fn of_a_long_history_the_first_and_the_last_mebibyte_are_kept() {
        let mut history = History::default();
        let said = pattern((5 << 20) + 123);

        said.chunks(777).for_each(|bytes| history.push(bytes));

        let (kept, missing) = read(&history);
        assert_eq!(kept.len() as u64 + missing, said.len() as u64);
        assert!(kept[..1 << 20] == said[..1 << 20]);
        assert!(kept[kept.len() - (1 << 20)..] == said[said.len() - (1 << 20)..]);
        assert!(kept.len() <= (2 << 20) + 2 * CHUNK);
    }

    #[test]
    fn beyond_the_end_there_is_nothing() {
        let mut history = History::default();
        history.push(b"x");

        assert_eq!((history.at(1), history.at(u64::MAX)), (Piece::End, Piece::End));
    }
}
