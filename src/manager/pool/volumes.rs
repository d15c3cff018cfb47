//! The volumes of a pool: images in a folder, or LVM's logical volumes, with one set of operations.

#![forbid(unsafe_code)]

use std::{
    ffi::OsStr,
    fs,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Pool, PoolEntry, Pools, PoolsError, Target, lvm::LogicalVolume};
use crate::manager::{
    definition::DiskFormat,
    media,
    storage::{
        Access, ImageFormat, User,
        convert::Conversion,
        create::{NewImage, Preallocation},
        info::ImageInfo,
        progress::Watch,
        users::{self, Use},
    },
};

/// Endings that a volume's name may leave out.
const ENDINGS: [&str; 3] = ["", ".qcow2", ".raw"];

/// What a pool has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolInfo {
    /// The pool.
    #[serde(flatten)]
    pub pool: PoolEntry,
    /// `folder` or `lvm`.
    pub kind: &'static str,
    /// What it holds, in bytes: of a folder, its file system; `None` when that is not known, for `problem` says why.
    pub capacity: Option<u64>,
    /// What of that is taken, in bytes.
    pub allocation: Option<u64>,
    /// What is free, in bytes.
    pub free: Option<u64>,
    /// How many volumes it has.
    pub volumes: Option<usize>,
    /// Why it cannot be used, for people.
    pub problem: Option<String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// The pool that it is in.
    pub pool: String,
    /// Its name there.
    pub name: String,
    /// Where it is: what a guest's definition names.
    pub path: PathBuf,
    /// Its format; `None` when nothing says it.
    pub format: Option<ImageFormat>,
    /// The disk's size, in bytes.
    pub capacity: u64,
    /// What it takes of the pool, in bytes.
    pub allocation: u64,
    /// The guests that need it.
    pub users: Vec<User>,
    /// Why it cannot be examined, for people.
    pub problem: Option<String>,
}

/// A volume to be made.
#[derive(Debug, Clone)]
pub struct NewVolume {
    /// Its name; in a folder, the format's ending is added where there is none.
    pub name: String,
    /// Its size, in bytes.
    pub size: u64,
    /// Its format. In a folder it is qcow2 when nobody says otherwise, in a volume group raw.
    pub format: Option<DiskFormat>,
    /// What takes its room at once. In a volume group everything does.
    pub preallocation: Preallocation,
}

/// An image that is copied into a pool.
#[derive(Debug, Clone)]
pub struct Import {
    /// The image.
    pub source: PathBuf,
    /// Its format, if neither a guest's definition nor its first bytes say it.
    pub source_format: Option<ImageFormat>,
    /// The volume's name; that of the image when nobody says otherwise.
    pub name: Option<String>,
    /// The volume's format; as the image's if it can be.
    pub format: Option<DiskFormat>,
}

/// How large a volume is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewSize {
    /// So many bytes.
    Whole(u64),
    /// So many bytes more.
    Added(u64),
}

impl NewSize {
    /// The size of a disk that has `now` bytes.
    pub fn from(self, now: u64) -> u64 {
        match self {
            Self::Whole(size) => size,
            Self::Added(more) => now.saturating_add(more),
        }
    }
}

impl Pools {
    /// What the pool `name` has.
    pub fn info(&self, name: &str) -> Result<PoolInfo, PoolsError> {
        Ok(self.describe(self.find(name)?))
    }

    /// What a pool has. One that cannot be used says why.
    pub fn describe(&self, pool: PoolEntry) -> PoolInfo {
        let kind = pool.target.kind();
        let figures = match &pool.target {
            Target::Path(folder) => Pool::at(folder)
                .space()
                .map(|space| (space.total, space.free))
                .map_err(PoolsError::io(folder, "Look at the folder and its disk")),
            Target::VolumeGroup(group) => {
                self.lvm.group(group).map(|group| (group.size, group.free)).map_err(PoolsError::from)
            }
        };
        let info = PoolInfo {
            pool: pool.clone(),
            kind,
            capacity: None,
            allocation: None,
            free: None,
            volumes: None,
            problem: None,
        };
        match figures.and_then(|figures| Ok((figures, self.names(&pool)?.len()))) {
            Ok(((capacity, free), volumes)) => PoolInfo {
                capacity: Some(capacity),
                allocation: Some(capacity.saturating_sub(free)),
                free: Some(free),
                volumes: Some(volumes),
                ..info
            },
            Err(error) => PoolInfo { problem: Some(error.to_string()), ..info },
        }
    }

