//! What the topmost image of a disk has goes into the one that it is based on, while a guest uses the disk.
//!
//! ```text
//!   waiting ──▶ copying ──▶ settling ──▶ ready ──▶ sealed ──▶ the guest goes on in the lower image
//!      │           │           │           │          │
//!      └───────────┴───────────┴───────────┴──────────┴─────▶ the guest goes on in the upper image
//! ```
//!
//! From the beginning up to a cursor the lower image has all that the disk shows; what the guest writes there goes to both
//! images before it is told that it is written. What the upper image has hides what the lower one has, so that the disk is whole
//! in both together at any moment. From `ready` on it is whole in the lower image alone, too, and a flush brings both to stable
//! storage: whoever keeps account of the images can then decide for one or the other state, whatever ends the worker. When the
//! lower image fails, that ends the merging and the guest learns nothing of it, but for a `sealed` one, of which somebody has
//! perhaps decided already.
//!
//! The upper image is read over a view of the lower one that knows nothing of what is written there meanwhile. That is why all that
//! was in the upper image stays there: discards wait for better times, and zeroes are written as data. What is not in the upper
//! image does not change in the lower one. So clusters of the lower image must not be larger than those of the upper one, which
//! the caller has looked at.

#![forbid(unsafe_code)]

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::{
    Base, BlockError, Disk, Format, Image, check_range,
    image::{Extent, ImageDisk},
    place::{Place, Transfer},
    total,
};
use crate::vmm::memory::GuestSlice;

/// So much is copied in one step, for which the guest's writes wait, in bytes.
const CHUNK: u64 = 1 << 20;
/// Zeroes are written in pieces of this size, in bytes.
const ZEROES: u64 = 64 << 10;

/// How far a merging is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun to copy.
    Waiting,
    /// It copies.
    Copying,
    /// All is copied, and brought to stable storage now.
    Settling,
    /// The lower image has all that the disk has.
    Ready,
    /// As before; that it stays so is more important than that the disk can be written to.
    Sealed,
    /// The lower image does not follow any more.
    Ended {
        /// Why, if nobody has asked for that.
        failure: Option<String>,
    },
}

/// The images of a disk that is to be merged.
#[derive(Debug)]
pub struct MergeImages {
    /// The disk's topmost image, open for writing.
    pub upper: Image,
    /// The one below it, open for writing.
    pub lower: Image,
    /// Those below that, nearest first, open for reading.
    pub below: Vec<Image>,
}

/// A merging, which ends when this is dropped: the disk is then only the upper image over the lower one.
pub struct Merge {
    disk: Arc<MergingDisk>,
    upper: Image,
    lower: Image,
    below: Option<Base>,
    copier: Option<JoinHandle<()>>,
}

impl Merge {
    /// Gets the images ready. Nothing else may use the disk, which was flushed.
    pub fn new(images: MergeImages) -> Result<Self, BlockError> {
        let MergeImages { upper, lower, below } = images;
        let below = Base::chain(below)?;
        let plain = open_upper(&upper, &lower, below.clone())?;
        let image = lower.try_clone()?;
        let target: Arc<dyn Disk> = match (image.format, &below) {
            (Format::Raw, None) => super::open(image, false, Vec::new())?.into(),
            _ => Arc::new(ImageDisk::on(image, below.clone())?),
        };
        if target.capacity() != plain.capacity() {
            return Err(BlockError::Size { old: plain.capacity(), new: target.capacity() });
        }
        let state = Mutex::new(State { phase: Phase::Waiting, cursor: 0 });
        let disk = MergingDisk { upper: plain, lower: target, state, waiting: AtomicUsize::new(0) };
        Ok(Self { disk: Arc::new(disk), upper, lower, below, copier: None })
    }

    /// The disk, for the guest, while it is merged.
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }

    /// Begins to copy.
    pub fn start(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.phase != Phase::Waiting {
            return Err(io::Error::other("it has begun already"));
        }
        state.phase = Phase::Copying;
        drop(state);
        let disk = self.disk.clone();
        self.copier = Some(thread::Builder::new().name("merge".to_owned()).spawn(move || disk.copy())?);
        Ok(())
    }

    /// How far it is, and how many bytes of the disk are copied.
    pub fn progress(&self) -> (Phase, u64) {
        let state = self.disk.state();
        (state.phase.clone(), state.cursor)
    }

    /// From now on the lower image has all that the disk has, whatever happens. `false`: it has not.
    pub fn seal(&self) -> bool {
        let mut state = self.disk.state();
        if state.phase == Phase::Ready {
            state.phase = Phase::Sealed;
        }
        state.phase == Phase::Sealed
    }

    /// The lower image as the whole disk, if it was sealed. Nothing may use the disk.
    pub fn lower(&self) -> Option<Arc<dyn Disk>> {
        (self.disk.state().phase == Phase::Sealed).then(|| self.disk.lower.clone())
    }

    /// The upper image over the lower one as it is now, when no more is copied. Nothing may use the disk.
    pub fn upper(&mut self) -> Result<Arc<dyn Disk>, BlockError> {
        self.stop();
        // What is opened next reads what is in the files. Where the lower one has failed, the upper one hides that.
        self.disk.upper.flush().map_err(BlockError::Flush)?;
        let _ = self.disk.lower.flush();
        Ok(Arc::new(open_upper(&self.upper, &self.lower, self.below.clone())?))
    }

    /// Copies no more.
    fn stop(&mut self) {
        let mut state = self.disk.state();
        if !matches!(state.phase, Phase::Ended { .. }) {
            state.phase = Phase::Ended { failure: None };
        }
        drop(state);
        if self.copier.take().is_some_and(|copier| copier.join().is_err()) {
            tracing::error!("the thread that merges a disk's images has crashed");
        }
    }
}

