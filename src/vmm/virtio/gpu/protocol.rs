//! The GPU's commands and answers as bytes (virtio 1.2, sections 5.7.6.7 to 5.7.6.10). All fields are little-endian.

#![forbid(unsafe_code)]

use super::{
    super::queue::{Buffers, QueueError},
    MAX_PIECES,
};
use crate::{screen::Rect, vmm::display::edid::EDID_SIZE};

/// Screens in a display information.
const SCANOUTS: usize = 16;
/// Room for a monitor's description in its answer, in bytes.
const EDID_ROOM: usize = 1024;
const FLAG_FENCE: u32 = 1;

/// What every command and answer begins with (struct virtio_gpu_ctrl_hdr).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    kind: u32,
    flags: u32,
    fence: u64,
    context: u32,
}

/// A piece of guest memory that holds a part of a resource's pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Guest physical address.
    pub address: u64,
    /// Length in bytes.
    pub len: u32,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Which screens are there, and how large they would like to be.
    GetDisplayInfo,
    /// Makes a picture in the device.
    CreateResource {
        /// The driver's number for it, not 0.
        resource: u32,
        /// How its pixels are stored.
        format: u32,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Ends a resource.
    UnrefResource {
        /// Which.
        resource: u32,
    },
    /// Shows a part of a resource on a screen.
    SetScanout {
        /// The part.
        rect: Rect,
        /// The screen.
        scanout: u32,
        /// The resource, or 0 for none.
        resource: u32,
    },
    /// A part of a resource has changed and is to be seen.
    FlushResource {
        /// The part.
        rect: Rect,
        /// The resource.
        resource: u32,
    },
    /// Takes pixels from the guest's memory.
    TransferToHost {
        /// Where they go in the resource.
        rect: Rect,
        /// Where they begin in the resource's backing, in bytes.
        offset: u64,
        /// The resource.
        resource: u32,
    },
    /// Gives a resource its pixels' place in the guest's memory.
    AttachBacking {
        /// The resource.
        resource: u32,
        /// The memory, in order.
        pieces: Vec<Piece>,
    },
    /// Takes that place away.
    DetachBacking {
        /// The resource.
        resource: u32,
    },
    /// What the monitor says about itself.
    GetEdid {
        /// Its screen.
        scanout: u32,
    },
    /// Changes the pointer's picture and moves it.
    UpdateCursor {
        /// The picture, or 0 for none.
        resource: u32,
        /// Where its top left corner is.
        x: i32,
        /// Where its top left corner is.
        y: i32,
        /// The pixel of it that points.
        hot_spot: (u32, u32),
    },
    /// Moves the pointer.
    MoveCursor {
        /// Where its top left corner is.
        x: i32,
        /// Where its top left corner is.
        y: i32,
    },
    /// Something else.
    Unknown,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Done.
    Done,
    /// The preferred size of the only screen, and whether it is on.
    DisplayInfo {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The monitor's description.
    Edid(Box<[u8; EDID_SIZE]>),
    /// It could not be done.
    Error(ErrorKind),
}

/// Why a command could not be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorKind {
    /// None of the other reasons.
    Unspecified = 0x1200,
    /// There is no room for it.
    OutOfMemory = 0x1201,
    /// There is no such screen.
    InvalidScanout = 0x1202,
    /// There is no such resource, or there is one already.
    InvalidResource = 0x1203,
    /// A size or place is wrong.
    InvalidParameter = 0x1205,
}

impl Header {
    /// Takes it from the front of a command.
    pub fn read(buffers: &mut Buffers) -> Result<Self, QueueError> {
        let [kind, flags, fence_low, fence_high, context, _ring] = words(buffers)?;
        Ok(Self { kind, flags, fence: u64::from(fence_high) << 32 | u64::from(fence_low), context })
    }
}

impl Command {
    /// Takes the rest of a command that began with `header`.
    pub fn read(header: &Header, buffers: &mut Buffers) -> Result<Self, QueueError> {
        Ok(match header.kind {
            0x100 => Self::GetDisplayInfo,
            0x101 => {
                let [resource, format, width, height] = words(buffers)?;
                Self::CreateResource { resource, format, width, height }
            }
            0x102 => Self::UnrefResource { resource: words::<2>(buffers)?[0] },
            0x103 => {
                let [x, y, width, height, scanout, resource] = words(buffers)?;
                Self::SetScanout { rect: Rect { x, y, width, height }, scanout, resource }
            }
            0x104 => {
                let [x, y, width, height, resource, _] = words(buffers)?;
                Self::FlushResource { rect: Rect { x, y, width, height }, resource }
            }
            0x105 => {
                let [x, y, width, height, low, high, resource, _] = words(buffers)?;
                let offset = u64::from(high) << 32 | u64::from(low);
                Self::TransferToHost { rect: Rect { x, y, width, height }, offset, resource }
            }
            0x106 => {
                let [resource, count] = words(buffers)?;
                if count as usize > MAX_PIECES {
                    return Err(QueueError::Request("a resource is in too many pieces"));
                }
                let mut piece = || {
                    let [low, high, len, _] = words(buffers)?;
                    Ok(Piece { address: u64::from(high) << 32 | u64::from(low), len })
                };
                Self::AttachBacking {
                    resource,
                    pieces: (0..count).map(|_| piece()).collect::<Result<_, QueueError>>()?,
                }
            }
            0x107 => Self::DetachBacking { resource: words::<2>(buffers)?[0] },
            0x10a => Self::GetEdid { scanout: words::<2>(buffers)?[0] },
            0x300 | 0x301 => {
                let [_scanout, x, y, _, resource, hot_x, hot_y, _] = words(buffers)?;
                // A pointer may stand out to the left and above.
                let (x, y) = (x as i32, y as i32);
                match header.kind {
                    0x300 => Self::UpdateCursor { resource, x, y, hot_spot: (hot_x, hot_y) },
                    _ => Self::MoveCursor { x, y },
                }
            }
            _ => Self::Unknown,
        })
    }
}

impl Response {
    /// The answer to a command that began with `header`.
    pub fn bytes(&self, header: &Header) -> Vec<u8> {
        let kind = match self {
            Self::Done => 0x1100,
            Self::DisplayInfo { .. } => 0x1101,
            Self::Edid(_) => 0x1104,
            Self::Error(kind) => *kind as u32,
        };
        // A command with a fence is answered when it is done, which it is: the answer carries the fence.
        let (flags, fence) = if header.flags & FLAG_FENCE != 0 { (FLAG_FENCE, header.fence) } else { (0, 0) };
        let mut bytes = Vec::new();
        put(&mut bytes, &[kind, flags, fence as u32, (fence >> 32) as u32, header.context, 0]);
        match self {
            Self::DisplayInfo { width, height } => {
                put(&mut bytes, &[0, 0, *width, *height, 1, 0]);
                put(&mut bytes, &[0; (SCANOUTS - 1) * 6]);
            }
            Self::Edid(block) => {
                put(&mut bytes, &[EDID_SIZE as u32, 0]);
                bytes.extend_from_slice(&block[..]);
                bytes.resize(bytes.len() + EDID_ROOM - EDID_SIZE, 0);
            }
            Self::Done | Self::Error(_) => {}
        }
        bytes
    }
}

fn words<const N: usize>(buffers: &mut Buffers) -> Result<[u32; N], QueueError> {
    let mut words = [0; N];
    for word in &mut words {
        *word = u32::from_le(buffers.read_object()?);
    }
    Ok(words)
}

fn put(bytes: &mut Vec<u8>, words: &[u32]) {
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
