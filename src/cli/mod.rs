//! The verbs of `lodgectl`, one file per group.
//!
//! What is asked for goes to stdout, as text for people or (`--json`) for programs; what goes wrong goes to stderr as
//! `error: what. how to mend it`. The exit status is 0 when it is done, 1 when it was refused or has failed, 2 when the
//! command makes no sense.

#![forbid(unsafe_code)]

mod autostart;
mod console;
mod context;
mod create;
mod devices;
mod disk;
mod drive;
mod edit;
mod error;
mod generate;
mod host;
mod info;
mod lifecycle;
mod list;
mod long;
mod manage;
mod monitor;
mod network;
mod output;
mod pool;
mod saved;
mod screen;
mod snapshot;
mod stats;
mod tag;
mod vnc;
mod volume;
mod vsock;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use error::CliError;

use context::Context;
use output::Output;

/// What is said of a change of hardware that a running guest does not have yet.
const FROM_NEXT_START: &str = " from its next start";

/// What every verb returns.
type Result<T = ()> = std::result::Result<T, CliError>;

/// Make, run and watch virtual machines ("guests") from a shell.
#[derive(Debug, Parser)]
#[command(name = "lodgectl", version, max_term_width = 110, arg_required_else_help = true)]
#[command(
    after_help = "Where a NAME is wanted, the beginning of a guest's UUID (four characters or more) will do, too."
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What this computer can do for guests
    #[command(subcommand)]
    Host(host::HostVerb),
    /// Make a guest
    Create(Box<create::Create>),
    /// List guests: those that run, or all
    List(list::List),
    /// Show a guest: what it is and what it is doing
    Info(info::Info),
    /// Show what running guests use: CPU, memory, disks, networks
    Stats(stats::Stats),
    /// Start guests; those that were saved go on where they were
    Start(lifecycle::Start),
    /// Have guests started when you log in
    Autostart(autostart::Autostart),
    /// Save the state of running guests, memory included, and end them; they go on from it at their next start
    #[command(alias = "managedsave")]
    Save(saved::Save),
    /// Remove the saved state of guests; they begin at power-on at their next start
    #[command(alias = "managedsave-remove")]
    DiscardSaved(saved::DiscardSaved),
    /// Pause guests: they keep their memory and stop running
    Suspend(lifecycle::Names),
    /// Let paused guests run on
    Resume(lifecycle::Names),
    /// Press the reset button of guests
    Reset(lifecycle::Names),
    /// Press the power button of guests: their systems shut down
    Shutdown(lifecycle::PowerOff),
    /// Press the power button of guests, and start them again when they are off
    Reboot(lifecycle::Reboot),
    /// Force guests off at once, as if their plug were pulled
    Destroy(lifecycle::Names),
    /// Delete a guest that is off
    Delete(manage::Delete),
    /// List deleted guests, bring them back, or remove them for good
    #[command(subcommand)]
    Trash(manage::TrashVerb),
    /// Give a guest that is off another name
    Rename(manage::Rename),
    /// Copy a guest that is off, with its disks
    Clone(manage::Clone),
    /// Show the tags of a guest, give it more, or take some from it
    Tag(tag::Tag),
    /// Edit a guest's definition in $EDITOR. Connections, limits, ports, the clipboard and viewers on the network change at once while it
    /// runs (those that are there are put out), the rest from its next start
    Edit(edit::Edit),
    /// Make, examine, resize, convert and check disk images; limit disks of guests
    #[command(subcommand)]
    Disk(disk::DiskVerb),
    /// Make, list, delete snapshots of a guest, and go back to them
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotVerb),
    /// List, add and forget the places where disks lie: folders and LVM volume groups
    #[command(subcommand)]
    Pool(pool::PoolVerb),
    /// List, make, resize, delete and import the disks in a pool
    #[command(subcommand, alias = "vol")]
    Volume(volume::VolumeVerb),
    /// Save a picture of a guest's screen
    Screenshot(screen::Screenshot),
    /// Press keys of a guest's keyboard together, like ctrl-alt-delete
    SendKey(screen::SendKey),
    /// Type a text on a guest's keyboard
    Type(screen::Type),
    /// Plug the cable of a guest's network card in or out
    #[command(alias = "domif-setlink")]
    SetLink(devices::SetLink),
    /// Put an ISO image into a guest's CD-ROM drive, or take out what is in it
    ChangeMedia(drive::ChangeMedia),
    /// List, make and remove the networks that guests can be on; lead ports of the host into guests
    #[command(subcommand)]
    Network(Box<network::NetworkVerb>),
    /// Set how much of its memory a running guest keeps; the host has the rest
    #[command(alias = "setmem")]
    SetMemory(devices::SetMemory),
    /// Connect this terminal to a guest's serial port, or to another of its ports; Ctrl+] leaves
    Console(console::Console),
    /// Connect standard input and output to a port of a guest by vsock, without a network
    Vsock(vsock::Vsock),
    /// Say where a VNC viewer finds a guest's screen
    Vnc(vnc::Vnc),
    /// Send a QMP command to a guest's worker
    Qmp(monitor::Qmp),
    /// Write shell completions or the manual page to stdout
    #[command(subcommand, hide = true)]
    Generate(generate::Generate),
}

