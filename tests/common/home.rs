//! A person's home of their own for each test, with `lodgectl` in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Longer than anything here takes on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folders of one person. Dropped, every guest that still runs in them is ended.
pub struct Home(tempfile::TempDir);

impl Default for Home {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("run")).unwrap();
        Self(folder)
    }
}

impl Home {
    /// Where everything lies.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The folder of a guest in the library.
    pub fn guest(&self, name: &str) -> PathBuf {
        self.path().join("data/lodge/guests").join(name)
    }

    /// A file in this home.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `lodgectl`, ready to run in this home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lodgectl"));
        command
            .args(arguments)
            .env_clear()
            .envs(["PATH", "LODGE_TEST_RUN"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .env("HOME", self.path())
            .env("XDG_DATA_HOME", self.path().join("data"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .env("TMPDIR", self.path())
            .env("LODGE_WORKER", env!("CARGO_BIN_EXE_lodge-worker"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `lodgectl`.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs `lodgectl`, which must succeed, and returns what it says.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "lodgectl {arguments:?}: {}: {stderr}{stdout}", output.status);
        stdout
    }

    /// Runs `lodgectl`, which must refuse with one line that says how to mend it, and returns that line.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "lodgectl {arguments:?}: {stderr}{stdout}");
        let errors: Vec<_> = stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
        let &[line] = &errors[..] else { panic!("lodgectl {arguments:?} says {stderr:?}") };
        assert!(line.starts_with("error: ") && line.contains(". "), "lodgectl {arguments:?} says {line:?}");
        line.to_owned()
    }

    /// Runs a query and reads its JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("lodgectl {arguments:?}: {error}: {text}"))
    }

    /// The state of a guest, as it is listed.
    #[track_caller]
    pub fn state(&self, name: &str) -> String {
        let listed = self.json(&["list", "--all", "--json"]);
        let guest = listed.as_array().unwrap().iter().find(|guest| guest["name"] == name);
        guest.unwrap_or_else(|| panic!("{name} is not in {listed}"))["state"].as_str().unwrap().to_owned()
    }

    /// Waits until a guest is listed in this state.
    #[track_caller]
    pub fn wait_for_state(&self, name: &str, state: &str) {
        self.wait_for(&format!("{name} to be {state}"), || self.state(name) == state);
    }

    /// Waits until something is so.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The process id of a guest's worker.
    #[track_caller]
    pub fn worker(&self, name: &str) -> String {
        self.json(&["info", name, "--json"])["pid"].to_string()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for folder in fs::read_dir(self.path().join("run/lodge")).into_iter().flatten().flatten() {
            if let Ok(pid) = fs::read_to_string(folder.path().join("worker.pid")) {
                signal(pid.trim(), "KILL");
            }
        }
    }
}

/// Sends a signal to one process.
pub fn signal(pid: &str, name: &str) {
    Command::new("kill").args([&format!("-{name}"), pid]).output().unwrap();
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}
