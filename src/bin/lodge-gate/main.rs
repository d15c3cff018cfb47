//! `lodge-gate`: shows a guest's screen to VNC viewers on a network from the guest's start to its end, where its definition says so.
//! Started together with the guest's worker, never by hand; [`lodge::rfb::gate`] is what it does.

mod sandbox;

use std::{net::TcpListener, os::fd::OwnedFd, path::PathBuf, process::ExitCode};

use lodge::{
    manager::{
        certificate::Certificate,
        network_screen::{
            ViewerTrouble, admit_all,
            launch::{LAUNCH_FD, LAUNCH_VERSION, Launch},
        },
        paths::RunningPaths,
    },
    nat::{Reply, write_message},
    rfb::gate::{Gate, GateError, Password, Rules},
    worker::{
        descriptors::{Inherited, read_launch},
        process,
    },
};
use tokio::{net::UnixStream, runtime};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "error: {error}. lodge-gate shows a guest of Lodge on a network, and is started by lodge and lodgectl only: start a guest \
                 with \"lodgectl start NAME\""
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
        return Err(format!("the launch description has version {found}, this lodge-gate knows {wanted}").into());
    }
    let listener = TcpListener::from(inherited.take(launch.listener, "the port")?);
    let folder = inherited.take(launch.folder, "the runtime folder")?;
    let worker = inherited.take(launch.control, "the worker's socket")?.into();
    let ready = inherited.take(launch.ready, "the readiness")?;
    let certificate = match launch.tls {
        Some(files) => {
            Some([inherited.take(files.certificate, "the certificate")?, inherited.take(files.key, "the private key")?])
        }
        None => None,
    };
    inherited.close_others()?;
    process::name_after("gate", &launch.guest);
    process::save_memory();
    let tls = certificate
        .as_ref()
        .map(|[certificate, key]| Certificate { certificate: path_of(certificate), key: path_of(key) }.acceptor());
    let password = launch.password.as_deref().map(Password::new).transpose()?;
    let (websocket, view_only) = (launch.websocket, launch.view_only);
    let rules = Rules { password, tls: tls.transpose()?, websocket, view_only };
    drop(certificate);
    let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    sandbox::enter()?;
    runtime.block_on(async {
        let (listener, worker) = (tokio::net::TcpListener::from_std(listener)?, UnixStream::from_std(worker)?);
        // Whoever waits for it may have gone.
        let _ = write_message(&ready, &Reply { number: 0, result: Ok(()) });
        drop(ready);
        let screen = RunningPaths { folder: path_of(&folder) }.vnc();
        tokio::select! {
            // Nothing ever comes from the worker but its end.
            ended = worker.readable() => ended.map(drop),
            () = admit_all(listener, Gate::new(rules), screen, log) => Ok(()),
        }
    })?;
    Ok(())
}

/// A path of an open file in this process.
fn path_of(file: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Writes down what the guest's owner should know of; what strangers can have written as often as they like is not.
fn log(trouble: ViewerTrouble) {
    match trouble {
        ViewerTrouble::Gone(address, GateError::WrongPassword) => {
            eprintln!("lodge-gate: the viewer at {address} gave a wrong password");
        }
        ViewerTrouble::NotTaken(error) => eprintln!("lodge-gate: a viewer could not be served: {error}"),
        ViewerTrouble::Gone(..) => {}
    }
}
