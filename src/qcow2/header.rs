//! The header of a qcow2 image, and its extensions.
//!
//! Specification: QEMU's docs/interop/qcow2.rst, "Header" and "Header extensions".

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{MAGIC, Qcow2Error, malformed, read_padded, read_table};

/// Where the place and length of the backing file's name lie.
pub(super) const BACKING_OFFSET: u64 = 8;
/// Where the size lies, followed by the encryption method and the L1 table's size and place: what a resize changes.
const SIZE_OFFSET: u64 = 24;
/// Where the features are that a program must know to open an image.
const INCOMPATIBLE_OFFSET: u64 = 72;
/// Bytes of the shortest header of version 2, and of version 3.
const LENGTH_V2: usize = 72;
const LENGTH_V3: usize = 104;
/// QEMU's limits on tables, in bytes, and on the number of snapshots.
pub(super) const L1_MAX: u64 = 32 << 20;
pub(super) const REFCOUNT_TABLE_MAX: u64 = 8 << 20;
const SNAPSHOTS_MAX: u32 = 65_536;

/// Incompatible features.
pub const DIRTY: u64 = 1;
/// See [`DIRTY`].
pub const CORRUPT: u64 = 1 << 1;
const EXTERNAL_DATA_FILE: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// Autoclear feature: the bitmaps are what the extension says.
const BITMAPS: u64 = 1;

/// Header extensions.
pub(super) const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const EXTENSION_BITMAPS: u32 = 0x2385_2875;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

/// The header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// The size of a cluster, as a power of two.
    pub cluster_bits: u32,
    /// The disk's size, in bytes.
    pub size: u64,
    /// 0: not encrypted.
    pub encryption: u32,
    /// Entries of the active L1 table.
    pub l1_entries: u32,
    /// Where that lies.
    pub l1_offset: u64,
    /// Where the refcount table lies.
    pub refcount_table_offset: u64,
    /// Its clusters.
    pub refcount_table_clusters: u32,
    /// How many internal snapshots there are.
    pub snapshots: u32,
    /// Where their table lies.
    pub snapshots_offset: u64,
    /// Features that a program must know to open the image.
    pub incompatible: u64,
    /// Features that a program may ignore.
    pub compatible: u64,
    /// Features that a program must clear when it does not know them and writes.
    pub autoclear: u64,
    /// Bits of a reference count, as a power of two.
    pub refcount_order: u32,
    /// The name of the backing file, as it is written there.
    pub backing_file: Option<String>,
    /// Its format, as it is written there.
    pub backing_format: Option<String>,
    /// Where the directory of bitmaps lies: offset and length in bytes, and their number.
    pub bitmaps: Option<(u64, u64, u32)>,
    /// Where the encryption's own header lies: offset and length in bytes.
    pub encryption_header: Option<(u64, u64)>,
}

impl Header {
    /// Reads and checks the header.
    pub fn read(file: &File) -> Result<Self, Qcow2Error> {
        let head = read_padded(file, 0, LENGTH_V3 + 8)?;
        if !head.starts_with(MAGIC) {
            return malformed("it is no qcow2 image");
        }
        let version = u32_at(&head, 4);
        let cluster_bits = u32_at(&head, 20);
        if !(2..=3).contains(&version) {
            return Err(Qcow2Error::Unsupported(format!("version {version} of the format")));
        }
        if !(9..=21).contains(&cluster_bits) {
            return malformed(format!("its clusters have 2^{cluster_bits} bytes"));
        }
        let is_v3 = version == 3;
        let v3 = |value: u64| if is_v3 { value } else { 0 };
        let mut header = Self {
            version,
            cluster_bits,
            size: u64_at(&head, 24),
            encryption: u32_at(&head, 32),
            l1_entries: u32_at(&head, 36),
            l1_offset: u64_at(&head, 40),
            refcount_table_offset: u64_at(&head, 48),
            refcount_table_clusters: u32_at(&head, 56),
            snapshots: u32_at(&head, 60),
            snapshots_offset: u64_at(&head, 64),
            incompatible: v3(u64_at(&head, 72)),
            compatible: v3(u64_at(&head, 80)),
            autoclear: v3(u64_at(&head, 88)),
            refcount_order: if is_v3 { u32_at(&head, 96) } else { 4 },
            backing_file: None,
            backing_format: None,
            bitmaps: None,
            encryption_header: None,
        };
        let length = if is_v3 { u32_at(&head, 100) as usize } else { LENGTH_V2 };
        header.check(length)?;
        header.read_names(file, u64_at(&head, 8), u32_at(&head, 16), length)?;
        Ok(header)
    }

    fn check(&self, length: usize) -> Result<(), Qcow2Error> {
        let cluster = self.cluster_size();
        if self.version == 3 && (length < LENGTH_V3 || length as u64 > cluster || !length.is_multiple_of(8)) {
            return malformed(format!("its header has {length} bytes"));
        }
        if self.refcount_order > 6 {
            return malformed(format!("its reference counts have 2^{} bits", self.refcount_order));
        }
        for (name, offset) in [
            ("L1 table", self.l1_offset),
            ("refcount table", self.refcount_table_offset),
            ("snapshot table", self.snapshots_offset),
        ] {
            if !offset.is_multiple_of(cluster) {
                return malformed(format!("its {name} is at {offset}, which is not the start of a cluster"));
            }
        }
        if u64::from(self.l1_entries) * 8 > L1_MAX {
            return malformed(format!("its L1 table has {} entries", self.l1_entries));
        }
        if self.refcount_table_clusters == 0
            || u64::from(self.refcount_table_clusters) << self.cluster_bits > REFCOUNT_TABLE_MAX.max(cluster)
        {
            return malformed(format!("its refcount table has {} clusters", self.refcount_table_clusters));
        }
        if self.snapshots > SNAPSHOTS_MAX {
            return malformed(format!("it has {} snapshots", self.snapshots));
        }
        Ok(())
    }

