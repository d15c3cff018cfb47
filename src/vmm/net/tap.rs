//! A TAP interface of the host as a back end (Linux, `Documentation/networking/tuntap.rst`). Whoever starts the worker has
//! opened it with `IFF_NO_PI | IFF_VNET_HDR`; frames go between it and guest memory without a copy of ours.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use vmm_sys_util::{
    ioctl::{ioctl_with_ref, ioctl_with_val},
    ioctl_iow_nr,
};

use super::{HEADER_SIZE, NetBackend, Offloads, Sent};
use crate::vmm::memory::GuestSlice;

/// The numbers of linux/if_tun.h.
mod number {
    #![allow(missing_docs)]
    use super::ioctl_iow_nr;
    ioctl_iow_nr!(TUNSETOFFLOAD, 0x54, 208, libc::c_uint);
    ioctl_iow_nr!(TUNSETVNETHDRSZ, 0x54, 216, libc::c_int);
}
use number::{TUNSETOFFLOAD, TUNSETVNETHDRSZ};

const TUN_F_CSUM: u32 = 0x01;
const TUN_F_TSO4: u32 = 0x02;
const TUN_F_TSO6: u32 = 0x04;
const TUN_F_TSO_ECN: u32 = 0x08;

/// The most pieces that one frame can have: the kernel's limit on a vector.
const PIECES_MAX: usize = libc::UIO_MAXIOV as usize;

/// One queue of a TAP interface.
pub struct Tap {
    file: File,
    pieces: Vec<libc::iovec>,
}

// SAFETY: the pieces are filled and used within one call; between calls nothing reads them.
unsafe impl Send for Tap {}

impl Tap {
    /// Takes over an open queue of a TAP interface.
    pub fn new(file: File) -> io::Result<Self> {
        let size = HEADER_SIZE as libc::c_int;
        // SAFETY: the ioctl reads an int, which outlives the call.
        if unsafe { ioctl_with_ref(&file, TUNSETVNETHDRSZ(), &size) } < 0 {
            return Err(io::Error::last_os_error());
        }
        rustix::io::ioctl_fionbio(&file, true)?;
        let mut tap = Self { file, pieces: Vec::new() };
        tap.accept(Offloads::default())?;
        Ok(tap)
    }

    /// Collects the pieces of a frame for a vectored call.
    fn gather(&mut self, slices: &[GuestSlice<'_>]) -> (*const libc::iovec, libc::c_int) {
        self.pieces.clear();
        self.pieces.extend(
            slices
                .iter()
                .take(PIECES_MAX)
                .map(|slice| libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() }),
        );
        (self.pieces.as_ptr(), self.pieces.len() as libc::c_int)
    }
}

impl NetBackend for Tap {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn offloads(&self) -> Offloads {
        Offloads { checksum: true, tso4: true, tso6: true, ecn: true }
    }

    fn accept(&mut self, offloads: Offloads) -> io::Result<()> {
        let flag = |wanted, flag| if wanted && offloads.checksum { flag } else { 0 };
        let flags = flag(true, TUN_F_CSUM)
            | flag(offloads.tso4, TUN_F_TSO4)
            | flag(offloads.tso6, TUN_F_TSO6)
            | flag(offloads.ecn && (offloads.tso4 || offloads.tso6), TUN_F_TSO_ECN);
        // SAFETY: the ioctl takes a plain number.
        match unsafe { ioctl_with_val(&self.file, TUNSETOFFLOAD(), flags.into()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn send(&mut self, frame: &[GuestSlice<'_>]) -> io::Result<Sent> {
        let descriptor = self.file.as_raw_fd();
        let (pieces, count) = self.gather(frame);
        // SAFETY: every piece is guest memory that stays mapped while `frame` is borrowed; the kernel only reads it.
        if unsafe { libc::writev(descriptor, pieces, count) } >= 0 {
            return Ok(Sent::Taken);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // The interface is gone or was taken from us; everything else is a frame that it does not like, or has no room for.
            Some(libc::EBADFD | libc::EBADF | libc::ENODEV) => Err(error),
            _ => Ok(Sent::Taken),
        }
    }

    fn receive(&mut self, buffers: &[GuestSlice<'_>]) -> io::Result<Option<usize>> {
        let descriptor = self.file.as_raw_fd();
        let (pieces, count) = self.gather(buffers);
        // SAFETY: every piece is guest memory that stays mapped while `buffers` is borrowed; nothing in Rust refers to it.
        let length = unsafe { libc::readv(descriptor, pieces, count) };
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                    _ => Err(error),
                }
            }
        }
    }
}
