//! Copying the disk in an image into a new image of another format. Holes stay holes, and zeroes become holes.
//!
//! One thread reads and another one writes, a few megabytes apart.

#![forbid(unsafe_code)]

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use imago::{DenyImplicitOpenGate, FormatCreateBuilder, FormatDriverBuilder, file::File as ImageFile, qcow2::Qcow2};
use rustix::fs::FallocateFlags;

use super::{
    Access, Disks, Image, ImageFormat, Result, StorageError,
    create::{self, CLUSTER_SIZE},
    lock,
    new_file::NewFile,
    open_file,
    progress::{self, Watch},
    source::{self, Source},
    users,
};
use crate::manager::definition::DiskFormat;

/// So much is read and written at once, in bytes.
const CHUNK: usize = 2 << 20;
/// So many chunks are on their way from the reader to the writer.
const AHEAD: usize = 3;
/// Zeroes of this length are not written: the usual block of a file system.
const BLOCK: usize = 4 << 10;
/// Zeroes to compare with.
static ZEROES: [u8; 64 << 10] = [0; 64 << 10];

/// What is to be made of an image.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// Where the new image goes.
    pub target: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// Bytes of a cluster; qcow2 only.
    pub cluster_size: Option<u64>,
    /// Whether a file in its place is replaced.
    pub replace: bool,
}

impl Disks {
    /// Copies the disk in `image` over `backing`, the chain of its backing files, nearest first. Returns the disk's size.
    pub fn convert(&self, image: Image, backing: Vec<Image>, wanted: &Conversion, watch: Watch<'_>) -> Result<u64> {
        let target = wanted.target.as_path();
        let (from, mut locked) = (image.path.clone(), backing.iter().map(|image| image.path.as_path()));
        if users::same_file(&from, target) || locked.any(|path| users::same_file(path, target)) {
            return Err(StorageError::refused(target, "that is the image itself", "Choose another name"));
        }
        let replaced = if wanted.replace { self.open_replaced(target)? } else { None };
        let mut source = source::open(image, backing)?;
        let size = source.size();
        create::check(target, size, wanted.format, wanted.cluster_size)?;
        let mut new = match &replaced {
            None => self.new_file(target)?,
            Some(_) => NewFile::create(target.parent().unwrap_or(Path::new("/"))).map_err(StorageError::io(target))?,
        };
        let mut sink = Sink::new(new.file(), size, wanted).map_err(StorageError::io(target))?;
        copy(source.as_mut(), &mut sink, watch).map_err(|failure| match failure {
            Failure::Read(error) => StorageError::io(&from)(error),
            Failure::Write(error) => StorageError::io(target)(error),
        })?;
        sink.finish().map_err(StorageError::io(target))?;
        progress::step(watch, size, size).map_err(StorageError::io(target))?;
        new.publish(target, wanted.replace).map_err(StorageError::io(target))?;
        Ok(size)
    }

    /// Copies the disk in `image` into `device`, the block device at `path`, which is at least as large. All of that is written:
    /// what the image does not store reads as zeroes afterwards.
    pub fn copy_into(
        &self,
        image: Image,
        backing: Vec<Image>,
        path: &Path,
        device: &File,
        watch: Watch<'_>,
    ) -> Result<u64> {
        let from = image.path.clone();
        let mut source = source::open(image, backing)?;
        let size = source.size();
        zero_all(device, size).map_err(StorageError::io(path))?;
        copy(source.as_mut(), &mut Sink::Raw(device), watch).map_err(|failure| match failure {
            Failure::Read(error) => StorageError::io(&from)(error),
            Failure::Write(error) => StorageError::io(path)(error),
        })?;
        device.sync_all().map_err(StorageError::io(path))?;
        progress::step(watch, size, size).map_err(StorageError::io(path))?;
        Ok(size)
    }

    /// The file that is to be replaced, locked; `None` when there is none.
    fn open_replaced(&self, target: &Path) -> Result<Option<File>> {
        if target.symlink_metadata().is_err() {
            return Ok(None);
        }
        if let Some(user) = self.users(target).first() {
            let reason = format!("\"{}\" uses it", user.guest);
            return Err(StorageError::refused(
                target,
                reason,
                "Choose another name, and change the guest's definition",
            ));
        }
        let file = open_file(target, Access::Write).map_err(StorageError::io(target))?;
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(StorageError::refused(target, "it is no plain file", "Choose another name"));
        }
        match lock::acquire(&file, Access::Write).map_err(StorageError::io(target))? {
            true => Ok(Some(file)),
            false => Err(StorageError::InUse {
                path: target.to_owned(),
                user: "another program".to_owned(),
                mend: "End that one first",
            }),
        }
    }
}

impl Disks {
    /// Opens the backing files that a person has named, nearest first, with their formats.
    pub fn open_chain(&self, chain: &[create::BackingFile]) -> Result<Vec<Image>> {
        chain.iter().map(|link| self.open(&link.path, Some(ImageFormat::from(link.format)), Access::Read)).collect()
    }
}

/// Makes `to`, an empty file, a qcow2 image of the disk in `image` over `backing`. `step` is told how many bytes are done.
pub(in crate::manager) fn flatten(
    image: Image,
    backing: Vec<Image>,
    to: &File,
    step: &mut dyn FnMut(u64) -> io::Result<()>,
) -> Result {
    let path = image.path.clone();
    let mut source = source::open(image, backing)?;
    let (target, format) = (PathBuf::new(), DiskFormat::Qcow2);
    let wanted = Conversion { target, format, cluster_size: None, replace: false };
    let mut sink = Sink::new(to, source.size(), &wanted).map_err(StorageError::io(&path))?;
    let mut buffer = Vec::new();
    let mut pass = || -> io::Result<()> {
        let (mut offset, size) = (0, source.size());
        while offset < size {
            let (stored, end) = source.extent(offset)?;
            if end <= offset {
                return Err(io::Error::other("the image does not end"));
            }
            let end = if stored { end.min((offset + 1).next_multiple_of(CHUNK as u64)) } else { end };
            if stored {
                buffer.resize((end - offset) as usize, 0);
                source.read(offset, &mut buffer)?;
                sink.write(offset, &buffer)?;
                step(end - offset)?;
            }
            offset = end;
        }
        Ok(())
    };
    pass().and_then(|()| sink.finish()).map_err(StorageError::io(&path))
}

