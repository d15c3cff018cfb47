//! The worker's log: bounded in size and speed, so that a guest which babbles cannot fill the host's disk.
//!
//! The file keeps its beginning, and of the rest what was written last: when it has grown to [`FILE_LIMIT`] it is cut back
//! to [`HEAD`] and goes on with the lines that are still in memory. Lines beyond [`BURST`] and [`RATE`] are dropped, and
//! their number is told.

#![forbid(unsafe_code)]

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// The size at which the file is cut back, in bytes.
pub const FILE_LIMIT: u64 = 1 << 20;

/// What is kept of the file's beginning, in bytes.
pub const HEAD: u64 = 256 << 10;

/// What may be written at once, in bytes.
pub const BURST: u64 = 256 << 10;

/// What may be written in the long run, in bytes a second.
pub const RATE: u64 = 8 << 10;

/// The last lines that are kept in memory, in bytes.
const TAIL: usize = 8 << 10;

/// The longest line, in bytes; what is beyond is cut off.
const LINE: usize = 2 << 10;

/// The log; see the module.
pub struct Log {
    state: Mutex<State>,
}

struct State {
    file: File,
    length: u64,
    tail: VecDeque<Vec<u8>>,
    tail_length: usize,
    allowance: u64,
    refilled: Instant,
    dropped: u64,
}

impl Log {
    /// A log that goes on at the end of `file`, which is open for appending.
    pub fn new(file: File) -> io::Result<Arc<Self>> {
        let length = file.metadata()?.len();
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                file,
                length,
                tail: VecDeque::new(),
                tail_length: 0,
                allowance: BURST,
                refilled: Instant::now(),
                dropped: 0,
            }),
        }))
    }

    /// The file itself, past all limits: for the standard streams.
    pub fn file(&self) -> io::Result<File> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).file.try_clone()
    }

    /// Writes one line, with or without its end.
    pub fn line(&self, line: &[u8]) {
        self.line_at(Instant::now(), line);
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tail.iter().map(|line| String::from_utf8_lossy(line.trim_ascii_end()).into_owned()).collect()
    }

    fn line_at(&self, now: Instant, line: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = line.strip_suffix(b"\n").unwrap_or(line);
        let mut line = cut.get(..LINE).unwrap_or(cut).to_vec();
        line.push(b'\n');
        state.refill(now);
        if state.allowance < line.len() as u64 {
            state.dropped += 1;
            return;
        }
        state.allowance -= line.len() as u64;
        if state.dropped > 0 {
            let notice = format!("… {} lines came too fast and were dropped\n", std::mem::take(&mut state.dropped));
            state.write(notice.into_bytes());
        }
        state.write(line);
    }
}

impl State {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled).as_millis();
        let refill = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(RATE) / 1000;
        if refill > 0 {
            self.allowance = self.allowance.saturating_add(refill).min(BURST);
            self.refilled = now;
        }
    }

    fn write(&mut self, line: Vec<u8>) {
        if self.length + line.len() as u64 > FILE_LIMIT {
            self.cut_back();
        }
        self.append(&line);
        self.tail_length += line.len();
        self.tail.push_back(line);
        while self.tail_length > TAIL
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_length -= oldest.len();
        }
    }

    fn cut_back(&mut self) {
        let keep = self.length.min(HEAD);
        if self.file.set_len(keep).is_err() {
            return;
        }
        self.length = keep;
        self.append("\n… the log has grown too long; lines before these were dropped\n".as_bytes());
        let tail: Vec<u8> = self.tail.iter().flatten().copied().collect();
        self.append(&tail);
    }

    /// A full disk must not disturb the guest: what cannot be written is lost.
    fn append(&mut self, bytes: &[u8]) {
        if self.file.write_all(bytes).is_ok() {
            self.length += bytes.len() as u64;
        }
    }
}

/// Takes bytes and logs them line by line: for tracing, and for the guest's debug port.
pub struct LineWriter {
    log: Arc<Log>,
    prefix: &'static str,
    line: Vec<u8>,
}

impl LineWriter {
    /// A writer that puts `prefix` in front of every line.
    pub fn new(log: Arc<Log>, prefix: &'static str) -> Self {
        Self { log, prefix, line: Vec::new() }
    }

    fn finish(&mut self) {
        if !self.line.is_empty() {
            let line = [self.prefix.as_bytes(), &self.line].concat();
            self.log.line(&line);
            self.line.clear();
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            match byte {
                b'\n' => self.finish(),
                // A terminal that shows the log must not obey the guest.
                0..0x20 | 0x7f if byte != b'\t' => {}
                _ if self.line.len() < LINE => self.line.push(byte),
                _ => {}
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::FileExt, time::Duration};

    use super::*;

    fn log() -> (Arc<Log>, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let appending = File::options().append(true).open(file.path()).unwrap();
        (Log::new(appending).unwrap(), file)
    }

    fn content(file: &tempfile::NamedTempFile) -> String {
        let mut bytes = vec![0; file.as_file().metadata().unwrap().len() as usize];
        file.as_file().read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lines_that_come_too_fast_are_dropped_and_counted() {
        let (log, file) = log();
        let start = Instant::now();
        let line = [b'x'; 1023];

        (0..300).for_each(|_| log.line_at(start, &line));
        log.line_at(start + Duration::from_secs(1), b"later");

        let content = content(&file);
        assert_eq!(content.lines().count() as u64, BURST / 1024 + 2);
        assert!(content.ends_with("… 44 lines came too fast and were dropped\nlater\n"), "{content}");
    }

    #[test]
    fn the_file_keeps_its_beginning_and_its_end_and_stays_small() {
        let (log, file) = log();
        let start = Instant::now();
        log.line_at(start, b"the very first");

        for second in 0..3000u32 {
            log.line_at(
                start + Duration::from_secs(second.into()),
                format!("line {second} {}", "x".repeat(900)).as_bytes(),
            );
        }

        let content = content(&file);
        assert!(content.len() as u64 <= FILE_LIMIT);
        assert!(content.starts_with("the very first\n"));
        assert!(content.contains("line 2998 "));
        assert!(log.tail().last().unwrap().starts_with("line 2999 "));
    }

    #[test]
    fn a_guest_cannot_smuggle_control_characters_or_endless_lines_into_the_log() {
        let (log, file) = log();
        let mut writer = LineWriter::new(Arc::clone(&log), "guest: ");

        writer.write_all(b"a\x1b[2Jb\r\n").unwrap();
        writer.write_all(&[b'z'; 10_000]).unwrap();
        writer.write_all(b"\n").unwrap();

        let content = content(&file);
        let mut lines = content.lines();
        assert_eq!(lines.next(), Some("guest: a[2Jb"));
        assert!(lines.next().unwrap().len() <= LINE);
    }

    #[test]
    fn a_disk_that_is_full_does_not_disturb() {
        let log = Log::new(File::options().append(true).open("/dev/full").unwrap()).unwrap();

        log.line(b"lost");

        assert_eq!(log.tail(), ["lost"]);
    }
}
