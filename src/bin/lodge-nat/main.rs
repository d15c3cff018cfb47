//! `lodge-nat`: translates the addresses of one network card of a guest, without root. Started together with the guest's
//! worker, never by hand; [`lodge::nat`] tells how they belong together.
//!
//! `passt` does it where it can: it is a child of this process, which starts it again when it dies. Else libslirp does it in another
//! child, which is shut in for that, and is followed by another one when it dies.

mod keep;
mod passt;
mod ports;
mod sandbox;
mod slirp;

use std::{io, os::fd::OwnedFd, process::ExitCode};

use lodge::{
    nat::{
        Backend, BootServer, Forward, LAUNCH_FD, LAUNCH_VERSION, Launch, Reply, Request, State, Task, read_message,
        write_message,
    },
    system_error::words,
    worker::{
        descriptors::{Inherited, read_launch},
        process,
    },
};

use passt::{Passed, Passt};
use slirp::{Network, Slirp};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What this process was started with.
struct Sockets {
    feed: OwnedFd,
    control: OwnedFd,
    ready: OwnedFd,
}

/// Who translates at this moment.
enum Active {
    Passt(Passt),
    Slirp(Box<Slirp>),
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "error: {error}. lodge-nat gives a guest of Lodge its network, and is started by lodge and lodgectl only: start a \
                 guest with \"lodgectl start NAME\""
            );
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Failure> {
    // SAFETY: the first thing that the process does, and done once.
    let (mut inherited, json) = unsafe { (Inherited::new(), read_launch(LAUNCH_FD)?) };
    let launch: Launch = serde_json::from_slice(&json)?;
    if launch.version != LAUNCH_VERSION {
        let (found, wanted) = (launch.version, LAUNCH_VERSION);
        return Err(format!("the launch description has version {found}, this lodge-nat knows {wanted}").into());
    }
    let sockets = Sockets {
        feed: inherited.take(launch.feed, "the feed")?,
        control: inherited.take(launch.control, "the control socket")?,
        ready: inherited.take(launch.ready, "the readiness")?,
    };
    inherited.close_others()?;
    process::name_after("nat", &launch.guest);
    process::save_memory();
    let label = format!("{} of {}", launch.card, launch.guest);
    let Sockets { feed, control, ready } = sockets;
    let begun = begin(&launch, feed);
    let result = begun.as_ref().map(Active::state).map_err(Clone::clone);
    // Whoever waits for it may have gone.
    let _ = write_message(&ready, &Reply { number: 0, result });
    drop(ready);
    let Ok(active) = begun else { return Ok(()) };
    translate(active, launch.backend, &control).map_err(|error| format!("the network {label} ends: {error}").into())
}

/// Starts the translation; an error says how to mend it.
fn begin(launch: &Launch, feed: OwnedFd) -> Result<Active, String> {
    for forward in &launch.forwards {
        ports::check(forward)?;
    }
    let passt = || Passt::start(feed.try_clone()?, launch.mac, launch.mtu, launch.forwards.clone());
    let slirp = |feed, strict| {
        let network = Network { mtu: launch.mtu, forwards: &launch.forwards, boot: &launch.boot };
        Slirp::start(feed, &network, strict).map(|slirp| Active::Slirp(Box::new(slirp)))
    };
    match launch.backend {
        Backend::Slirp => slirp(feed, true),
        // Only libslirp offers something to boot.
        Backend::Auto if !launch.boot.is_none() => slirp(feed, true),
        Backend::Auto => match passt() {
            Ok(passt) => Ok(Active::Passt(passt)),
            Err(_) => slirp(feed, false),
        },
        Backend::Passt => passt().map(Active::Passt).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                "passt is not installed. Install it (\"apt-get install passt\"), or write backend = \"auto\"".to_owned()
            }
            _ => format!("passt cannot be started ({}). Mend that, or write backend = \"auto\"", words(&error)),
        }),
    }
}

/// Translates until the worker goes.
fn translate(mut active: Active, wanted: Backend, control: &OwnedFd) -> Result<(), Failure> {
    loop {
        let has_request = match &mut active {
            Active::Passt(passt) => match passt.wait(control)? {
                Passed::Request => true,
                Passed::Time => false,
                Passed::Unusable if wanted == Backend::Auto => {
                    eprintln!("passt cannot run here: libslirp translates addresses instead");
                    let boot = BootServer::default();
                    let network = Network { mtu: passt.mtu(), forwards: passt.forwards(), boot: &boot };
                    active = Active::Slirp(Box::new(Slirp::start(passt.feed()?, &network, false)?));
                    false
                }
                Passed::Unusable => {
                    passt.go_on();
                    false
                }
            },
            Active::Slirp(slirp) => slirp.turn(control)?,
        };
        if has_request && !answer(&mut active, control)? {
            return Ok(());
        }
    }
}

/// Carries out the next request; `false` when the worker has gone.
fn answer(active: &mut Active, control: &OwnedFd) -> Result<bool, Failure> {
    let request: Request = match read_message(control, None) {
        Ok(request) => request,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(true),
        // Its end of the socket is closed, however it has ended.
        Err(_) => return Ok(false),
    };
    let result = active.carry_out(request.task);
    // It may have gone meanwhile, or may not take answers; that is seen at its next request.
    let _ = write_message(control, &Reply { number: request.number, result });
    Ok(true)
}

impl Active {
    fn state(&self) -> State {
        match self {
            Self::Passt(passt) => passt.state(),
            Self::Slirp(slirp) => slirp.state(),
        }
    }

    fn carry_out(&mut self, task: Task) -> Result<State, String> {
        let forwards = self.state().forwards;
        let known = |wanted: &Forward| forwards.iter().find(|forward| forward.is_at(wanted));
        let restarted = match task {
            Task::Query => false,
            Task::Add(forward) => {
                if let Some(known) = known(&forward) {
                    return Err(format!("{known} is forwarded already. Remove it first"));
                }
                ports::check(&forward)?;
                self.change(&forward, true)?
            }
            Task::Remove(forward) => {
                let Some(known) = known(&forward) else {
                    let what = format!("{} port {}", forward.protocol.name(), forward.host());
                    return Err(format!("{what} is not forwarded. Look at what is with \"network forward list\""));
                };
                self.change(&known.clone(), false)?
            }
        };
        Ok(State { restarted, ..self.state() })
    }

    /// Adds a forward or removes it; returns whether that has cut the guest's connections.
    fn change(&mut self, forward: &Forward, add: bool) -> Result<bool, String> {
        match self {
            Self::Passt(passt) => passt.change(forward, add).map(|()| true),
            Self::Slirp(slirp) if add => slirp.add(forward).map(|()| false),
            Self::Slirp(slirp) => slirp.remove(forward).map(|()| false),
        }
    }
}
