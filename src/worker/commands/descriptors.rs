//! Commands about file descriptors that a client sends along (`SCM_RIGHTS`): `add-fd`, `remove-fd`, `query-fdsets`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, Session, answer, no_arguments, nothing};
use crate::qmp::arguments;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AddArguments {
    fdset_id: Option<u64>,
    opaque: Option<String>,
}

pub(super) fn add_fd(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let AddArguments { fdset_id, opaque } = arguments::parse(arguments)?;
    let fd = session.take_fd().ok_or_else(|| Error::generic("No file descriptor supplied via SCM_RIGHTS"))?;
    let added = session.fd_sets().add(session.number(), fdset_id, fd, opaque)?;
    answer(added)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RemoveArguments {
    fdset_id: u64,
    fd: Option<i64>,
}

pub(super) fn remove_fd(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    let RemoveArguments { fdset_id, fd } = arguments::parse(arguments)?;
    session.fd_sets().remove(fdset_id, fd)?;
    nothing()
}

pub(super) fn query_fdsets(session: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let sets = session.fd_sets().list();
    answer(sets)
}
