//! What the wizard's tests share.

use lodge::manager::{
    definition::{HostLimits, NetworkDefinition},
    media::{Media, MediaKind},
    pool::Space,
    size::{GIB, MIB},
};

use crate::ui::{backend::Surroundings, judgement::Inspected};

/// A host with 16 GiB, half of them free, four CPUs and 100 GiB of room, and a guest "testcard".
pub fn around() -> Surroundings {
    Surroundings {
        limits: HostLimits {
            memory_total: 16 * GIB,
            memory_available: 8 * GIB,
            cpus: 4,
            max_vcpus: 16,
            address_bits: 39,
        },
        space: Some(Space { total: 200 * GIB, free: 100 * GIB }),
        pool: "/pool".into(),
        names: vec!["testcard".into()],
        networks: vec![NetworkDefinition::nat(), NetworkDefinition::bridge("br0"), NetworkDefinition::tap("tap0")],
    }
}

/// An ISO image that boots.
pub fn iso(label: Option<&str>) -> Inspected {
    inspected(MediaKind::HybridIso, label)
}

/// A qcow2 image.
pub fn qcow2() -> Inspected {
    inspected(MediaKind::Qcow2, None)
}

/// A raw disk image.
pub fn disk() -> Inspected {
    inspected(MediaKind::BootableDisk, None)
}

fn inspected(kind: MediaKind, label: Option<&str>) -> Inspected {
    let media = Media { kind, size: 5 * MIB, label: label.map(str::to_owned), backing: None };
    Inspected { media, users: Vec::new() }
}
