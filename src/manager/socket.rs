//! Unix sockets at paths of any length. The kernel takes at most 107 bytes; a longer path is reached through its folder's
//! open descriptor (`/proc/self/fd/N/control.sock`).

#![forbid(unsafe_code)]

use std::{
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::PermissionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};

/// The longest path that fits into `sockaddr_un`, in bytes, without the closing zero.
const PATH_MAX: usize = 107;

/// A path that is short enough, for as long as the value lives.
struct Short {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

fn shorten(path: &Path) -> io::Result<Short> {
    if path.as_os_str().len() <= PATH_MAX {
        return Ok(Short { path: path.to_owned(), _folder: None });
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok(Short { path, _folder: Some(folder) })
}

/// Listens at `path`, which only this user can connect to. The folder is to be private: the socket gets its mode a moment
/// after it is there.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(&shorten(path)?.path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the socket at `path`. Blocks only while the listener's queue is full.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(&shorten(path)?.path)
}

/// Connects to the socket at `path` without blocking.
pub async fn connect_async(path: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(&shorten(path)?.path).await
}

/// Takes a file descriptor that is sent through a socket with some bytes (unix(7), `SCM_RIGHTS`); `None` when none comes with
/// them.
pub fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 16];
    let buffers = &mut [io::IoSliceMut::new(&mut bytes)];
    rustix::io::retry_on_intr(|| recvmsg(socket, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    Ok(ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn paths_that_the_kernel_does_not_take_work_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(90)).join("y".repeat(90));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("control.sock");

        let listener = listen(&path).unwrap();
        let mut near = connect(&path).unwrap();
        let (mut far, _) = listener.accept().unwrap();

        near.write_all(b"hello").unwrap();
        let mut received = [0; 5];
        far.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"hello");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
