//! Where a network card's frames go and come from. The card knows only [`NetBackend`]; TAP is one ([`tap`]).

pub mod none;
pub mod tap;

use std::{io, os::fd::BorrowedFd};

use super::memory::GuestSlice;

/// Bytes of the header before each frame: `virtio_net_hdr_v1` (virtio 1.2, section 5.1.6).
pub const HEADER_SIZE: usize = 12;

/// The longest frame with its header, in bytes: what segmentation offload can make of one packet.
pub const FRAME_MAX: usize = 65_535 + 14 + 4 + HEADER_SIZE;

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

/// One queue pair's way to the outside. Frames carry a header of [`HEADER_SIZE`] bytes in both directions; whatever it says is
/// the other side's to check.
pub trait NetBackend: Send {
    /// Readable when a frame waits.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// What the back end can do on the way out of the guest and into it.
    fn offloads(&self) -> Offloads;

    /// Tells what the guest's driver accepts on the way in.
    fn accept(&mut self, offloads: Offloads) -> io::Result<()>;

    /// Sends one frame, header first. A frame that cannot be sent now is dropped, as on a wire; an error means that the back
    /// end is gone.
    fn send(&mut self, frame: &[GuestSlice<'_>]) -> io::Result<()>;

    /// Receives one frame, header first, into `buffers`; returns its length in bytes, or `None` when none waits. What does
    /// not fit is cut off.
    fn receive(&mut self, buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>>;
}
