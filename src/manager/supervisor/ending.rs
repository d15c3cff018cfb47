//! Ending guests that are asked to, and those that no longer listen.

#![forbid(unsafe_code)]

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::{Supervisor, SupervisorError, blocking, runtime};
use crate::{
    manager::client::{Client, ClientError},
    system_error::words,
    worker::exit_report::{ExitReport, Outcome},
};

/// How long a worker may take to answer before it is killed.
const POLITE: Duration = Duration::from_secs(2);
/// How long the system may take to end a killed process; one in uninterruptible I/O lasts as long as that.
const KILLED: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Presses the guest's power button and waits until it is off, at most `limit`. `false` when it still runs then: its
    /// system ignores the button, or takes longer.
    pub async fn shut_down(&self, name: &str, limit: Duration) -> Result<bool, SupervisorError> {
        let client = self.attach(name).await?;
        match client.press_power_button().await {
            // It can be gone before it has answered.
            Ok(()) | Err(ClientError::Closed) => {}
            Err(source) => return Err(SupervisorError::Client { name: name.to_owned(), source }),
        }
        let gone = self.gone_within(name, limit).await;
        if gone {
            let (uuid, _) = self.look(name).await?;
            self.clean(name, uuid).await;
        }
        Ok(gone)
    }

    /// Ends the guest: asks the worker to quit, and kills it when it does not within a few seconds. Returns when it is gone.
    pub async fn force_off(&self, name: &str) -> Result<(), SupervisorError> {
        let (uuid, running) = self.look(name).await?;
        if !running {
            return Err(SupervisorError::NotRunning { name: name.to_owned() });
        }
        let asked = async {
            let client = Client::connect_within(&self.paths().running(uuid).control(), POLITE).await?;
            client.execute_within("quit", serde_json::Value::Null, POLITE).await
        };
        // Whether it answers or just goes, only its lock tells.
        let answered = asked.await.is_ok();
        if answered && self.gone_within(name, POLITE).await {
            self.clean(name, uuid).await;
            return Ok(());
        }
        if !self.library().is_running(name)? {
            self.clean(name, uuid).await;
            return Ok(());
        }
        let (this, guest) = (self.clone(), name.to_owned());
        let killed = blocking(move || {
            let running = this.paths().running(uuid);
            let unstoppable = |reason: String| SupervisorError::Unstoppable { name: guest.clone(), reason };
            let pid = runtime::read_pid(&running)
                .ok_or_else(|| unstoppable("its worker's process id is not known".to_owned()))?;
            kill(pid, &this.paths().run_lock(&guest)).map_err(|error| unstoppable(words(&error)))?;
            let report = ExitReport::new(Outcome::Quit, "forced off: the worker no longer answered and was killed");
            // Without it the guest is shown as crashed, which it may have been.
            let _ = runtime::report_instead(&running, &report);
            Ok(())
        })
        .await;
        // It may have ended by itself meanwhile: then nothing of it is found any more.
        if let Err(error) = killed
            && !self.gone_within(name, POLITE).await
        {
            return Err(error);
        }
        if !self.gone_within(name, KILLED).await {
            let reason = "it was killed, but the system has not ended it yet".to_owned();
            return Err(SupervisorError::Unstoppable { name: name.to_owned(), reason });
        }
        self.clean(name, uuid).await;
        Ok(())
    }
}

/// Kills process `pid`, if it is the one that holds the lock file open: ids are used again.
fn kill(pid: u32, lock: &Path) -> io::Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    // Once it is open, the descriptor means this process and no later one of the same id: only then is it looked at.
    let descriptor = match rustix::process::pidfd_open(process, PidfdFlags::empty()) {
        Ok(descriptor) => descriptor,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !holds_open(pid, lock)? {
        return Err(io::Error::other(format!("process {pid} is another program")));
    }
    match rustix::process::pidfd_send_signal(descriptor, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn holds_open(pid: u32, path: &Path) -> io::Result<bool> {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let wanted = identity(fs::metadata(path)?);
    match fs::read_dir(format!("/proc/{pid}/fd")) {
        // Following the link shows the open file, whatever its name is now.
        Ok(descriptors) => Ok(descriptors
            .flatten()
            .any(|entry| fs::metadata(entry.path()).map(identity).is_ok_and(|found| found == wanted))),
        // A worker that is shut in may not be looked into; its name can be read all the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
            let mine = fs::metadata(format!("/proc/{pid}"))?.uid() == rustix::process::getuid().as_raw();
            Ok(mine && name.trim_end() == "lodge-worker")
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_does_not_hold_the_lock_is_not_killed() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("run.lock");
        fs::write(&lock, "").unwrap();
        let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();

        let refused = kill(other.id(), &lock).unwrap_err();

        assert!(refused.to_string().contains("another program"), "{refused}");
        assert!(other.try_wait().unwrap().is_none(), "it still runs");
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    }

    #[test]
    fn the_process_that_holds_the_lock_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("run.lock");
        fs::write(&lock, "").unwrap();
        let mut holder =
            Command::new("cat").stdin(Stdio::piped()).stdout(fs::File::open(&lock).unwrap()).spawn().unwrap();

        kill(holder.id(), &lock).unwrap();

        assert!(!holder.wait().unwrap().success());
    }

    #[test]
    fn a_process_that_is_gone_need_not_be_killed() {
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();

        kill(gone.id(), Path::new("/dev/null")).unwrap();
    }
}