    /// The backing file's name and the extensions, which are all in the first cluster.
    fn read_names(&mut self, file: &File, name: u64, name_length: u32, length: usize) -> Result<(), Qcow2Error> {
        let cluster = self.cluster_size();
        let mut end = cluster;
        if name != 0 {
            if name_length > 1023 || name.saturating_add(name_length.into()) > cluster {
                return malformed("the name of its backing file is not in the header's cluster");
            }
            let bytes = read_padded(file, name, name_length as usize)?;
            self.backing_file = Some(String::from_utf8_lossy(&bytes).into_owned());
            end = name;
        }
        let area = read_padded(file, 0, end as usize)?;
        let mut rest = area.get(length..).unwrap_or_default();
        while let Some((head, data)) = rest.split_first_chunk::<8>() {
            let (kind, length) = (u32_at(head, 0), u32_at(head, 4) as usize);
            if kind == 0 {
                break;
            }
            let Some(content) = data.get(..length) else {
                return malformed("a header extension is longer than the header's cluster");
            };
            match kind {
                EXTENSION_BACKING_FORMAT => self.backing_format = Some(String::from_utf8_lossy(content).into_owned()),
                EXTENSION_BITMAPS if content.len() >= 24 && self.autoclear & BITMAPS != 0 => {
                    self.bitmaps = Some((u64_at(content, 16), u64_at(content, 8), u32_at(content, 0)));
                }
                EXTENSION_ENCRYPTION if content.len() >= 16 => {
                    self.encryption_header = Some((u64_at(content, 0), u64_at(content, 8)));
                }
                _ => {}
            }
            // Each is padded to whole 8 bytes.
            rest = data.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        Ok(())
    }

    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Entries of an L2 table.
    pub fn l2_entries(&self) -> u64 {
        self.cluster_size() / 8
    }

    /// Bytes of the disk that one L2 table describes.
    pub fn l2_reach(&self) -> u64 {
        self.l2_entries() << self.cluster_bits
    }

    /// Reference counts in a refcount block.
    pub fn counts_per_block(&self) -> u64 {
        (self.cluster_size() * 8) >> self.refcount_order
    }

    /// The clusters that `bytes` need.
    pub fn clusters(&self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_size())
    }

    /// Whether anything was ever written to the disk: an image without any table shows only what it is based on.
    pub fn has_data(&self, file: &File) -> Result<bool, Qcow2Error> {
        let tables = read_table(file, self.l1_offset, self.l1_entries as usize)?;
        Ok(self.snapshots > 0 || tables.iter().any(|entry| *entry != 0))
    }

    /// Whether the disk's data are in another file.
    pub fn has_external_data(&self) -> bool {
        self.incompatible & EXTERNAL_DATA_FILE != 0
    }

    /// Refuses what the walk over all tables would misread.
    pub fn check_walkable(&self) -> Result<(), Qcow2Error> {
        let unsupported = |what: &str| Err(Qcow2Error::Unsupported(what.to_owned()));
        match self.incompatible & !(DIRTY | CORRUPT | EXTERNAL_DATA_FILE | COMPRESSION_TYPE) {
            0 => Ok(()),
            features if features & EXTENDED_L2 != 0 => unsupported("subclusters"),
            features => unsupported(&format!("features {features:#x}")),
        }
    }

    /// Refuses what a resize would harm.
    pub fn check_resizable(&self) -> Result<(), Qcow2Error> {
        self.check_walkable()?;
        let unsupported = |what: &str| Err(Qcow2Error::Unsupported(what.to_owned()));
        if self.incompatible & DIRTY != 0 {
            return Err(Qcow2Error::Unclean("it was not closed properly".to_owned()));
        }
        if self.incompatible & CORRUPT != 0 {
            return Err(Qcow2Error::Unclean("it is marked as damaged".to_owned()));
        }
        match () {
            () if self.has_external_data() => unsupported("its data in another file"),
            () if self.snapshots > 0 => unsupported("internal snapshots"),
            () if self.bitmaps.is_some() => unsupported("persistent bitmaps"),
            () if self.encryption != 0 => unsupported("encryption"),
            () => Ok(()),
        }
    }

    /// Writes the size, and where the L1 and the refcount table lie, in one step: they are in one sector.
    pub fn write_geometry(&self, file: &File) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(36);
        bytes.extend(self.size.to_be_bytes());
        bytes.extend(self.encryption.to_be_bytes());
        bytes.extend(self.l1_entries.to_be_bytes());
        bytes.extend(self.l1_offset.to_be_bytes());
        bytes.extend(self.refcount_table_offset.to_be_bytes());
        bytes.extend(self.refcount_table_clusters.to_be_bytes());
        file.write_all_at(&bytes, SIZE_OFFSET)
    }

    /// Writes [`Header::incompatible`]; only version 3 has it.
    pub fn write_incompatible(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.incompatible.to_be_bytes(), INCOMPATIBLE_OFFSET)
    }
}

/// The big-endian number at `offset`, zero where there is none.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |&bytes| u32::from_be_bytes(bytes))
}

/// See [`u32_at`].
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |&bytes| u64::from_be_bytes(bytes))
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    bytes.get(offset..).and_then(|rest| rest.first_chunk()).map_or(0, |&bytes| u16::from_be_bytes(bytes))
}
