//! File descriptors that QMP clients have handed over (`add-fd`), for commands that take a file name: the worker opens
//! nothing by name, but `/dev/fdset/NUMBER` is one that it knows, as in QEMU.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::File,
    os::fd::{AsRawFd, OwnedFd},
};

use crate::qmp::{
    message::Error,
    types::{AddfdInfo, FdsetFdInfo, FdsetInfo},
};

/// How many descriptors are kept at most.
pub const CAPACITY: usize = 64;

/// What a file name begins with that means a set.
pub const PREFIX: &str = "/dev/fdset/";

/// The sets of all clients. What a client has added goes when it goes.
#[derive(Debug, Default)]
pub struct FdSets {
    sets: BTreeMap<u64, Vec<Member>>,
}

#[derive(Debug)]
struct Member {
    fd: OwnedFd,
    opaque: Option<String>,
    /// The connection that it came over.
    owner: u64,
}

impl FdSets {
    /// Puts `fd` into the set, or into a new one.
    pub fn add(
        &mut self,
        owner: u64,
        set: Option<u64>,
        fd: OwnedFd,
        opaque: Option<String>,
    ) -> Result<AddfdInfo, Error> {
        if self.sets.values().map(Vec::len).sum::<usize>() >= CAPACITY {
            return Err(Error::generic("too many file descriptors were added. remove some with remove-fd"));
        }
        let fdset_id = set.or_else(|| (0..).find(|id| !self.sets.contains_key(id))).unwrap_or_default();
        let number = i64::from(fd.as_raw_fd());
        self.sets.entry(fdset_id).or_default().push(Member { fd, opaque, owner });
        Ok(AddfdInfo { fdset_id, fd: number })
    }

    /// Closes one descriptor of a set, or all of them.
    pub fn remove(&mut self, set: u64, fd: Option<i64>) -> Result<(), Error> {
        let members = self.sets.get_mut(&set).ok_or_else(|| not_found(set, None))?;
        match fd {
            None => members.clear(),
            Some(number) => {
                let found = members.iter().position(|member| i64::from(member.fd.as_raw_fd()) == number);
                drop(members.remove(found.ok_or_else(|| not_found(set, fd))?));
            }
        }
        self.sets.retain(|_, members| !members.is_empty());
        Ok(())
    }

    /// Closes what a connection has added.
    pub fn remove_owner(&mut self, owner: u64) {
        self.sets.values_mut().for_each(|members| members.retain(|member| member.owner != owner));
        self.sets.retain(|_, members| !members.is_empty());
    }

    /// The answer to `query-fdsets`.
    pub fn list(&self) -> Vec<FdsetInfo> {
        let describe =
            |member: &Member| FdsetFdInfo { fd: i64::from(member.fd.as_raw_fd()), opaque: member.opaque.clone() };
        let sets = self.sets.iter();
        sets.map(|(&fdset_id, members)| FdsetInfo { fdset_id, fds: members.iter().map(describe).collect() }).collect()
    }

    /// A duplicate of the first descriptor of the set that a file name means. Any other name is refused, with what to do
    /// `instead`.
    pub fn open(&self, file_name: &str, instead: &str) -> Result<File, Error> {
        let could_not = |why: &dyn Display| Error::generic(format!("failed to open file '{file_name}': {why}"));
        let Some(number) = file_name.strip_prefix(PREFIX) else {
            return Err(could_not(&format_args!(
                "the worker opens no files by name. open it yourself, hand it over with add-fd and name {PREFIX}NUMBER; or \
                 {instead}"
            )));
        };
        let members = number.parse().ok().and_then(|set: u64| self.sets.get(&set));
        let member = members.and_then(|members| members.first());
        let member =
            member.ok_or_else(|| could_not(&"there is no such set of descriptors. hand it over with add-fd"))?;
        Ok(File::from(member.fd.try_clone().map_err(|error| could_not(&error))?))
    }

    /// What the client that added the first descriptor of a set has said of it.
    pub fn described(&self, file_name: &str) -> Option<&str> {
        let set = file_name.strip_prefix(PREFIX)?.parse::<u64>().ok()?;
        self.sets.get(&set)?.first()?.opaque.as_deref()
    }
}

fn not_found(set: u64, fd: Option<i64>) -> Error {
    let fd = fd.map(|fd| format!(", fd:{fd}")).unwrap_or_default();
    Error::generic(format!("File descriptor named 'fdset-id:{set}{fd}' not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> OwnedFd {
        tempfile::tempfile().unwrap().into()
    }

    #[test]
    fn a_name_leads_to_the_descriptor_of_its_set() {
        let mut sets = FdSets::default();
        let added = sets.add(1, None, descriptor(), Some("picture".to_owned())).unwrap();

        assert!(sets.open(&format!("/dev/fdset/{}", added.fdset_id), "").is_ok());
        for missing in ["/dev/fdset/7", "/dev/fdset/../x"] {
            assert!(sets.open(missing, "").unwrap_err().desc.contains("there is no such set"), "{missing}");
        }
        let refused = sets.open("/tmp/picture.png", "use lodgectl screenshot").unwrap_err().desc;
        assert!(
            refused.contains("opens no files by name") && refused.ends_with("or use lodgectl screenshot"),
            "{refused}"
        );
    }

    #[test]
    fn a_client_that_goes_takes_its_descriptors_with_it() {
        let mut sets = FdSets::default();
        sets.add(1, Some(5), descriptor(), None).unwrap();
        sets.add(2, Some(5), descriptor(), None).unwrap();

        sets.remove_owner(1);

        assert_eq!(sets.list().len(), 1);
        assert_eq!(sets.list()[0].fds.len(), 1);
        sets.remove_owner(2);
        assert_eq!(sets.list(), []);
    }

    #[test]
    fn removing_what_is_not_there_is_refused_in_qemus_words() {
        let mut sets = FdSets::default();
        sets.add(1, Some(5), descriptor(), None).unwrap();

        assert_eq!(sets.remove(3, None).unwrap_err().desc, "File descriptor named 'fdset-id:3' not found");
        assert_eq!(
            sets.remove(5, Some(9999)).unwrap_err().desc,
            "File descriptor named 'fdset-id:5, fd:9999' not found"
        );
        assert!(sets.remove(5, None).is_ok());
        assert_eq!(sets.list(), []);
    }

    #[test]
    fn descriptors_are_limited() {
        let mut sets = FdSets::default();

        let taken = (0..100).take_while(|_| sets.add(1, None, descriptor(), None).is_ok()).count();

        assert_eq!(taken, CAPACITY);
    }
}