/// On which side a copy has failed.
enum Failure {
    Read(io::Error),
    Write(io::Error),
}

fn copy(source: &mut dyn Source, sink: &mut Sink<'_>, watch: Watch<'_>) -> std::result::Result<(), Failure> {
    let (full, chunks) = mpsc::sync_channel::<(u64, Vec<u8>)>(AHEAD);
    let (empty, buffers) = mpsc::channel();
    for _ in 0..AHEAD + 2 {
        // The receiver lives as long as this function.
        let _ = empty.send(Vec::new());
    }
    thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(source, &buffers, &full, watch));
        let mut result = Ok(());
        for (offset, chunk) in &chunks {
            result = sink.write(offset, &chunk).map_err(Failure::Write);
            if result.is_err() {
                break;
            }
            // The reader may have come to its end.
            let _ = empty.send(chunk);
        }
        // A reader that waits for the writer is told.
        drop((chunks, empty));
        let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader has failed")));
        result.and(read.map_err(Failure::Read))
    })
}

/// Sends everything that is stored.
fn read_all(
    source: &mut dyn Source,
    buffers: &mpsc::Receiver<Vec<u8>>,
    full: &mpsc::SyncSender<(u64, Vec<u8>)>,
    watch: Watch<'_>,
) -> io::Result<()> {
    let (mut offset, size) = (0, source.size());
    while offset < size {
        progress::step(watch, offset, size)?;
        let (stored, end) = source.extent(offset)?;
        if end <= offset {
            return Err(io::Error::other("the image does not end"));
        }
        if !stored {
            offset = end;
            continue;
        }
        // Up to a multiple of the chunk's size, so that the writer has whole clusters.
        let next = (offset + 1).next_multiple_of(CHUNK as u64);
        let end = end.min(next);
        // An error here and below: the writer has failed, and says why.
        let Ok(mut buffer) = buffers.recv() else { return Ok(()) };
        buffer.resize((end - offset) as usize, 0);
        source.read(offset, &mut buffer)?;
        if full.send((offset, buffer)).is_err() {
            return Ok(());
        }
        offset = end;
    }
    Ok(())
}

/// A new image that is written.
enum Sink<'a> {
    Raw(&'a File),
    Qcow2 { image: Box<source::Access>, cluster: usize },
}

impl<'a> Sink<'a> {
    fn new(file: &'a File, size: u64, wanted: &Conversion) -> io::Result<Self> {
        if wanted.format == DiskFormat::Raw {
            file.set_len(size)?;
            return Ok(Self::Raw(file));
        }
        let cluster = wanted.cluster_size.unwrap_or(CLUSTER_SIZE) as usize;
        let storage = ImageFile::try_from(file.try_clone()?)?;
        let builder = Qcow2::<ImageFile>::create_builder(storage).size(size).cluster_size(cluster);
        let image = builder.create_open(DenyImplicitOpenGate::default(), |storage| {
            Ok(Qcow2::<ImageFile>::builder(storage).backing(None).write(true))
        })?;
        Ok(Self::Qcow2 { image: Box::new(source::Access::new(image)), cluster })
    }

    /// Writes what is not zero.
    fn write(&mut self, offset: u64, chunk: &[u8]) -> io::Result<()> {
        let block = match self {
            Self::Raw(_) => BLOCK,
            Self::Qcow2 { cluster, .. } => BLOCK.max(*cluster),
        };
        let mut at = 0;
        // Chunks begin with blocks unless the source's holes end elsewhere; then blocks are counted from there.
        let blocks: Vec<(bool, usize)> = chunk.chunks(block).map(|block| (is_zero(block), block.len())).collect();
        for run in blocks.chunk_by(|one, other| one.0 == other.0) {
            let length = run.iter().map(|&(_, length)| length).sum::<usize>();
            let data = chunk.get(at..at + length).unwrap_or_default();
            if run.first().is_some_and(|&(zero, _)| !zero) {
                match self {
                    Self::Raw(file) => file.write_all_at(data, offset + at as u64)?,
                    Self::Qcow2 { image, .. } => image.write(data, offset + at as u64)?,
                }
            }
            at += length;
        }
        Ok(())
    }

    /// Writes what is still in memory.
    fn finish(self) -> io::Result<()> {
        match self {
            Self::Raw(_) => Ok(()),
            Self::Qcow2 { image, .. } => image.flush(),
        }
    }
}

/// Makes the first `size` bytes of a device read as zeroes, quickly where it can.
fn zero_all(device: &File, size: u64) -> io::Result<()> {
    for mode in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
        if rustix::fs::fallocate(device, mode | FallocateFlags::KEEP_SIZE, 0, size).is_ok() {
            return Ok(());
        }
    }
    let mut at = 0;
    while at < size {
        let part = ZEROES.len().min((size - at) as usize);
        device.write_all_at(&ZEROES[..part], at)?;
        at += part as u64;
    }
    Ok(())
}

fn is_zero(block: &[u8]) -> bool {
    block.chunks(ZEROES.len()).all(|part| ZEROES.get(..part.len()) == Some(part))
}
