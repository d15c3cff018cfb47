//! Guests that start when their person logs in. There is no daemon: an entry in the person's autostart folder runs
//! `lodgectl start --autostart`, and is there for as long as a guest wants it.
//!
//! Specifications: XDG Desktop Application Autostart, and Desktop Entry (`Exec` and its quoting).

use std::{env, fs, io, path::Path};

use super::{Entry, Library, LibraryError};
use crate::manager::atomic_file;

/// What is there in a Flatpak, from where nothing can be put into the person's autostart folder.
const FLATPAK: &str = "/.flatpak-info";

impl Library {
    /// The names of the guests that are started at login.
    pub fn autostarting(&self) -> Result<Vec<String>, LibraryError> {
        let wants = |entry: &Entry| entry.definition.as_ref().is_ok_and(|stored| stored.definition.autostart);
        Ok(self.list()?.into_iter().filter(wants).map(|entry| entry.name).collect())
    }

    /// Sees to it that guests are started at login. An entry that is there already is left alone: the person may have switched it
    /// off in the desktop's settings.
    pub(super) fn prepare_login(&self) -> Result<(), LibraryError> {
        let path = self.paths.login_entry();
        let failed = LibraryError::io(&path, "Make this folder writable for you, or start the guest by hand");
        if Path::new(FLATPAK).exists() {
            return Err(failed(io::Error::other("a Flatpak cannot have programs started at login")));
        }
        let exec = exec();
        if atomic_file::read_text(&path).is_ok_and(|text| text.lines().any(|line| line == exec)) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).and_then(|()| atomic_file::replace(&path, entry(&exec).as_bytes())).map_err(failed)
    }

    /// Removes the entry when no guest needs it any more. One that cannot be read may need it.
    pub fn tidy_login(&self) {
        let may_want = |entry: Entry| entry.definition.map_or(true, |stored| stored.definition.autostart);
        if self.list().is_ok_and(|entries| !entries.into_iter().any(may_want)) {
            // It does nothing then, and is tried again at the next login.
            let _ = fs::remove_file(self.paths.login_entry());
        }
    }
}

fn entry(exec: &str) -> String {
    format!(
        "[Desktop Entry]\nType=Application\nName=Guests of Lodge\nName[de]=Gäste von Lodge\n\
         Comment=Start the virtual machines that are to run from login on\n\
         Comment[de]=Die virtuellen Maschinen starten, die von der Anmeldung an laufen sollen\n\
         Icon=org.lodgevm.Lodge\n{exec}\nNoDisplay=true\n"
    )
}

/// The line that runs `lodgectl`: the one beside this program, or the one that is installed.
fn exec() -> String {
    let beside = env::current_exe().ok().map(|program| program.with_file_name("lodgectl"));
    let program = beside.filter(|path| path.exists()).and_then(|path| path.to_str().map(quoted));
    format!("Exec={} start --autostart", program.unwrap_or_else(|| "lodgectl".to_owned()))
}

/// A word of `Exec`: quoted, which needs backslashes, of which a string of the file needs two each.
fn quoted(word: &str) -> String {
    let mut quoted = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '`' | '$' => quoted.push_str("\\\\"),
            '\\' => quoted.push_str("\\\\\\"),
            '%' => quoted.push('%'),
            _ => {}
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{definition::Definition, paths::Paths};

    #[test]
    fn the_entry_is_there_while_a_guest_wants_it() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::new(Paths::new(folder.path().join("data"), folder.path().join("run")));
        let entry = library.paths().login_entry();
        let set = |name: &str, autostart| {
            let stored = library.load(name).unwrap();
            library.save(&Definition { autostart, ..stored.definition }, &stored.revision).unwrap();
        };
        library.create(&Definition::new("mail")).unwrap();
        assert!(!entry.exists());

        library.create(&Definition { autostart: true, ..Definition::new("web") }).unwrap();
        assert!(fs::read_to_string(&entry).unwrap().contains("\nExec=lodgectl start --autostart\n"));
        set("mail", true);
        assert_eq!(library.autostarting().unwrap(), ["mail", "web"]);
        set("web", false);
        assert!(entry.exists());
        library.delete("mail", false).unwrap();
        assert!(!entry.exists());
        library.restore("mail", None).unwrap();
        assert!(entry.exists());
        set("mail", false);

        assert!(!entry.exists() && library.autostarting().unwrap().is_empty());
    }

    #[test]
    fn an_entry_that_was_switched_off_stays_so_and_one_of_another_place_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let library = Library::new(Paths::new(folder.path().join("data"), folder.path().join("run")));
        let path = library.paths().login_entry();
        library.prepare_login().unwrap();
        let off = format!("{}Hidden=true\n", fs::read_to_string(&path).unwrap());

        fs::write(&path, &off).unwrap();
        library.prepare_login().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), off);
        fs::write(&path, off.replace("Exec=", "Exec=/gone/")).unwrap();
        library.prepare_login().unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), entry("Exec=lodgectl start --autostart"));
    }

    #[test]
    fn a_path_is_quoted_as_the_desktop_reads_it() {
        assert_eq!(quoted("/opt/my lodge/100%/lodgectl"), "\"/opt/my lodge/100%%/lodgectl\"");
        assert_eq!(quoted("/a$b\\"), r#""/a\\$b\\\\""#);
    }
}