    /// The volumes of a pool, by name.
    pub fn volumes(&self, pool: &str) -> Result<Vec<Volume>, PoolsError> {
        let pool = self.find(pool)?;
        match &pool.target {
            Target::Path(folder) => {
                let names = self.names(&pool)?;
                Ok(names.into_iter().map(|name| self.image(&pool, folder.join(&name), name)).collect())
            }
            Target::VolumeGroup(group) => {
                Ok(self.lvm.volumes(group)?.into_iter().map(|volume| self.logical(&pool, volume)).collect())
            }
        }
    }

    /// The volume of this name. In a folder the ending may be left out.
    pub fn volume(&self, pool: &str, name: &str) -> Result<Volume, PoolsError> {
        let mut volumes = self.volumes(pool)?;
        let named = |volume: &Volume| ENDINGS.iter().any(|ending| volume.name == format!("{name}{ending}"));
        let found: Vec<usize> = (0..volumes.len()).filter(|&index| named(&volumes[index])).collect();
        let exact = found.iter().copied().find(|&index| volumes[index].name == name);
        match (exact, found.as_slice()) {
            (Some(index), _) | (None, &[index]) => Ok(volumes.swap_remove(index)),
            (None, []) => Err(PoolsError::NoVolume { pool: pool.to_owned(), volume: name.to_owned() }),
            (None, [one, other, ..]) => {
                let reason = format!("it can be {} or {}", volumes[*one].name, volumes[*other].name);
                Err(PoolsError::refused(name, reason, "Write the ending, too"))
            }
        }
    }

    /// Makes an empty volume.
    pub fn create_volume(&self, pool: &str, wanted: &NewVolume) -> Result<Volume, PoolsError> {
        let entry = self.find(pool)?;
        let name = match &entry.target {
            Target::Path(folder) => {
                let format = wanted.format.unwrap_or(DiskFormat::Qcow2);
                let path = target(folder, &wanted.name, format)?;
                let image = NewImage {
                    size: Some(wanted.size),
                    format,
                    backing: None,
                    preallocation: wanted.preallocation,
                    cluster_size: None,
                };
                self.disks.create(&path, &image)?;
                file_name(&path)
            }
            Target::VolumeGroup(group) => {
                refuse_qcow2(&wanted.name, wanted.format)?;
                self.make_logical(&entry, group, &wanted.name, wanted.size)?;
                wanted.name.clone()
            }
        };
        self.volume(pool, &name)
    }

    /// Gives a volume another size. Nobody may be using it. Returns its size before and now.
    pub fn resize_volume(
        &self,
        pool: &str,
        name: &str,
        size: NewSize,
        shrink: bool,
        watch: Watch<'_>,
    ) -> Result<(u64, u64), PoolsError> {
        let volume = self.volume(pool, name)?;
        let size = size.from(volume.capacity);
        match self.find(pool)?.target {
            Target::Path(_) => {
                let format = volume.format.unwrap_or(ImageFormat::Raw);
                let image = self.disks.open_resizable(&volume.path, Some(format))?;
                let resized = self.disks.resize(&image, size, shrink, watch)?;
                Ok((resized.from, resized.to))
            }
            Target::VolumeGroup(group) => {
                // Held until it has its new size.
                let _unused = self.unused(&volume)?;
                if size < volume.capacity && !shrink {
                    let reason = "it would lose its end, and what is stored there";
                    let mend = "Shrink the partitions and file systems in it first, and then add --shrink";
                    return Err(PoolsError::refused(volume.name, reason, mend));
                }
                if size != volume.capacity {
                    self.lvm.resize(&group, &volume.name, size, size < volume.capacity)?;
                }
                Ok((volume.capacity, self.volume(pool, &volume.name)?.capacity))
            }
        }
    }

