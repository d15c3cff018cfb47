//! Preparing the gate of a guest whose definition has its screen shown on a network: a `lodge-gate`.

#![forbid(unsafe_code)]

use std::{fs::File, io, net::TcpListener, os::unix::net::UnixStream, path::Path};

use rustix::fs::{Mode, OFlags};

use super::{
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
    worker::launch::ListeningScreen,
};

/// The program, beside the worker's.
const GATE: &str = "lodge-gate";
/// What of the definition it is for.
const FIELD: &str = "display.listen";

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
        let address = wanted.socket_address();
        let listener = TcpListener::bind(address)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|error| Problem::new(FIELD, format!("{address}: {error}. Choose another address or port")))?;
        let certificate = wanted.tls.then(|| open_own(paths)).transpose();
        let certificate = certificate.map_err(|error| Problem::new("display.listen.tls", error.to_string()))?;
        Ok(Some(Self { guest: &definition.name, wanted, listener, certificate }))
    }

    /// What starts it for the guest with this runtime folder, and what the worker is told and `has` of it.
    pub fn companion(self, folder: &Path, has: &mut Inherited) -> io::Result<(Companion, ListeningScreen)> {
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
            gate: has.add(control),
            address,
            has_password: launch.password.is_some(),
            tls: launch.tls.is_some(),
            websocket: launch.websocket,
        };
        Ok((Companion { field: FIELD.to_owned(), program: GATE, inherited, ready }, told))
    }
}

/// Opens the user's own certificate and its key.
fn open_own(paths: &Paths) -> Result<[File; 2], CertificateError> {
    let Certificate { certificate, key } = Certificate::own(paths)?;
    let open = |path| File::open(&path).map_err(|source| CertificateError::Keep { path, source });
    Ok([open(certificate)?, open(key)?])
}
