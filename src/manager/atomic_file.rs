//! Files and folders that are there whole or not at all, whatever happens meanwhile.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rustix::{
    fs::{CWD, OFlags, RenameFlags},
    io::Errno,
};

/// The longest file that [`read_text`] reads, in bytes.
pub const TEXT_LIMIT: u64 = 1 << 20;

/// Replaces the file at `path` by one with this content, readable only by its owner.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = folder.join(format!(".{name}.new"));
    write_new(&temporary, content)?;
    fs::rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    sync_folder(folder)
}

/// Makes the folder `path` with these files in it. Fails with `AlreadyExists` when anything of that name is there.
pub fn create_folder(path: &Path, temporary: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(temporary)?;
    let made = files
        .iter()
        .try_for_each(|(file, content)| write_new(&temporary.join(file), content))
        .and_then(|()| sync_folder(temporary))
        .and_then(|()| move_to_free(temporary, path));
    made.inspect_err(|_| drop(fs::remove_dir_all(temporary)))
}

/// Moves a file or folder to a name that must be free. Both are in the same file system.
pub fn move_to_free(from: &Path, to: &Path) -> io::Result<()> {
    rename_to_free(from, to)?;
    let folder = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // Whoever is told of an error finds it where it was.
    sync_folder(folder).inspect_err(|_| drop(rename_to_free(to, from)))
}

fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // What NFS and other file systems say that cannot do it in one step.
        Err(Errno::INVAL) => move_in_two_steps(from, to),
        other => Ok(other?),
    }
}

/// Takes the name first, by something that never replaces anything, and then has it stand for what is moved.
fn move_in_two_steps(from: &Path, to: &Path) -> io::Result<()> {
    if fs::symlink_metadata(from)?.is_dir() {
        // A folder replaces one that is empty.
        fs::DirBuilder::new().mode(0o700).create(to)?;
        fs::rename(from, to).inspect_err(|_| drop(fs::remove_dir(to)))
    } else {
        fs::hard_link(from, to)?;
        fs::remove_file(from)
    }
}

/// Makes what happened to the names in a folder last.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Reads a text file of reasonable length. A pipe or device in its place is refused and never waited for.
pub fn read_text(path: &Path) -> io::Result<String> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() || metadata.len() > TEXT_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a text file of reasonable length"));
    }
    let mut text = String::new();
    file.take(TEXT_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // Left over from a crash, if it is there.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| drop(fs::remove_file(path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_replaced_file_is_private_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.toml");
        fs::write(&path, "a long old text").unwrap();

        replace(&path, b"new").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("web");
        fs::create_dir(&taken).unwrap();

        let error = create_folder(&taken, &folder.path().join(".new"), &[("guest.toml", b"x")]).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the temporary folder is gone");
    }

    #[test]
    fn moving_in_two_steps_replaces_nothing_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("guest")).unwrap();
        fs::write(path("guest/guest.toml"), "x").unwrap();
        fs::write(path("disk"), "d").unwrap();
        fs::create_dir(path("taken")).unwrap();

        for from in ["guest", "disk"] {
            let error = move_in_two_steps(&path(from), &path("taken")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{from}");
            move_in_two_steps(&path(from), &path(&format!("{from}2"))).unwrap();
            assert!(!path(from).exists(), "{from}");
        }

        assert_eq!(fs::read_to_string(path("guest2/guest.toml")).unwrap(), "x");
        assert_eq!(fs::read_to_string(path("disk2")).unwrap(), "d");
        assert_eq!(fs::read_dir(path("taken")).unwrap().count(), 0);
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.toml");
        rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();

        assert_eq!(read_text(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
