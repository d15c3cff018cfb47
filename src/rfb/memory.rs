//! Pixels in memory that a server and a viewer on the same machine share, so that they need not be encoded, sent and decoded:
//! an extension of ours.
//!
//! - A viewer that lists [`Encoding::SHARED_MEMORY`] on a Unix socket gets, before the first pixels and after each change of
//!   size, a rectangle of that encoding, of the screen's size and without content. With the first byte of the write that has it
//!   comes a descriptor (unix(7), `SCM_RIGHTS`) of a memfd: one little-endian `u32` a pixel, `0x00RRGGBB`, rows from the top
//!   without gaps.
//! - From then on a rectangle of [`Encoding::IN_MEMORY`], without content, says that its pixels in the memory are new. What is
//!   drawn while the viewer reads may be seen too early, never too late: its rectangle follows.
//!
//! The server cannot be made to fault by the viewer, which can neither write nor resize the memory (its seals forbid it). The
//! viewer trusts the server no more: it maps nothing that could be cut off under it or whose pages could run out, and reads as
//! from a device: through volatile accesses, or through a pointer to what may change while it is drawn.
//!
//! A viewer that comes through a [`gate`](super::gate) is sent its pixels: the gate does not pass on that it would share.
//!
//! [`Encoding::SHARED_MEMORY`]: super::protocol::Encoding::SHARED_MEMORY
//! [`Encoding::IN_MEMORY`]: super::protocol::Encoding::IN_MEMORY

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use vm_memory::mmap::MmapRegionError;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use super::encoding::row_part;
use crate::{
    screen::{Rect, Surface},
    system_error::words,
};

/// Bytes of a pixel.
const PIXEL: usize = 4;
/// The file system of memory that is not huge pages (linux/magic.h): those can run out while they are read.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Why memory that a server shares is not looked at.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Its descriptor cannot be asked, or it cannot be mapped.
    #[error("the screen's memory cannot be used: {}", words(.0))]
    Io(#[from] io::Error),
    /// It could be cut off, or is no memory.
    #[error("what the server shares is not memory that keeps its size")]
    NotSealed,
    /// It has fewer pixels than the screen.
    #[error("the server shares less memory than its screen needs")]
    TooSmall,
}

impl From<rustix::io::Errno> for MemoryError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

impl From<MmapRegionError> for MemoryError {
    fn from(error: MmapRegionError) -> Self {
        Self::Io(io::Error::other(error))
    }
}

/// The shared memory of a screen.
#[derive(Debug)]
pub(super) struct Memory {
    region: MmapRegion,
    width: u32,
    height: u32,
}

