//! `lodge-switch`: an isolated network between guests of one user, without root. Started together with a guest's worker, never by
//! hand; [`lodge::switch`] tells how its two roles belong together.

mod dhcp;
#[cfg(test)]
mod hostile;
mod keeper;
mod port;
mod sandbox;
mod serve;
mod switch;
mod table;

use std::process::ExitCode;

use lodge::{
    switch::{LAUNCH_FD, LAUNCH_VERSION, Launch, Role},
    worker::{
        descriptors::{Inherited, read_launch},
        process,
    },
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "error: {error}. lodge-switch connects guests of Lodge, and is started by lodge and lodgectl only: start a guest with \
                 \"lodgectl start NAME\""
            );
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Failure> {
    // SAFETY: the first thing that the process does, and done once.
    let (mut inherited, json) = unsafe { (Inherited::new(), read_launch(LAUNCH_FD)?) };
    let Launch { version, network, role } = serde_json::from_slice(&json)?;
    if version != LAUNCH_VERSION {
        return Err(
            format!("the launch description has version {version}, this lodge-switch knows {LAUNCH_VERSION}").into()
        );
    }
    process::save_memory();
    match role {
        Role::Keeper(launch) => {
            let sockets = keeper::Sockets {
                folder: inherited.take(launch.folder, "the folder")?,
                feed: inherited.take(launch.feed, "the feed")?,
                control: inherited.take(launch.control, "the control socket")?,
            };
            let ready = inherited.take(launch.ready, "the readiness")?;
            inherited.close_others()?;
            process::name_after("keeper", &launch.member.guest);
            keeper::run(network, launch.member, sockets, ready)
        }
        Role::Switch { listener, lock } => {
            let listener = inherited.take(listener, "the listener")?;
            let lock = inherited.take(lock, "the lock")?;
            inherited.close_others()?;
            process::name_after("switch", &network);
            sandbox::enter()?;
            serve::run(network, listener, lock)
        }
    }
}
