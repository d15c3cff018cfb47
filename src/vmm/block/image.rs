//! Images through the imago crate: qcow2 (QEMU's `docs/interop/qcow2.rst`), and raw ones past the host's page cache, whose
//! requests it aligns.
//!
//! An image and all of its backing files are given as open files: what an image says about names of other files is only
//! compared with that, so that no image can make the worker open anything.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    ptr,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

#[cfg(not(test))]
use imago::file::File as ImageFile;
use imago::{
    FormatAccess, Mapping, ShallowMapping, StorageOpenOptions,
    io_buffers::{IoVector, IoVectorMut},
    qcow2::Qcow2,
    raw::Raw,
};

#[cfg(test)]
use super::tests::faults::File as ImageFile;
use super::{
    BlockError, Disk, Format, Image, SECTOR,
    barrier::Barrier,
    check_range, grow, is_direct,
    place::{Place, Places, Transfer},
};
use crate::vmm::memory::GuestSlice;

type Access = FormatAccess<ImageFile>;

/// A disk that another one is based on. It is only read, and several can share it.
#[derive(Clone)]
pub struct Base {
    access: Arc<Access>,
    files: Vec<LayerFile>,
}

impl Base {
    /// The disk in `image`, which is open for reading, over `below`.
    pub fn new(image: Image, below: Option<Self>) -> Result<Self, BlockError> {
        let given = usize::from(below.is_some());
        Self::open(image, below, Chain { level: 1, given })
    }

    /// The disk that `images` make, nearest first; `None` of none.
    pub fn chain(images: Vec<Image>) -> Result<Option<Self>, BlockError> {
        let given = images.len();
        let mut below = None;
        for (level, layer) in images.into_iter().enumerate().rev() {
            below = Some(Self::open(layer, below, Chain { level: level + 1, given })?);
        }
        Ok(below)
    }

    fn open(image: Image, below: Option<Self>, chain: Chain) -> Result<Self, BlockError> {
        let (below, mut files) = below.map_or((None, Vec::new()), |base| (Some(base.access), base.files));
        let access = Arc::new(open_layer(image, false, below, chain, &mut files)?);
        Ok(Self { access, files })
    }
}

/// What an image has of a part of its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Nothing: what is below it counts.
    Nothing,
    /// Zeroes, whatever is below it.
    Zeroes,
    /// Bytes.
    Data,
}

/// A disk of one or more images.
pub struct ImageDisk {
    /// Reads and writes share it; a discard moves clusters under them and needs it alone.
    image: RwLock<Access>,
    /// The image itself.
    top: Image,
    /// What the image is based on.
    below: Option<Base>,
    /// Of the topmost file.
    barrier: Barrier,
    /// Something could not be done: what imago has in memory may differ from what is in the file.
    has_failed: AtomicBool,
    files: Vec<LayerFile>,
    places: Arc<Places>,
    /// Whether the file is the disk.
    is_raw: bool,
    /// Whether the topmost file goes past the page cache: a write to that is only a copy.
    is_direct: bool,
    capacity: u64,
    read_only: bool,
}

impl ImageDisk {
    /// A disk of `image` over `backing`, nearest first.
    pub fn new(image: Image, read_only: bool, backing: Vec<Image>) -> Result<Self, BlockError> {
        let given = backing.len();
        Self::over(image, read_only, Base::chain(backing)?, Chain { level: 0, given })
    }

    /// A writable disk of `image` over `base`.
    pub fn over_base(image: Image, base: Base) -> Result<Self, BlockError> {
        Self::on(image, Some(base))
    }

    /// A writable disk of `image` over `base`, if it is over anything.
    pub fn on(image: Image, base: Option<Base>) -> Result<Self, BlockError> {
        let given = usize::from(base.is_some());
        Self::over(image, false, base, Chain { level: 0, given })
    }

