//! Vectored reads and writes between a file and guest memory, without a copy in between.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use vm_memory::bitmap::Bitmap;

use crate::vmm::memory::GuestSlice;

/// Buffers for one call of the kernel. A chain may have more (its limit is 1,024, as the kernel's); these fit on the stack.
const BATCH: usize = 64;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Read,
    Write,
}

/// Fills `buffers` from byte `offset` of the file on.
pub fn read(file: BorrowedFd<'_>, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
    transfer(file, offset, buffers, Direction::Read)
}

/// Writes `buffers` to byte `offset` of the file on.
pub fn write(file: BorrowedFd<'_>, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
    transfer(file, offset, buffers, Direction::Write)
}

fn transfer(file: BorrowedFd<'_>, mut offset: u64, buffers: &[GuestSlice<'_>], direction: Direction) -> io::Result<()> {
    for batch in buffers.chunks(BATCH) {
        let total: usize = batch.iter().map(GuestSlice::len).sum();
        let mut done = 0;
        while done < total {
            let count = call(file, offset, batch, done, direction)?;
            if count == 0 {
                // Somebody has cut the file off: an error is better than data that was never there.
                return Err(match direction {
                    Direction::Read => io::ErrorKind::UnexpectedEof.into(),
                    Direction::Write => io::ErrorKind::WriteZero.into(),
                });
            }
            done += count;
            offset = offset.saturating_add(count as u64);
        }
    }
    Ok(())
}

/// One call for what is left of `batch` after `done` bytes. Returns how many bytes it moved.
fn call(
    file: BorrowedFd<'_>,
    offset: u64,
    batch: &[GuestSlice<'_>],
    mut done: usize,
    direction: Direction,
) -> io::Result<usize> {
    const EMPTY: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut vectors = [EMPTY; BATCH];
    let mut used = 0;
    for buffer in batch {
        let skipped = done.min(buffer.len());
        done -= skipped;
        if skipped < buffer.len() {
            let rest = buffer.offset(skipped).map_err(io::Error::other)?;
            vectors[used] = libc::iovec { iov_base: rest.ptr_guard_mut().as_ptr().cast(), iov_len: rest.len() };
            used += 1;
        }
    }
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    let count = used as libc::c_int;
    loop {
        // SAFETY: `vectors[..used]` are slices of guest memory that is mapped for as long as `batch` is borrowed. It is
        // volatile memory: nobody in this process holds a reference into it, so the kernel may change it.
        let moved = unsafe {
            match direction {
                Direction::Read => libc::preadv(file.as_raw_fd(), vectors.as_ptr(), count, offset),
                Direction::Write => libc::pwritev(file.as_raw_fd(), vectors.as_ptr(), count, offset),
            }
        };
        match usize::try_from(moved) {
            Ok(moved) => {
                if direction == Direction::Read {
                    mark_written(batch, moved);
                }
                return Ok(moved);
            }
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// The kernel has written to guest memory behind the back of what remembers written pages. Marking a little too much is
/// harmless.
fn mark_written(batch: &[GuestSlice<'_>], moved: usize) {
    if moved > 0 {
        batch.iter().for_each(|buffer| buffer.bitmap().mark_dirty(0, buffer.len()));
    }
}
