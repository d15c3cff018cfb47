//! A file below an image that fails when it is told to: once, at the Nth time it is read, written, flushed or cut into. Whatever
//! the image was doing, nothing that was flushed is lost, the image can be mended, and it goes on.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use imago::{
    Storage, StorageOpenOptions,
    file::File as Inner,
    io_buffers::{IoVector, IoVectorMut},
    storage::{PreallocateMode, drivers::CommonStorageHelper},
};

use super::*;

/// What a file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Flush,
    Discard,
}

/// Which operation fails, when and how.
#[derive(Debug)]
pub(super) struct Fault {
    operation: Operation,
    /// So many more succeed before it.
    left: AtomicU64,
    error: i32,
}

thread_local! {
    /// Of the files that this thread opens.
    static FAULT: RefCell<Option<Arc<Fault>>> = const { RefCell::new(None) };
    /// The number of the one file that fails, if it is only one.
    static ONLY: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A file that can fail.
#[derive(Debug)]
pub struct File {
    inner: Inner,
    fault: Option<Arc<Fault>>,
}

impl Fault {
    fn check(&self, operation: Operation) -> io::Result<()> {
        let before = |left: u64| if operation == self.operation { left.checked_sub(1) } else { None };
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, before) {
            // It counts on to the largest number, so that this is once.
            Err(0) if operation == self.operation => {
                self.left.store(u64::MAX, Ordering::Relaxed);
                Err(io::Error::from_raw_os_error(self.error))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn has_struck(&self) -> bool {
        self.left.load(Ordering::Relaxed) > u64::MAX / 2
    }
}

impl File {
    /// As the file that it wraps.
    pub fn from_open_file(file: fs::File, options: StorageOpenOptions) -> io::Result<Self> {
        let number = file.metadata()?.ino();
        let fault = FAULT.with_borrow(Clone::clone).filter(|_| ONLY.get().is_none_or(|only| only == number));
        Ok(Self { inner: Inner::from_open_file(file, options)?, fault })
    }

    fn check(&self, operation: Operation) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault.check(operation))
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Storage for File {
    fn mem_align(&self) -> usize {
        self.inner.mem_align()
    }

    fn req_align(&self) -> usize {
        self.inner.req_align()
    }

    fn zero_align(&self) -> usize {
        self.inner.zero_align()
    }

    fn discard_align(&self) -> usize {
        self.inner.discard_align()
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    unsafe fn pure_readv(&self, bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        self.check(Operation::Read)?;
        // SAFETY: the caller keeps what is promised.
        unsafe { self.inner.pure_readv(bufv, offset) }
    }

    unsafe fn pure_writev(&self, bufv: IoVector<'_>, offset: u64) -> io::Result<()> {
        self.check(Operation::Write)?;
        // SAFETY: the caller keeps what is promised.
        unsafe { self.inner.pure_writev(bufv, offset) }
    }

    unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check(Operation::Discard)?;
        // SAFETY: the caller keeps what is promised.
        unsafe { self.inner.pure_write_zeroes(offset, length) }
    }

    unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check(Operation::Discard)?;
        // SAFETY: the caller keeps what is promised.
        unsafe { self.inner.pure_write_allocated_zeroes(offset, length) }
    }

    unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check(Operation::Discard)?;
        // SAFETY: the caller keeps what is promised.
        unsafe { self.inner.pure_discard(offset, length) }
    }

    fn flush(&self) -> io::Result<()> {
        self.check(Operation::Flush)?;
        self.inner.flush()
    }

    fn sync(&self) -> io::Result<()> {
        self.check(Operation::Flush)?;
        self.inner.sync()
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        // SAFETY: the caller keeps what is promised.
        unsafe { self.inner.invalidate_cache() }
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        self.inner.get_storage_helper()
    }

    fn resize(&self, new_size: u64, prealloc_mode: PreallocateMode) -> io::Result<()> {
        self.check(Operation::Write)?;
        self.inner.resize(new_size, prealloc_mode)
    }
}

/// Has one operation of the file at `path` fail, after so many that succeed, wherever `make` opens it.
pub(super) fn strike<T>(path: &Path, operation: Operation, after: u64, make: impl FnOnce() -> T) -> (Arc<Fault>, T) {
    let fault = Arc::new(Fault { operation, left: after.into(), error: libc::EIO });
    ONLY.set(Some(fs::metadata(path).unwrap().ino()));
    FAULT.set(Some(fault.clone()));
    let made = make();
    FAULT.set(None);
    ONLY.set(None);
    (fault, made)
}

/// So often each operation fails in each kind of image.
const TIMES: u64 = 14;
/// Requests of a guest's life.
const REQUESTS: u32 = 90;
const SECTORS: u64 = 512;
const CAPACITY: u64 = SECTORS * SECTOR;

/// What each sector may have: a sector is as good as its first byte.
struct Model {
    sectors: Vec<BTreeSet<u8>>,
    /// Those of which an outcome is not known to be on the disk yet keep what they had.
    flushed: Vec<BTreeSet<u8>>,
}

/// Any content.
fn anything() -> BTreeSet<u8> {
    (0..=u8::MAX).collect()
}

impl Model {
    fn new(byte: u8) -> Self {
        let sectors = vec![BTreeSet::from([byte]); SECTORS as usize];
        Self { flushed: sectors.clone(), sectors }
    }

    /// A request was to leave `what` there, and has been carried out or not.
    fn wrote(&mut self, range: std::ops::Range<usize>, what: &BTreeSet<u8>, done: bool) {
        for (now, flushed) in self.sectors[range.clone()].iter_mut().zip(&mut self.flushed[range]) {
            if done {
                now.clear();
            }
            now.extend(what);
            flushed.extend(what);
        }
    }

    fn flushed(&mut self) {
        self.flushed.clone_from(&self.sectors);
    }
}

/// One life of a guest over an image, in which one operation of the file fails. `None`: there were not so many.
fn live(path: &Path, backing: Option<&Path>, seed: u64, fault: Fault) -> Option<()> {
    let fault = Arc::new(fault);
    let what = format!("{fault:?}");
    let open_disk = || {
        let backing = backing.map(|path| image(path, Format::Raw, false)).into_iter().collect();
        open(image(path, Format::Qcow2, true), false, backing)
    };
    let mut model = Model::new(if backing.is_some() { 9 } else { 0 });
    let (mut rng, buffers) = (fastrand::Rng::with_seed(seed), Buffers::new());
    FAULT.set(Some(fault.clone()));
    let opened = open_disk();
    FAULT.set(None);
    // What cannot be opened was not changed.
    let mut refused = u32::from(opened.is_err());
    let disk = opened.or_else(|_| open_disk()).unwrap();
    for _ in 0..REQUESTS {
        let (first, count) = (rng.u64(0..SECTORS), rng.u64(1..40));
        let count = count.min(SECTORS - first);
        let (offset, length, range) = (first * SECTOR, count * SECTOR, first as usize..(first + count) as usize);
        let outcome = match rng.u8(0..12) {
            0 | 1 => {
                let outcome = disk.flush();
                if outcome.is_ok() {
                    model.flushed();
                }
                outcome
            }
            2 => {
                let outcome = disk.discard(offset, length);
                model.wrote(range, &anything(), outcome.is_ok());
                outcome
            }
            3 => {
                let outcome = disk.write_zeroes(offset, length, rng.bool());
                model.wrote(range, &BTreeSet::from([0]), outcome.is_ok());
                outcome
            }
            4 => match buffers.read(&*disk, offset, length as usize) {
                Ok(bytes) => {
                    for (sector, known) in bytes.chunks(SECTOR as usize).zip(&model.sectors[range]) {
                        assert!(known.contains(&sector[0]), "{what}: read {} instead of {known:?}", sector[0]);
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
            _ => {
                let byte = rng.u8(1..);
                let outcome = buffers.write(&*disk, offset, &vec![byte; length as usize]);
                model.wrote(range, &BTreeSet::from([byte]), outcome.is_ok());
                outcome
            }
        };
        refused += u32::from(outcome.is_err());
    }
    let flushed = disk.flush();
    match flushed {
        Ok(()) => model.flushed(),
        Err(_) => assert!(fault.has_struck(), "{what}"),
    }
    let whole = flushed.is_ok();
    drop(disk);
    assert!(refused == 0 || fault.has_struck(), "{what}");
    let check = Command::new("qemu-img").arg("check").arg("-q").arg(path).status().unwrap().code();
    // After a flush nothing is wrong but clusters that are lost (3); otherwise whoever starts the guest mends it.
    assert!(matches!(check, Some(0 | 3)) || !whole && check == Some(2), "{what}: {check:?}");
    qemu_img(&["check", "-q", "-r", "all", path.to_str().unwrap()], path.parent().unwrap());
    let disk = open_disk().unwrap();
    let bytes = buffers.read(&*disk, 0, CAPACITY as usize).unwrap();
    for (number, (sector, known)) in bytes.chunks(SECTOR as usize).zip(&model.flushed).enumerate() {
        assert!(known.contains(&sector[0]), "{what}: sector {number} has {} instead of {known:?}", sector[0]);
    }
    fault.has_struck().then_some(())
}

#[test]
fn whatever_fails_below_an_image_nothing_that_was_flushed_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("base"), vec![9; CAPACITY as usize]).unwrap();
    let size = CAPACITY.to_string();
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "fresh", &size], folder.path());
    let over = ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "-b", "base", "-F", "raw", "over"];
    qemu_img(&over, folder.path());
    let base = path("base");
    for (kind, backing) in [("fresh", None), ("over", Some(base.as_path()))] {
        for operation in [Operation::Read, Operation::Write, Operation::Flush, Operation::Discard] {
            let (mut struck, mut after) = (0, 0);
            for time in 0..TIMES {
                fs::copy(path(kind), path("disk")).unwrap();
                let error = if time % 2 == 0 { libc::EIO } else { libc::ENOSPC };
                let fault = Fault { operation, left: after.into(), error };
                match live(&path("disk"), backing, time, fault) {
                    Some(()) => (struck, after) = (struck + 1, after + 1 + after / 4),
                    None => after = time % 3,
                }
            }
            assert!(struck > 4 || operation == Operation::Discard, "{operation:?} of {kind} has failed {struck} times");
        }
    }
}