    /// What the topmost image has from `offset` on, and for how many bytes that is so, which are at most `length`.
    pub fn extent(&self, offset: u64, length: u64) -> io::Result<(Extent, u64)> {
        let image = self.shared();
        let (mapping, length) = image.get_shallow_mapping(offset, length)?;
        let extent = match mapping {
            ShallowMapping::Indirect { .. } | ShallowMapping::Zero { explicit: false, .. } => Extent::Nothing,
            ShallowMapping::Zero { .. } => Extent::Zeroes,
            _ => Extent::Data,
        };
        Ok((extent, length))
    }

    fn over(image: Image, read_only: bool, below: Option<Base>, chain: Chain) -> Result<Self, BlockError> {
        let top = image.try_clone()?;
        let is_raw = image.format == Format::Raw;
        let is_direct = is_direct(&image.file).map_err(BlockError::Examine)?;
        let (lower, mut files) = below.clone().map_or((None, Vec::new()), |base| (Some(base.access), base.files));
        let access = open_layer(image, !read_only, lower, chain, &mut files)?;
        let size = access.size();
        Ok(Self {
            image: RwLock::new(access),
            top,
            below,
            barrier: Barrier::new(is_direct),
            has_failed: AtomicBool::new(false),
            files,
            places: Arc::default(),
            is_raw,
            is_direct,
            capacity: size - size % SECTOR,
            read_only,
        })
    }