impl Memory {
    /// Makes memory for a black screen of this size, in pixels and not empty. The descriptor is for viewers: nobody can write
    /// through it.
    pub(super) fn create(width: u32, height: u32) -> Result<(Self, OwnedFd), MemoryError> {
        let length = length(width, height)?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("screen", flags)?);
        file.set_len(length as u64)?;
        let viewers = file.try_clone()?;
        let region = MmapRegion::from_file(FileOffset::new(file, 0), length)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&viewers, seals)?;
        Ok((Self { region, width, height }, viewers.into()))
    }

    /// Maps what somebody who is not trusted calls the memory of a screen of this size.
    pub(super) fn open(descriptor: OwnedFd, width: u32, height: u32) -> Result<Self, MemoryError> {
        let length = length(width, height)?;
        let seals = rustix::fs::fcntl_get_seals(&descriptor).map_err(|_| MemoryError::NotSealed)?;
        let file_system = u64::try_from(rustix::fs::fstatfs(&descriptor)?.f_type).unwrap_or_default();
        if !seals.contains(SealFlags::SHRINK) || file_system != TMPFS_MAGIC {
            return Err(MemoryError::NotSealed);
        }
        let file = File::from(descriptor);
        // It cannot become shorter any more.
        if file.metadata()?.len() < length as u64 {
            return Err(MemoryError::TooSmall);
        }
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let region = MmapRegion::build(Some(FileOffset::new(file, 0)), length, libc::PROT_READ, flags)?;
        Ok(Self { region, width, height })
    }

    /// The screen's width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The first pixel.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.region.as_ptr()
    }

    /// Copies what of a rectangle lies both in a surface and in the memory.
    pub(super) fn write(&self, surface: &Surface, rect: Rect) {
        let memory = self.region.as_volatile_slice();
        let width = rect.width.min(self.width.saturating_sub(rect.x));
        for y in rect.y..rect.y.saturating_add(rect.height).min(self.height) {
            let offset = (y as usize * self.width as usize + rect.x as usize) * PIXEL;
            // There is no such place only for a rectangle outside, which has no pixels either.
            if let Ok(row) = memory.offset(offset) {
                row.copy_from(row_part(surface, rect.x, y, width));
            }
        }
    }

    /// A copy of the whole memory, in bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.region.size()];
        self.region.as_volatile_slice().copy_to(&mut bytes);
        bytes
    }

    /// A copy of a rectangle that lies in it, in bytes.
    pub(super) fn bytes_of(&self, part: Rect) -> Vec<u8> {
        let mut bytes = vec![0; part.width as usize * part.height as usize * PIXEL];
        let memory = self.region.as_volatile_slice();
        for (y, row) in (part.y as usize..).zip(bytes.chunks_mut(part.width.max(1) as usize * PIXEL)) {
            if let Ok(pixels) = memory.offset((y * self.width as usize + part.x as usize) * PIXEL) {
                pixels.copy_to(row);
            }
        }
        bytes
    }

    /// Copies the whole memory into a surface of the same size.
    pub(super) fn read(&self, surface: &mut Surface) {
        self.region.as_volatile_slice().copy_to(&mut surface.pixels);
        surface.pixels.iter_mut().for_each(|pixel| *pixel &= 0x00FF_FFFF);
    }
}

/// The bytes of a screen.
fn length(width: u32, height: u32) -> Result<usize, MemoryError> {
    let pixels = (width as usize).checked_mul(height as usize);
    pixels.and_then(|pixels| pixels.checked_mul(PIXEL)).filter(|length| *length > 0).ok_or(MemoryError::TooSmall)
}

/// Writes bytes, not none, and a descriptor with the first of them.
pub(super) fn send_with(mut stream: &UnixStream, bytes: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    // There is room for it.
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let buffers = [IoSlice::new(bytes)];
    let sent = rustix::io::retry_on_intr(|| sendmsg(stream.as_fd(), &buffers, &mut ancillary, SendFlags::NOSIGNAL))?;
    stream.write_all(bytes.get(sent..).unwrap_or_default())
}