/// Runs `lodgectl` with the arguments of the process.
pub fn main() -> ExitCode {
    // Usage errors and --help end here, with clap's words.
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::report(&CliError::io("this program", "End other programs")(error)),
    };
    let result = runtime.block_on(run(cli));
    // A hung disk or terminal must not keep a program from ending that has said all.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}

async fn run(cli: Cli) -> Result {
    let output = Output;
    // These two need no library.
    if let Verb::Generate(verb) = cli.verb {
        return verb.run(&output);
    }
    let context = Context::new(output)?;
    match cli.verb {
        Verb::Host(verb) => verb.run(&context),
        Verb::Create(verb) => verb.run(&context).await,
        Verb::List(verb) => verb.run(&context).await,
        Verb::Info(verb) => verb.run(&context).await,
        Verb::Stats(verb) => verb.run(&context).await,
        Verb::Start(verb) => verb.run(&context).await,
        Verb::Autostart(verb) => verb.run(&context).await,
        Verb::Save(verb) => verb.run(&context).await,
        Verb::DiscardSaved(verb) => verb.run(&context).await,
        Verb::Suspend(names) => names.suspend(&context).await,
        Verb::Resume(names) => names.resume(&context).await,
        Verb::Reset(names) => names.reset(&context).await,
        Verb::Shutdown(verb) => verb.run(&context).await,
        Verb::Reboot(verb) => verb.run(&context).await,
        Verb::Destroy(names) => names.destroy(&context).await,
        Verb::Delete(verb) => verb.run(&context),
        Verb::Trash(verb) => verb.run(&context),
        Verb::Rename(verb) => verb.run(&context),
        Verb::Clone(verb) => verb.run(&context).await,
        Verb::Tag(verb) => verb.run(&context),
        Verb::Edit(verb) => verb.run(&context).await,
        Verb::Disk(verb) => verb.run(&context).await,
        Verb::Snapshot(verb) => verb.run(&context).await,
        Verb::Pool(verb) => verb.run(&context),
        Verb::Volume(verb) => verb.run(&context).await,
        Verb::Screenshot(verb) => verb.run(&context).await,
        Verb::SendKey(verb) => verb.run(&context).await,
        Verb::Type(verb) => verb.run(&context).await,
        Verb::SetLink(verb) => verb.run(&context).await,
        Verb::ChangeMedia(verb) => verb.run(&context).await,
        Verb::Network(verb) => verb.run(&context).await,
        Verb::SetMemory(verb) => verb.run(&context).await,
        Verb::Console(verb) => verb.run(&context).await,
        Verb::Vsock(verb) => verb.run(&context).await,
        Verb::Vnc(verb) => verb.run(&context).await,
        Verb::Qmp(verb) => verb.run(&context).await,
        Verb::Generate(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_option_says_what_it_does() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} says nothing", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} says nothing", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }

        check(&Cli::command());
    }
}