    fn shared(&self) -> RwLockReadGuard<'_, Access> {
        self.image.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For moving clusters: no place that was given out is in use any more, and none is given out.
    fn alone<R>(&self, work: impl FnOnce(&mut Access) -> R) -> R {
        let _closed = self.places.close();
        work(&mut self.image.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the image. When a change has failed before, imago has to [recover](Self::recover) first.
    fn change<R>(&self, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        if self.has_failed.load(Ordering::Relaxed) {
            self.recover()?;
        }
        work().inspect_err(|error| {
            // What the format does not have was not begun.
            if error.kind() != io::ErrorKind::Unsupported {
                self.has_failed.store(true, Ordering::Relaxed);
            }
        })
    }

    /// Brings what imago has in memory and what is in the file together again. A table that could not be entered into the one above
    /// it is there in memory only, and imago would use it without ever entering it. And as long as tables cannot be written, imago
    /// cannot take back what it has allocated: each attempt would cost a cluster.
    fn recover(&self) -> io::Result<()> {
        // Transfers past it may go on: nothing moves.
        let image = self.image.write().unwrap_or_else(PoisonError::into_inner);
        image.flush()?;
        // SAFETY: everything that is not in the file yet has just been written to it, and nobody else uses the image.
        unsafe { image.invalidate_cache() }?;
        self.has_failed.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn check_write(&self, offset: u64, length: u64) -> io::Result<()> {
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        check_range(self.capacity, offset, length)
    }
}

/// The file of a layer that takes requests of any sector.
#[derive(Clone)]
struct LayerFile {
    file: Arc<File>,
    /// Where imago keeps what it has of the file: by that it says in which layer bytes lie.
    address: usize,
}

/// Where in the chain an image is, for errors.
#[derive(Clone, Copy)]
struct Chain {
    level: usize,
    given: usize,
}

/// Opens a layer, and adds its file to those of the layers below it.
fn open_layer(
    image: Image,
    writable: bool,
    below: Option<Arc<Access>>,
    chain: Chain,
    files: &mut Vec<LayerFile>,
) -> Result<Access, BlockError> {
    let file = image.file.try_clone().map_err(BlockError::Examine)?;
    let known = below.as_ref().map(|below| addresses(below)).unwrap_or_default();
    let layer = open_format(image, writable, below, chain)?;
    let address = addresses(&layer).into_iter().find(|address| !known.contains(address));
    // Parts of larger blocks have to be merged, one after the other: only imago does that.
    if let Some(address) = address.filter(|_| layer.req_align() as u64 <= SECTOR) {
        files.push(LayerFile { file: Arc::new(file), address });
    }
    Ok(layer)
}

/// Where imago keeps what it has of the files of a layer and of those below it.
fn addresses(layer: &Access) -> Vec<usize> {
    layer.inner().collect_storage_dependencies().into_iter().map(|storage| ptr::from_ref(storage).addr()).collect()
}

fn open_format(image: Image, writable: bool, below: Option<Arc<Access>>, chain: Chain) -> Result<Access, BlockError> {
    let damaged = |source| BlockError::Format { format: image.format, source };
    let direct = is_direct(&image.file).map_err(BlockError::Examine)?;
    let options = StorageOpenOptions::new().write(writable).direct(direct);
    let file = ImageFile::from_open_file(image.file, options).map_err(BlockError::Examine)?;
    match image.format {
        Format::Raw => {
            if below.is_some() {
                return Err(BlockError::Backing { level: chain.level, given: chain.given });
            }
            Ok(Access::new(Raw::open_image(file, writable).map_err(damaged)?))
        }
        Format::Qcow2 => {
            let mut qcow2 = Qcow2::<ImageFile, Arc<Access>>::open_image(file, writable).map_err(damaged)?;
            if qcow2.requires_external_data_file() {
                return Err(damaged(io::Error::other("it keeps its data in another file")));
            }
            if qcow2.implicit_backing_file().is_some() != below.is_some() {
                return Err(BlockError::Backing { level: chain.level, given: chain.given });
            }
            qcow2.set_data_file(None);
            qcow2.set_backing(below);
            Ok(Access::new(qcow2))
        }
    }
}

impl Disk for ImageDisk {
    fn capacity(&self) -> u64 {
        self.capacity
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        check_range(self.capacity, offset, super::total(buffers))?;
        let (vector, _guard) = IoVectorMut::from_volatile_slice(buffers);
        self.shared().readv(vector, offset)
    }

    fn write(&self, offset: u64, buffers: &[GuestSlice<'_>]) -> io::Result<()> {
        self.check_write(offset, super::total(buffers))?;
        let (vector, _guard) = IoVector::from_volatile_slice(buffers);
        self.change(|| self.shared().writev(vector, offset))
    }

    fn flush(&self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        let image = self.shared();
        // What this cannot write it keeps.
        image.flush()?;
        self.barrier.flush(|| image.sync())
    }

    fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.check_write(offset, length)?;
        match self.change(|| self.alone(|image| image.discard_to_any(offset, length))) {
            // A discard is a hint: what cannot be given back is kept.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            other => other,
        }
    }

    fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        self.check_write(offset, length)?;
        self.change(|| match unmap {
            true => self.alone(|image| image.discard_to_zero(offset, length)),
            false => self.shared().write_zeroes(offset, length),
        })
    }

    fn freeze(&self, image: Image) -> Result<Base, BlockError> {
        self.flush().map_err(BlockError::Flush)?;
        Base::new(image, self.below.clone())
    }

    fn grow(&self, size: u64) -> Result<(), BlockError> {
        self.change(|| Ok(())).and_then(|()| self.flush()).map_err(BlockError::Flush)?;
        grow::grow(&self.top, size)
    }

    fn reopen(&self) -> Result<Arc<dyn Disk>, BlockError> {
        let chain = Chain { level: 0, given: usize::from(self.below.is_some()) };
        Ok(Arc::new(Self::over(self.top.try_clone()?, self.read_only, self.below.clone(), chain)?))
    }

    fn place(&self, transfer: Transfer, offset: u64, length: u64) -> Option<Place<'_>> {
        let writes = transfer == Transfer::Write;
        if writes && (self.read_only || !self.is_direct) {
            return None;
        }
        let image = self.shared();
        let (address, offset) = match image.get_mapping(offset, length).ok()? {
            (Mapping::Raw { storage, offset, writable, .. }, there) if there >= length && (writable || !writes) => {
                (ptr::from_ref(storage).addr(), offset)
            }
            _ => return None,
        };
        let LayerFile { file, .. } = self.files.iter().find(|file| file.address == address)?;
        let hold = if self.is_raw { None } else { Some(self.places.hold()?) };
        Some(Place { file: file.as_fd(), offset, hold })
    }

    fn flush_file(&self) -> Option<BorrowedFd<'_>> {
        let LayerFile { file, .. } = self.files.last().filter(|_| self.is_raw)?;
        Some(file.as_fd())
    }
}