/// Reads what is there, and the descriptor that comes with it, if any; of several the first.
pub(super) fn receive(stream: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(bytes)];
    let message = rustix::io::retry_on_intr(|| recvmsg(stream, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((message.bytes, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfb::encoding::tests::noise;

    fn refusal(descriptor: OwnedFd) -> MemoryError {
        Memory::open(descriptor, 16, 16).expect_err("this is refused")
    }

    fn memfd(length: u64, seals: SealFlags) -> OwnedFd {
        let file = File::from(rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap());
        file.set_len(length).unwrap();
        rustix::fs::fcntl_add_seals(&file, seals).unwrap();
        file.into()
    }

    #[test]
    fn what_is_written_is_seen_and_nothing_else_changes() {
        let (servers, descriptor) = Memory::create(70, 40).unwrap();
        let viewers = Memory::open(descriptor, 70, 40).unwrap();
        let (picture, mut seen) = (noise(1, 70, 40, 500, 1), Surface::new(70, 40));
        let part = Rect { x: 8, y: 4, width: 16, height: 8 };

        servers.write(&picture, part);

        viewers.read(&mut seen);
        for (at, pixel) in seen.pixels.iter().enumerate() {
            let (x, y) = (at as u32 % 70, at as u32 / 70);
            let inside = (8..24).contains(&x) && (4..12).contains(&y);
            assert_eq!(*pixel, if inside { picture.pixels[at] } else { 0 }, "({x}, {y})");
        }
        servers.write(&picture, Rect { x: 0, y: 0, width: u32::MAX, height: u32::MAX });
        viewers.read(&mut seen);
        assert!(seen == picture);
        let bytes: Vec<u8> = picture.pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        assert!(viewers.bytes() == bytes);
        let corner = viewers.bytes_of(Rect { x: 68, y: 38, width: 2, height: 2 });
        assert_eq!(corner, [&bytes[(38 * 70 + 68) * 4..][..8], &bytes[(39 * 70 + 68) * 4..]].concat());
    }

    #[test]
    fn what_lies_outside_is_not_written() {
        let (servers, _) = Memory::create(10, 10).unwrap();
        let picture = noise(1, 30, 30, 500, 1);

        for (x, y) in [(0, 0), (9, 9), (10, 0), (0, 10), (10, 10), (u32::MAX, u32::MAX), (25, 25)] {
            servers.write(&picture, Rect { x, y, width: 20, height: 20 });
        }

        let mut seen = Surface::new(10, 10);
        servers.read(&mut seen);
        assert!((0..10).all(|y| seen.row(y) == &picture.row(y)[..10]));
    }

    #[test]
    fn a_viewer_can_neither_write_nor_cut_the_memory_off() {
        let (_servers, descriptor) = Memory::create(16, 16).unwrap();
        let file = File::from(descriptor);

        assert!((&file).write_all(b"mine").is_err());
        assert!(file.set_len(0).is_err() && file.set_len(1 << 20).is_err());
        assert!(MmapRegion::<()>::from_file(FileOffset::new(file, 0), 1024).is_err());
    }

    #[test]
    fn memory_that_could_be_cut_off_or_is_too_small_or_none_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let (pipe, _writer) = std::io::pipe().unwrap();

        assert!(matches!(refusal(file.into()), MemoryError::NotSealed));
        assert!(matches!(refusal(pipe.into()), MemoryError::NotSealed));
        assert!(matches!(refusal(memfd(1024, SealFlags::GROW)), MemoryError::NotSealed));
        assert!(matches!(refusal(memfd(1023, SealFlags::SHRINK)), MemoryError::TooSmall));
        assert!(Memory::open(memfd(1024, SealFlags::SHRINK), 16, 16).is_ok());
        assert!(matches!(Memory::open(memfd(1024, SealFlags::SHRINK), 0, 16), Err(MemoryError::TooSmall)));
    }

    #[test]
    fn huge_pages_are_refused() {
        let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        // Where the kernel has none nobody can share them.
        let Ok(descriptor) = rustix::fs::memfd_create("test", flags) else { return };
        rustix::fs::fcntl_add_seals(&descriptor, SealFlags::SHRINK).unwrap();

        assert!(matches!(refusal(descriptor), MemoryError::NotSealed));
    }

    #[test]
    fn a_descriptor_comes_with_the_first_byte() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&ours).write_all(b"before").unwrap();
        send_with(&ours, b"with", memfd(7, SealFlags::SHRINK).as_fd()).unwrap();

        let mut bytes = [0; 64];
        let mut received = Vec::new();
        let mut length = 0;
        while length < 10 {
            let (count, descriptor) = receive(theirs.as_fd(), &mut bytes).unwrap();
            received.extend(descriptor.map(|descriptor| (length, descriptor)));
            length += count;
        }

        let [(place, descriptor)] = &received[..] else { panic!("{received:?}") };
        assert!(*place <= 6, "not after its byte");
        assert_eq!(rustix::fs::fstat(descriptor).unwrap().st_size, 7);
    }
}
