//! The commands of QMP, in one table.
//!
//! Most run in the driver's thread, one at a time. Those that may take long and change nothing (`screendump`) and those that
//! concern only the client run in the thread of the client's connection.
//!
//! Commands, arguments, answers and events are those of the QEMU QMP Reference Manual, with these differences:
//!
//! - Nothing is opened by name. `screendump` writes to `/dev/fdset/NUMBER` only: the client opens the file, sends it with
//!   `SCM_RIGHTS` and `add-fd`, and names the set. What a client has added is closed when it goes.
//! - `send-key` to a guest that does not run is refused, where QEMU drops the keys without a word. A stroke goes down at
//!   once, is held for `hold-time` (100 ms) and comes up; the next stroke follows it.
//! - Out-of-band execution is not offered. A message has at most 1 MiB, a list of keys or events at most 1024 members.
//! - A medium is put into a drive with `blockdev-change-medium` only, whose file is a set too. What `add-fd` is told as
//!   `opaque` is shown as its file name.
//! - `blockdev-snapshot-sync` takes an image that is there (`mode` is `existing`), and with it `x-lodge-frozen`: the disk's image
//!   as it was, open for reading only. `transaction` knows no other action. All disks of one are exchanged at one point.
//! - `block-commit` merges a disk's image into the one that it is based on, which is handed over open for writing, with those
//!   below it (`x-lodge-lower`, `x-lodge-format`, `x-lodge-below`); there is one job at a time, named as its disk. It waits for
//!   `block-job-resume`. When it is `ready`, `block-job-complete` makes it `pending`: both images have all that the guest writes, and
//!   the client notes down that the lower one counts. Then `block-job-finalize` lets the guest go on in that. A job stays when its
//!   client goes. Cancelling a pending one takes `force`.
//! - `qom-list`, `qom-get` and `qom-set` know the balloon and its statistics, and nothing else.
//! - `migrate` saves the guest's state to `file:/dev/fdset/NUMBER` and knows no other place. A running guest is stopped first; it
//!   is in `finish-migrate` meanwhile and in `postmigrate` afterwards, from where `cont` leads on. When it fails or is cancelled the
//!   guest does what it did before. `x-lodge-save` takes the `filename` of a file that is the guest's own, in which it finds itself
//!   at its next start: the worker ends then. The event `MIGRATION` comes without being asked for.
//! - `x-lodge-statistics` answers all that a guest's graphs need, `x-lodge-query-netstats` what went over the network cards, whose
//!   names `net0` and so on are those for `set_link`. `x-lodge-query-networks` tells what each card is connected to, and which
//!   ports of the host lead into the guest; `x-lodge-network-attach` switches a card to another network, whose descriptors are in sets.
//!   `x-lodge-network-forward-add` and `-remove` change the ports (QEMU has `hostfwd_add` for
//!   people only). `x-lodge-set-clipboard` shares the clipboard with the guest's agent or no longer (`enable`), if the guest was
//!   started with one. `x-lodge-set-network-screen` has another gate let viewers on a network in, or none: it is told of the gate
//!   (`screen`), which it only keeps from ending. The event `x-lodge-internal-error` tells where KVM could not
//!   go on (the guest is then held in `internal-error`), `x-lodge-events-lost` how many events a client was too slow to get.

#![forbid(unsafe_code)]

mod balloon;
mod block;
mod block_job;
mod clipboard;
mod connection;
mod descriptors;
mod input;
mod medium;
mod migration;
mod network;
mod qom;
mod query;
mod run_state;
mod screendump;
mod snapshot;
mod statistics;
mod vnc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{control::session::Session, driver::Driver};
use crate::qmp::{
    arguments,
    message::{Error, ErrorClass, VersionInfo, VersionTriple},
    types::CommandInfo,
};

pub use vnc::viewer_event_data;

/// A command that the driver runs.
pub type Run = fn(&mut Driver, Map<String, Value>) -> Result<Value, Error>;

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Handler {
    /// The driver.
    Driver(Run),
    /// The client's own thread.
    Session(fn(&mut Session, Map<String, Value>) -> Result<Value, Error>),
}

