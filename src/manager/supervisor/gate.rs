//! Preparing the gate of a guest whose definition has its screen shown on a network: a `lodge-gate`. It is started before the guest,
//! or while that runs.

#![forbid(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    net::TcpListener,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{Mode, OFlags};
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Supervisor,
    companions::{Companion, pair},
    launch::Inherited,
};
use crate::{
    manager::{
        certificate::{Certificate, CertificateError},
        definition::{Definition, ListenDefinition, Problem},
        network_screen::launch::{CertificateFiles, LAUNCH_VERSION, Launch},
        paths::Paths,
    },
    system_error::{not_listening, words},
    worker::launch::ListeningScreen,
};

/// The program, beside the worker's.
const GATE: &str = "lodge-gate";
/// What of the definition it is for.
const FIELD: &str = "display.listen";

/// How long a gate that ends may keep its port.
const ENDING: Duration = Duration::from_secs(5);
/// How often it is asked whether it has ended.
const RETRY: Duration = Duration::from_millis(20);

impl Supervisor {
    /// Starts a gate for the running guest of `definition`, which ends with the descriptor that is returned; `None` when its screen is
    /// not to be shown. Where `freed`, another one gives its port up now.
    pub async fn open_gate(
        &self,
        definition: &Definition,
        freed: bool,
    ) -> Result<Option<(OwnedFd, ListeningScreen)>, Problem> {
        let Some(wanted) = &definition.display.listen else { return Ok(None) };
        let deadline = Instant::now() + if freed { ENDING } else { Duration::ZERO };
        let listener = loop {
            match listen_at(wanted) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    sleep(RETRY).await;
                }
                tried => break tried.map_err(|error| taken(wanted, &error))?,
            }
        };
        let (paths, name, wanted) = (self.paths().clone(), definition.name.clone(), wanted.clone());
        let folder = paths.running(definition.uuid).folder;
        let failed = |what: String| Problem::new(FIELD, what);
        // A certificate may have to be made.
        let made = spawn_blocking(move || {
            let gate = Gate::at(&paths, &name, &wanted, listener)?;
            gate.companion(&folder).map_err(|error| failed(format!("{}. Close other programs", words(&error))))
        });
        let (companion, control, screen) = made.await.map_err(|error| failed(format!("{error}. Try again")))??;
        let worker = self.worker_program().map_err(|(what, mend)| failed(format!("{what}. {mend}")))?;
        let log = OpenOptions::new().append(true).open(self.paths().log(&definition.name));
        let log = log.map_err(|error| failed(format!("the log cannot be written: {}. Make room", words(&error))))?;
        companion.start(&worker, log).await?;
        Ok(Some((control, screen)))
    }
}

/// A gate that has its port.
pub(super) struct Gate<'a> {
    guest: &'a str,
    wanted: &'a ListenDefinition,
    listener: TcpListener,
    certificate: Option<[File; 2]>,
}

impl<'a> Gate<'a> {
    /// Takes the port and opens the certificate, if the guest's screen is to be shown.
    pub fn open(paths: &Paths, definition: &'a Definition) -> Result<Option<Self>, Problem> {
        let Some(wanted) = &definition.display.listen else { return Ok(None) };
        let listener = listen_at(wanted).map_err(|error| taken(wanted, &error))?;
        Self::at(paths, &definition.name, wanted, listener).map(Some)
    }

    /// Opens the certificate.
    fn at(paths: &Paths, guest: &'a str, wanted: &'a ListenDefinition, listener: TcpListener) -> Result<Self, Problem> {
        let certificate = wanted.tls.then(|| open_own(paths)).transpose();
        let certificate = certificate.map_err(|error| Problem::new("display.listen.tls", error.to_string()))?;
        Ok(Self { guest, wanted, listener, certificate })
    }

    /// What starts it for the guest with this runtime folder, and what the worker has and is told of it.
    pub fn companion(self, folder: &Path) -> io::Result<(Companion, OwnedFd, ListeningScreen)> {
        let ((control, its_control), (ready, its_ready)) = (UnixStream::pair()?, pair()?);
        its_control.set_nonblocking(true)?;
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let address = self.listener.local_addr()?;
        let mut inherited = Inherited::default();
        let launch = Launch {
            version: LAUNCH_VERSION,
            guest: self.guest.to_owned(),
            password: self.wanted.password.clone(),
            tls: self.certificate.map(|files| {
                let [certificate, key] = files.map(|file| inherited.add(file));
                CertificateFiles { certificate, key }
            }),
            websocket: self.wanted.websocket,
            view_only: self.wanted.view_only,
            listener: inherited.add(self.listener),
            folder: inherited.add(folder),
            control: inherited.add(its_control),
            ready: inherited.add(its_ready),
        };
        inherited.add_description(&serde_json::to_vec(&launch)?)?;
        let told = ListeningScreen {
            gate: control.as_raw_fd(),
            address,
            has_password: launch.password.is_some(),
            tls: launch.tls.is_some(),
            websocket: launch.websocket,
        };
        Ok((Companion { field: FIELD.to_owned(), program: GATE, inherited, ready }, control.into(), told))
    }
}

/// Takes the port.
fn listen_at(wanted: &ListenDefinition) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(wanted.socket_address())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Why it cannot be taken.
fn taken(wanted: &ListenDefinition, error: &io::Error) -> Problem {
    Problem::new(FIELD, not_listening(wanted.socket_address(), error))
}

/// Opens the user's own certificate and its key.
fn open_own(paths: &Paths) -> Result<[File; 2], CertificateError> {
    let Certificate { certificate, key } = Certificate::own(paths)?;
    let open = |path| File::open(&path).map_err(|source| CertificateError::Keep { path, source });
    Ok([open(certificate)?, open(key)?])
}
