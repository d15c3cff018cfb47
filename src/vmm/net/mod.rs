//! Where a network card's frames go and come from. The card knows only [`NetBackend`]: a TAP interface ([`tap`]), a program
//! behind a socket ([`stream`]), or nothing ([`none`]). What a back end cannot do for a frame is done here ([`unfinished`],
//! [`narrow`]).

pub mod card;
pub mod checksum;
pub mod finishing;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
pub mod narrow;
pub mod none;
pub mod stream;
pub mod tap;
#[cfg(any(test, fuzzing))]
pub(in crate::vmm) mod testing;
pub mod unfinished;

use std::{io, os::fd::BorrowedFd};

use super::memory::GuestSlice;

/// Bytes of the header before each frame: `virtio_net_hdr_v1` (virtio 1.2, section 5.1.6).
pub const HEADER_SIZE: usize = 12;

/// The longest packet of a network that says nothing about it, in bytes.
pub const USUAL_MTU: u16 = 1500;

/// The longest frame with its header, in bytes: what segmentation offload can make of one packet.
pub const FRAME_MAX: usize = 65_535 + 14 + 4 + HEADER_SIZE;

/// The type of a frame with a VLAN tag, and the tag's bytes (IEEE 802.1Q).
const TAGGED: [u8; 2] = [0x81, 0x00];
const TAG: usize = 4;

/// Work on packets that one side may leave to the other.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums may be left open.
    pub checksum: bool,
    /// TCP over IPv4 may come unsegmented.
    pub tso4: bool,
    /// TCP over IPv6 may come unsegmented.
    pub tso6: bool,
    /// Unsegmented TCP may carry ECN's CWR.
    pub ecn: bool,
}

impl Offloads {
    /// Whether whoever can do `other` can do all of these.
    pub fn are_within(self, other: Self) -> bool {
        let pairs =
            [(self.checksum, other.checksum), (self.tso4, other.tso4), (self.tso6, other.tso6), (self.ecn, other.ecn)];
        pairs.into_iter().all(|(wanted, there)| !wanted || there)
    }
}

/// What has become of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way, or lost as on a wire.
    Taken,
    /// There is no room for it now. [`NetBackend::room`] tells when there is.
    Full,
}

/// One queue pair's way to the outside. Frames carry a header of [`HEADER_SIZE`] bytes in both directions; whatever it says is
/// the other side's to check.
pub trait NetBackend: Send {
    /// Readable when a frame waits.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// What the back end can do on the way out of the guest and into it.
    fn offloads(&self) -> Offloads;

    /// Tells what the guest's driver accepts on the way in.
    fn accept(&mut self, offloads: Offloads) -> io::Result<()>;

    /// The longest packet that goes through, in bytes without the Ethernet header, where that is not the usual 1500.
    fn mtu(&self) -> Option<u16> {
        None
    }

    /// Sends one frame, header first. An error means that the back end is gone.
    fn send(&mut self, frame: &[GuestSlice<'_>]) -> io::Result<Sent>;

    /// Readable when [`NetBackend::flush`] has something to do; `None` for a back end that is never full.
    fn room(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Goes on with what was taken and is not sent yet. Returns whether there is room for frames.
    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    /// Receives one frame, header first, into `buffers`; returns its length in bytes, or `None` when none waits. What does
    /// not fit is cut off.
    fn receive(&mut self, buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>>;

    /// Whether a frame waits of which the descriptor tells nothing.
    fn holds_frames(&self) -> bool {
        false
    }
}

/// A frame as one piece, cut off at [`FRAME_MAX`] bytes.
fn gather(frame: &[GuestSlice<'_>]) -> Vec<u8> {
    let length: usize = frame.iter().map(|slice| slice.len()).sum();
    let mut bytes = vec![0; length.min(FRAME_MAX)];
    let mut done = 0;
    for slice in frame {
        done += slice.copy_to(&mut bytes[done..]);
    }
    bytes
}

/// Copies `bytes` behind the first `skipped` bytes of `slices`, as far as they fit; returns how many did.
fn fill(slices: &[GuestSlice<'_>], skipped: usize, bytes: &[u8]) -> usize {
    let (mut skipped, mut rest) = (skipped, bytes);
    for slice in slices {
        let begin = skipped.min(slice.len());
        skipped -= begin;
        let Ok(slice) = slice.offset(begin) else { continue };
        let (now, later) = rest.split_at(rest.len().min(slice.len()));
        slice.copy_from(now);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    bytes.len() - rest.len()
}