/// Every command.
const COMMANDS: &[(&str, Handler)] = &[
    ("add-fd", Handler::Session(descriptors::add_fd)),
    ("balloon", Handler::Driver(balloon::balloon)),
    ("block-commit", Handler::Session(block_job::block_commit)),
    ("block-job-cancel", Handler::Driver(block_job::block_job_cancel)),
    ("block-job-complete", Handler::Driver(block_job::block_job_complete)),
    ("block-job-finalize", Handler::Driver(block_job::block_job_finalize)),
    ("block-job-resume", Handler::Driver(block_job::block_job_resume)),
    ("block_resize", Handler::Driver(block::block_resize)),
    ("block_set_io_throttle", Handler::Driver(block::block_set_io_throttle)),
    ("blockdev-change-medium", Handler::Session(medium::change_medium)),
    ("blockdev-close-tray", Handler::Driver(medium::close_tray)),
    ("blockdev-open-tray", Handler::Driver(medium::open_tray)),
    ("blockdev-remove-medium", Handler::Driver(medium::remove_medium)),
    ("blockdev-snapshot-sync", Handler::Session(snapshot::blockdev_snapshot_sync)),
    ("cont", Handler::Driver(run_state::cont)),
    ("eject", Handler::Driver(medium::eject)),
    ("input-send-event", Handler::Driver(input::input_send_event)),
    ("migrate", Handler::Session(migration::migrate)),
    ("migrate_cancel", Handler::Driver(migration::migrate_cancel)),
    ("qmp_capabilities", Handler::Session(Session::qmp_capabilities)),
    ("qom-get", Handler::Driver(qom::qom_get)),
    ("qom-list", Handler::Driver(qom::qom_list)),
    ("qom-set", Handler::Driver(qom::qom_set)),
    ("query-balloon", Handler::Driver(balloon::query_balloon)),
    ("query-block", Handler::Driver(query::query_block)),
    ("query-block-jobs", Handler::Driver(block_job::query_block_jobs)),
    ("query-blockstats", Handler::Driver(query::query_blockstats)),
    ("query-commands", Handler::Session(query_commands)),
    ("query-cpus-fast", Handler::Driver(query::query_cpus_fast)),
    ("query-fdsets", Handler::Session(descriptors::query_fdsets)),
    ("query-migrate", Handler::Driver(migration::query_migrate)),
    ("query-name", Handler::Driver(query::query_name)),
    ("query-status", Handler::Driver(query::query_status)),
    ("query-uuid", Handler::Driver(query::query_uuid)),
    ("query-version", Handler::Session(query_version)),
    ("query-vnc", Handler::Driver(vnc::query_vnc)),
    ("query-vnc-servers", Handler::Driver(vnc::query_vnc_servers)),
    ("quit", Handler::Driver(run_state::quit)),
    ("remove-fd", Handler::Session(descriptors::remove_fd)),
    ("screendump", Handler::Session(screendump::screendump)),
    ("send-key", Handler::Driver(input::send_key)),
    ("set_link", Handler::Driver(network::set_link)),
    ("stop", Handler::Driver(run_state::stop)),
    ("system_powerdown", Handler::Driver(run_state::system_powerdown)),
    ("system_reset", Handler::Driver(run_state::system_reset)),
    ("transaction", Handler::Session(snapshot::transaction)),
    ("x-lodge-network-attach", Handler::Session(connection::attach)),
    ("x-lodge-network-forward-add", Handler::Session(connection::add)),
    ("x-lodge-network-forward-remove", Handler::Session(connection::remove)),
    ("x-lodge-query-netstats", Handler::Driver(network::query_netstats)),
    ("x-lodge-query-networks", Handler::Session(connection::query)),
    ("x-lodge-save", Handler::Session(migration::x_lodge_save)),
    ("x-lodge-set-clipboard", Handler::Driver(clipboard::set_clipboard)),
    ("x-lodge-set-network-limits", Handler::Driver(network::set_limits)),
    ("x-lodge-set-network-screen", Handler::Session(vnc::set_network_screen)),
    ("x-lodge-statistics", Handler::Driver(statistics::statistics)),
];

/// The handler of a command.
pub fn find(name: &str) -> Result<Handler, Error> {
    let found = COMMANDS.iter().find(|(known, _)| *known == name);
    found.map(|(_, handler)| *handler).ok_or_else(|| Error {
        class: ErrorClass::CommandNotFound,
        desc: format!("The command {name} has not been found"),
    })
}

/// The version in the greeting: that of the QEMU release whose words are spoken, and our own.
pub fn version() -> VersionInfo {
    VersionInfo {
        qemu: VersionTriple { major: 7, minor: 2, micro: 0 },
        package: concat!("Lodge ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// The arguments of a command that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

fn no_arguments(arguments: Map<String, Value>) -> Result<(), Error> {
    arguments::parse(arguments).map(|NoArguments {}| ())
}

/// The result of a command that has nothing to say.
fn nothing() -> Result<Value, Error> {
    Ok(json!({}))
}

fn answer(value: impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|error| Error::generic(error.to_string()))
}

fn query_version(_: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    answer(version())
}

fn query_commands(_: &mut Session, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    answer(COMMANDS.iter().map(|(name, _)| CommandInfo { name: (*name).to_owned() }).collect::<Vec<_>>())
}

#[cfg(test)]
mod client_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_has_nothing_twice() {
        assert!(COMMANDS.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}