    /// Deletes a volume with all that is in it; refused when a guest, a snapshot or another image needs it.
    pub fn delete_volume(&self, pool: &str, name: &str) -> Result<Volume, PoolsError> {
        let volume = self.volume(pool, name)?;
        if let Some(user) = volume.users.first() {
            let what = match user.purpose {
                Use::Disk(_) => "it is a disk of",
                Use::Backing => "it is the base of a disk of",
                Use::Snapshot => "a snapshot needs it, of",
                Use::Boot => "it boots",
            };
            let (reason, mend) = (format!("{what} \"{}\"", user.guest), "Take it out of that guest first");
            return Err(PoolsError::refused(volume.name, reason, mend));
        }
        if let Some(above) = self.image_above(&volume.path)? {
            let reason = format!("{} is based on it", above.display());
            return Err(PoolsError::refused(volume.name, reason, "Delete that one first"));
        }
        let unused = self.unused(&volume)?;
        match self.find(pool)?.target {
            Target::Path(_) => {
                fs::remove_file(&volume.path)
                    .map_err(PoolsError::io(&volume.path, "Make its folder writable for you"))?;
            }
            Target::VolumeGroup(group) => {
                // LVM removes nothing that is open.
                drop(unused);
                self.lvm.remove(&group, &volume.name)?;
            }
        }
        Ok(volume)
    }

    /// Copies an image into a pool.
    pub fn import_volume(&self, pool: &str, import: &Import, watch: Watch<'_>) -> Result<Volume, PoolsError> {
        let entry = self.find(pool)?;
        let source = self.disks.open(&import.source, import.source_format, Access::Read)?;
        let stem = import.source.file_stem().map(OsStr::to_string_lossy).unwrap_or_default();
        let name = import.name.clone().unwrap_or_else(|| stem.into_owned());
        let name = match &entry.target {
            Target::Path(folder) => {
                let format = import.format.unwrap_or(match source.format {
                    ImageFormat::Raw => DiskFormat::Raw,
                    ImageFormat::Qcow2 | ImageFormat::Vmdk => DiskFormat::Qcow2,
                });
                let target = target(folder, &name, format)?;
                let wanted = Conversion { target: target.clone(), format, cluster_size: None, replace: false };
                self.disks.convert(source, Vec::new(), &wanted, watch)?;
                file_name(&target)
            }
            Target::VolumeGroup(group) => {
                refuse_qcow2(&name, import.format)?;
                let size = self.disks.size_of_image(&source)?;
                let volume = self.make_logical(&entry, group, &name, size)?;
                let copied = open_alone(&volume.path)
                    .map_err(PoolsError::io(&volume.path, "Look at it with \"lvs\""))
                    .and_then(|device| Ok(self.disks.copy_into(source, Vec::new(), &volume.path, &device, watch)?));
                if let Err(error) = copied {
                    // Half a disk is none. What cannot be removed now is there to be seen.
                    let _ = self.lvm.remove(group, &name);
                    return Err(error);
                }
                name
            }
        };
        self.volume(pool, &name)
    }

    fn make_logical(&self, pool: &PoolEntry, group: &str, name: &str, size: u64) -> Result<Volume, PoolsError> {
        if self.lvm.volumes(group)?.iter().any(|volume| volume.name == name) {
            return Err(PoolsError::refused(name, format!("it is in {} already", pool.name), "Choose another name"));
        }
        let free = self.lvm.group(group)?.free;
        if size == 0 || size > free {
            let free = crate::manager::size::Size(free).approximate();
            let reason = format!("{free} of the volume group are free");
            return Err(PoolsError::refused(
                name,
                reason,
                "Choose a size that fits, or add a disk to it with \"vgextend\"",
            ));
        }
        self.lvm.create(group, name, size)?;
        self.volume(&pool.name, name)
    }