impl Drop for Merge {
    fn drop(&mut self) {
        self.stop();
    }
}

fn open_upper(upper: &Image, lower: &Image, below: Option<Base>) -> Result<ImageDisk, BlockError> {
    ImageDisk::over_base(upper.try_clone()?, Base::new(lower.try_clone()?, below)?)
}

struct State {
    phase: Phase,
    /// Up to here the lower image has what the disk has, in bytes.
    cursor: u64,
}

impl State {
    /// What was written to the upper image from `offset` on goes to the lower one, too, where that follows.
    fn follow(&mut self, offset: u64, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match &self.phase {
            Phase::Waiting | Phase::Ended { .. } => Ok(()),
            Phase::Sealed => write(),
            _ if offset >= self.cursor => Ok(()),
            _ => {
                self.note(write());
                Ok(())
            }
        }
    }

    /// What cannot be written to the lower image ends the merging.
    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            tracing::warn!("the image below cannot be written: {error}. The merging ends");
            self.phase = Phase::Ended { failure: Some(error.to_string()) };
        }
    }
}

/// A disk of which a part is in the lower image already.
struct MergingDisk {
    upper: ImageDisk,
    lower: Arc<dyn Disk>,
    /// Whoever writes to both images, or copies, keeps it: so that both have the same order of writes.
    state: Mutex<State>,
    /// How many of the guest's requests wait for the state: the copier lets them go first.
    waiting: AtomicUsize,
}

impl MergingDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        state
    }

    /// Copies all, and brings it to stable storage.
    fn copy(&self) {
        let mut buffer = vec![0; CHUNK as usize];
        loop {
            while self.waiting.load(Ordering::SeqCst) > 0 {
                thread::yield_now();
            }
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match state.phase {
                Phase::Copying if state.cursor < self.capacity() => match self.copy_step(state.cursor, &mut buffer) {
                    Ok(length) => state.cursor += length,
                    Err(error) => state.note(Err(error)),
                },
                Phase::Copying => {
                    // A flush that the guest asks for from now on is for both images.
                    state.phase = Phase::Settling;
                    break;
                }
                _ => return,
            }
        }
        let settled = self.lower.flush();
        let mut state = self.state();
        match settled {
            _ if state.phase != Phase::Settling => {}
            Ok(()) => state.phase = Phase::Ready,
            failed => state.note(failed),
        }
    }

    /// Copies what the upper image has at the beginning of this range, and returns how long that is.
    fn copy_step(&self, offset: u64, buffer: &mut [u8]) -> io::Result<u64> {
        let (extent, length) = self.upper.extent(offset, self.capacity() - offset)?;
        if length == 0 {
            return Err(io::Error::other("the image has a place that is nowhere"));
        }
        if extent == Extent::Nothing {
            return Ok(length);
        }
        let part = buffer.get_mut(..length.min(CHUNK) as usize).unwrap_or_default();
        let length = part.len() as u64;
        if extent == Extent::Zeroes {
            self.lower.read(offset, &[GuestSlice::from(&mut *part)])?;
            if part.iter().all(|&byte| byte == 0) {
                return Ok(length);
            }
            part.fill(0);
        } else {
            self.upper.read(offset, &[GuestSlice::from(&mut *part)])?;
        }
        self.lower.write(offset, &[GuestSlice::from(part)])?;
        Ok(length)
    }
}

impl Disk for MergingDisk {
    fn capacity(&self) -> u64 {
        self.upper.capacity()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.upper.read(offset, buffers)
    }

    fn write(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        check_range(self.capacity(), offset, total(buffers))?;
        let mut state = self.state();
        if let Err(error) = self.upper.write(offset, buffers) {
            // Nobody knows how much of it is there: the lower image would have something else.
            if state.phase != Phase::Sealed && offset < state.cursor {
                state.note(Err(io::Error::other("the image above it cannot be written")));
            }
            return Err(error);
        }
        state.follow(offset, || self.lower.write(offset, buffers))
    }

    fn flush(&self) -> io::Result<()> {
        self.upper.flush()?;
        let phase = self.state().phase.clone();
        match phase {
            Phase::Waiting | Phase::Copying | Phase::Ended { .. } => Ok(()),
            Phase::Sealed => self.lower.flush(),
            Phase::Settling | Phase::Ready => {
                let flushed = self.lower.flush();
                let mut state = self.state();
                match state.phase {
                    Phase::Sealed => flushed,
                    Phase::Ended { .. } => Ok(()),
                    _ => {
                        state.note(flushed);
                        Ok(())
                    }
                }
            }
        }
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        check_range(self.capacity(), offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, _unmap: bool) -> io::Result<()> {
        check_range(self.capacity(), offset, length)?;
        let mut zeroes = vec![0; length.min(ZEROES) as usize];
        let end = offset + length;
        let mut offset = offset;
        while offset < end {
            let part = zeroes.get_mut(..(end - offset).min(ZEROES) as usize).unwrap_or_default();
            let length = part.len() as u64;
            self.write(offset, &[GuestSlice::from(part)])?;
            offset += length;
        }
        Ok(())
    }

    fn place(&self, transfer: Transfer, offset: u64, length: u64) -> Option<Place<'_>> {
        match transfer {
            Transfer::Read => self.upper.place(transfer, offset, length),
            Transfer::Write => None,
        }
    }
}
