//! Writing another backing file's name into an image. Nothing else in it changes: what the new backing file holds has to
//! look the same through the image.

use std::{fs::File, os::unix::fs::FileExt};

use super::{
    Header, Qcow2Error,
    header::{BACKING_OFFSET, EXTENSION_BACKING_FORMAT, u32_at, u64_at},
    read_padded,
};

/// The longest name that the format allows, in bytes.
const NAME_MAX: usize = 1023;

/// Writes the name and format of the backing file, which has to be there already. The name goes behind everything else in
/// the header's cluster, and counts with one write of its place.
pub fn rebase(file: &File, name: &str, format: &str) -> Result<(), Qcow2Error> {
    let header = Header::read(file)?;
    let cluster = header.cluster_size() as usize;
    let first = read_padded(file, 0, cluster)?;
    let (old, old_length) = (u64_at(&first, BACKING_OFFSET as usize) as usize, u32_at(&first, 16) as usize);
    if header.backing_file.is_none() || old == 0 {
        return Err(Qcow2Error::Refused("it is based on nothing".to_owned()));
    }
    let here = first.get(old..old + old_length) == Some(name.as_bytes());
    if !here {
        // In the place of the old one only where there is no other: only there a crash can leave half a name.
        let behind = old + old_length;
        let place = if behind + name.len() <= cluster && has_end(&header, &first, old) { behind } else { old };
        if name.len() > NAME_MAX || place + name.len() > cluster {
            return Err(Qcow2Error::Refused("its header has no room for so long a name".to_owned()));
        }
        file.write_all_at(name.as_bytes(), place as u64)?;
        file.sync_data()?;
        let mut place_and_length = [0; 12];
        place_and_length[..8].copy_from_slice(&(place as u64).to_be_bytes());
        place_and_length[8..].copy_from_slice(&(name.len() as u32).to_be_bytes());
        file.write_all_at(&place_and_length, BACKING_OFFSET)?;
    }
    if header.backing_format.as_deref() != Some(format) {
        write_format(file, &header, &first, format)?;
    }
    Ok(file.sync_data()?)
}

/// Whether the extensions end before the name at `name`; without a mark they end there.
fn has_end(header: &Header, first: &[u8], name: usize) -> bool {
    let mut at = extensions(header, first);
    while at + 8 <= name && u32_at(first, at) != 0 {
        at = next(first, at);
    }
    at + 8 <= name
}

/// Where the extensions begin.
fn extensions(header: &Header, first: &[u8]) -> usize {
    if header.version == 3 { u32_at(first, 100) as usize } else { 72 }
}

/// Where the extension behind the one at `at` begins.
fn next(first: &[u8], at: usize) -> usize {
    at.saturating_add(8).saturating_add((u32_at(first, at + 4) as usize).next_multiple_of(8))
}

/// Writes the format into its extension. The names of all formats take one padded word of 8 bytes.
fn write_format(file: &File, header: &Header, first: &[u8], format: &str) -> Result<(), Qcow2Error> {
    let mut at = extensions(header, first);
    while at + 8 <= first.len() && u32_at(first, at) != 0 {
        let length = u32_at(first, at + 4) as usize;
        if u32_at(first, at) == EXTENSION_BACKING_FORMAT && length.next_multiple_of(8) == 8 && format.len() <= 8 {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&(format.len() as u32).to_be_bytes());
            bytes[4..4 + format.len()].copy_from_slice(format.as_bytes());
            file.write_all_at(&bytes, at as u64 + 4)?;
            return Ok(());
        }
        at = next(first, at);
    }
    Err(Qcow2Error::Refused("its header has no room for the backing file's format".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// An image over one that is not there.
    fn overlay(backing: &str, format: &str) -> File {
        let file = tempfile::NamedTempFile::new().unwrap();
        let create = ["create", "-q", "-u", "-f", "qcow2", "-o", "cluster_size=1024", "-b", backing, "-F", format];
        let made = Command::new("qemu-img").args(create).arg(file.path()).arg("1M").status();
        assert!(made.expect("qemu-img is missing. install the package qemu-utils (resources/setup.sh does)").success());
        file.into_file()
    }

    #[test]
    fn the_new_name_and_format_are_read_back_and_nothing_else_changes() {
        let file = overlay("/pool/web-disk0-1.qcow2", "qcow2");
        let before = Header::read(&file).unwrap();

        for (name, format) in [("/pool/web.raw", "raw"), ("/a/longer/name/than/before.qcow2", "qcow2")] {
            rebase(&file, name, format).unwrap();
            rebase(&file, name, format).unwrap();

            let after = Header::read(&file).unwrap();
            assert_eq!((after.backing_file.as_deref(), after.backing_format.as_deref()), (Some(name), Some(format)));
            let names = (before.backing_file.clone(), before.backing_format.clone());
            assert_eq!(Header { backing_file: names.0, backing_format: names.1, ..after }, before);
        }
    }

    #[test]
    fn many_names_one_after_the_other_find_room_and_one_that_is_too_long_is_refused() {
        let file = overlay("/a.raw", "raw");
        for number in 0..1000 {
            rebase(&file, &format!("/pool/image-{number}.qcow2"), "qcow2").unwrap();
        }

        let refused = rebase(&file, &"x".repeat(1024), "raw");

        assert!(matches!(refused, Err(Qcow2Error::Refused(_))));
        assert_eq!(Header::read(&file).unwrap().backing_file.as_deref(), Some("/pool/image-999.qcow2"));
    }
}