    /// The names of a pool's volumes, in order.
    fn names(&self, pool: &PoolEntry) -> Result<Vec<String>, PoolsError> {
        let mut names: Vec<String> = match &pool.target {
            Target::VolumeGroup(group) => self.lvm.volumes(group)?.into_iter().map(|volume| volume.name).collect(),
            Target::Path(folder) => match fs::read_dir(folder) {
                // The default one is made when it is needed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(PoolsError::io(folder, "Put it back, or remove the pool")(error)),
                Ok(entries) => entries
                    .flatten()
                    .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.is_file()))
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .filter(|name| !name.starts_with('.'))
                    .collect(),
            },
        };
        names.sort();
        Ok(names)
    }

    fn image(&self, pool: &PoolEntry, path: PathBuf, name: String) -> Volume {
        let (pool, users) = (pool.name.clone(), self.disks.users(&path));
        match self.disks.volume(&path) {
            Ok(ImageInfo { format, virtual_size: capacity, allocated: allocation, .. }) => {
                Volume { pool, name, path, format, capacity, allocation, users, problem: None }
            }
            Err(error) => {
                let problem = Some(error.to_string());
                Volume { pool, name, path, format: None, capacity: 0, allocation: 0, users, problem }
            }
        }
    }

    fn logical(&self, pool: &PoolEntry, volume: LogicalVolume) -> Volume {
        let LogicalVolume { name, path, size, active } = volume;
        let problem =
            (!active).then(|| format!("it is not active. Activate it with \"lvchange -ay {}\"", path.display()));
        let users = self.disks.users(&path);
        let format = users.iter().find_map(|user| match user.purpose {
            Use::Disk(format) => Some(format.into()),
            _ => None,
        });
        let format = format.or(Some(ImageFormat::Raw));
        Volume { pool: pool.name.clone(), name, path, format, capacity: size, allocation: size, users, problem }
    }

    /// An image in a folder pool that is based on the file at `path`.
    pub(in crate::manager) fn image_above(&self, path: &Path) -> Result<Option<PathBuf>, PoolsError> {
        for pool in self.list()? {
            let Target::Path(folder) = &pool.target else { continue };
            // One whose folder is gone has no image that could be damaged.
            for name in self.names(&pool).unwrap_or_default() {
                let image = folder.join(name);
                if media::backing_files(&image).iter().any(|below| users::same_file(below, path)) {
                    return Ok(Some(image));
                }
            }
        }
        Ok(None)
    }

    /// Keeps others from using the volume meanwhile; refused when somebody does.
    fn unused(&self, volume: &Volume) -> Result<File, PoolsError> {
        if let Some(user) = volume.users.iter().find(|user| user.running) {
            let (reason, mend) = (format!("\"{}\" uses it, and runs", user.guest), "Shut it down first");
            return Err(PoolsError::refused(volume.name.clone(), reason, mend));
        }
        let format = volume.format.unwrap_or(ImageFormat::Raw);
        let image = self.disks.open(&volume.path, Some(format), Access::Write)?;
        Ok(image.file)
    }
}

/// Opens a block device for nobody but this program.
fn open_alone(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // On a device it says: fail if the host uses it. On a file it says nothing without O_CREAT.
    File::options().read(true).write(true).custom_flags(libc::O_EXCL).open(path)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// Where a new volume goes in a folder.
fn target(folder: &Path, name: &str, format: DiskFormat) -> Result<PathBuf, PoolsError> {
    let wrong = |reason| Err(PoolsError::Name { name: name.to_owned(), reason });
    match name {
        "" => return wrong("it is empty"),
        _ if name.starts_with(['.', '-']) => return wrong("it begins with a dot or a dash"),
        _ if name.contains('/') || name.chars().any(char::is_control) => {
            return wrong("it has a slash or a control character");
        }
        _ => {}
    }
    let has_ending =
        Path::new(name).extension().is_some_and(|ending| ending == "qcow2" || ending == "raw" || ending == "img");
    Ok(folder.join(if has_ending { name.to_owned() } else { format!("{name}.{}", format.name()) }))
}

fn refuse_qcow2(name: &str, format: Option<DiskFormat>) -> Result<(), PoolsError> {
    match format {
        Some(DiskFormat::Qcow2) => {
            let reason = "the volumes of a volume group are raw";
            Err(PoolsError::refused(name, reason, "Leave out --format"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
