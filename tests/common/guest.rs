//! A guest that runs in a worker of its own, started as `lodge` and `lodgectl` start it.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use lodge::{
    manager::{
        definition::{Definition, DiskDefinition, DiskFormat},
        paths::{Paths, RunningPaths},
        size::Size,
        supervisor::{Supervisor, SupervisorError},
        testcard,
    },
    worker::{exit_report::ExitReport, testing::Client},
};
use tokio::runtime::Runtime;

use super::kvm;

/// Longer than anything here takes on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The guest; forced off when it is dropped.
pub struct Guest {
    pub name: String,
    pub supervisor: Supervisor,
    pub paths: RunningPaths,
    pub runtime: Runtime,
    pub pid: u32,
    folder: tempfile::TempDir,
}

impl Guest {
    /// Starts the test card with 64 MiB of memory, or what `change` makes of it. `None`, which it says, without KVM.
    pub fn start(change: impl FnOnce(&mut Definition)) -> Option<Self> {
        match Self::try_start(change)? {
            Ok(guest) => Some(guest),
            Err(error) => panic!("{error}"),
        }
    }

    /// Why a guest like that does not start.
    pub fn refused(change: impl FnOnce(&mut Definition)) -> Option<String> {
        Some(Self::try_start(change)?.err().expect("a guest started that cannot be").to_string())
    }

    fn try_start(change: impl FnOnce(&mut Definition)) -> Option<Result<Self, SupervisorError>> {
        drop(kvm::open()?);
        let folder = tempfile::Builder::new().prefix("lodge").tempdir().unwrap();
        let paths = Paths::new(folder.path().join("data"), folder.path().join("run"));
        paths.create().unwrap();
        let image = folder.path().join("testcard.img");
        std::fs::write(&image, testcard::image()).unwrap();
        let mut definition = Definition::new("card");
        definition.memory = Size::mib(64);
        definition.add_disk(DiskDefinition::new(image, DiskFormat::Raw));
        change(&mut definition);
        let supervisor = Supervisor::new(paths.clone()).with_worker(env!("CARGO_BIN_EXE_lodge-worker"));
        supervisor.library().create(&definition).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        if let Err(error) = runtime.block_on(supervisor.start(&definition.name)) {
            return Some(Err(error));
        }
        let pid = supervisor.pid(definition.uuid).expect("a running worker has a pid file");
        let paths = paths.running(definition.uuid);
        Some(Ok(Self { name: definition.name, supervisor, paths, runtime, pid, folder }))
    }

    /// A new QMP client.
    pub fn control(&self) -> Client {
        Client::negotiate(UnixStream::connect(self.paths.control()).unwrap()).unwrap()
    }

    /// A new client of the serial port.
    pub fn serial(&self) -> Serial {
        Serial { stream: UnixStream::connect(self.paths.serial()).unwrap(), text: String::new() }
    }

    /// What the worker has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.supervisor.paths().log(&self.name)).unwrap_or_default()
    }

    /// A file of this test's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The report that the worker has left, while it lives or when it has gone.
    pub fn exit_report(&self) -> Option<ExitReport> {
        let report = std::fs::read(self.paths.exit_report()).ok()?;
        ExitReport::from_json(&report).unwrap()
    }

    /// Waits until the worker has gone, and returns what it has left.
    pub fn wait(&self) -> Option<ExitReport> {
        let deadline = Instant::now() + PATIENCE;
        while self.supervisor.library().is_running(&self.name).unwrap() {
            assert!(Instant::now() < deadline, "the worker lives on. its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.exit_report()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.runtime.block_on(self.supervisor.force_off(&self.name));
    }
}

/// A client of a serial port.
pub struct Serial {
    stream: UnixStream,
    /// What has come and was not waited for yet.
    text: String,
}

impl Serial {
    /// Waits for a text, and returns it with all that came before it.
    pub fn wait_for(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{wanted:?} has not come, but {:?}", self.text);
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => panic!("the serial port was closed before {wanted:?}, after {:?}", self.text),
                Ok(length) => self.text.push_str(&String::from_utf8_lossy(&bytes[..length])),
                // One with a timeout is not begun anew after a signal, not even after a stop.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{wanted:?} has not come, but {:?}: {error}", self.text),
            }
        }
    }

    /// Sends a line, and waits for the answer that begins with `answer`.
    pub fn ask(&mut self, line: &str, answer: &str) -> String {
        self.send(line);
        self.wait_for(answer)
    }

    /// Sends a line.
    pub fn send(&mut self, line: &str) {
        self.stream.write_all(format!("{line}\r").as_bytes()).unwrap();
    }
}
