//! Links between blobs: the commands of QEMU's linker/loader protocol (`docs/specs/acpi_hw_reduced` has none; the format is
//! that of `etc/table-loader` as SeaBIOS and OVMF read it), which are written for firmware or carried out by ourselves.

/// Bytes of one command in `etc/table-loader`.
const ENTRY_SIZE: usize = 128;
/// Bytes of a file's name in a command, with its terminating zero.
const NAME_SIZE: usize = 56;

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Find room for a blob and read it there.
    Allocate {
        /// The blob.
        file: &'static str,
        /// Alignment in bytes.
        align: u32,
        /// In the BIOS area below 1 MiB, where the root pointer is looked for.
        low: bool,
    },
    /// Add the address of `target` to the pointer at `offset` of `file`.
    Point {
        /// The blob that holds the pointer.
        file: &'static str,
        /// The blob that is pointed into.
        target: &'static str,
        /// Where the pointer lies (bytes).
        offset: u32,
        /// The pointer's size: 4 or 8 bytes.
        size: u8,
    },
    /// Set the byte at `offset` so that the bytes from `start` sum up to zero.
    Checksum {
        /// The blob.
        file: &'static str,
        /// Where the checksum lies (bytes).
        offset: u32,
        /// First byte that is summed.
        start: u32,
        /// How many bytes are summed.
        length: u32,
    },
}

impl Link {
    /// The blob that the command changes.
    pub fn file(&self) -> &'static str {
        match *self {
            Self::Allocate { file, .. } | Self::Point { file, .. } | Self::Checksum { file, .. } => file,
        }
    }

    /// The command as firmware reads it: 128 bytes, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_SIZE);
        match *self {
            Self::Allocate { file, align, low } => {
                bytes.extend(1u32.to_le_bytes());
                push_name(&mut bytes, file);
                bytes.extend(align.to_le_bytes());
                bytes.push(if low { 2 } else { 1 });
            }
            Self::Point { file, target, offset, size } => {
                bytes.extend(2u32.to_le_bytes());
                push_name(&mut bytes, file);
                push_name(&mut bytes, target);
                bytes.extend(offset.to_le_bytes());
                bytes.push(size);
            }
            Self::Checksum { file, offset, start, length } => {
                bytes.extend(3u32.to_le_bytes());
                push_name(&mut bytes, file);
                for value in [offset, start, length] {
                    bytes.extend(value.to_le_bytes());
                }
            }
        }
        bytes.resize(ENTRY_SIZE, 0);
        bytes
    }

    /// Carries the command out on `bytes`, the contents of [`Link::file`]; `address_of` knows where each blob lies.
    pub fn apply(&self, bytes: &mut [u8], address_of: impl Fn(&str) -> u64) {
        match *self {
            Self::Allocate { .. } => {}
            Self::Point { target, offset, size, .. } => {
                let pointer = &mut bytes[offset as usize..][..usize::from(size)];
                let mut value = [0; 8];
                value[..pointer.len()].copy_from_slice(pointer);
                let value = u64::from_le_bytes(value).wrapping_add(address_of(target)).to_le_bytes();
                pointer.copy_from_slice(&value[..pointer.len()]);
            }
            Self::Checksum { offset, start, length, .. } => {
                bytes[offset as usize] = 0;
                let sum = bytes[start as usize..][..length as usize].iter().fold(0u8, |sum, &b| sum.wrapping_add(b));
                bytes[offset as usize] = sum.wrapping_neg();
            }
        }
    }
}

fn push_name(bytes: &mut Vec<u8>, name: &str) {
    let start = bytes.len();
    bytes.extend(name.as_bytes());
    bytes.resize(start + NAME_SIZE, 0);
}
