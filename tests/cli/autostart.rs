//! Guests that start when their person logs in: what the desktop finds, and what that does.

use std::{fs, process::Command};

use serde_json::json;

use crate::common::{home::Home, kvm};

#[test]
fn what_the_desktop_runs_at_login_starts_the_guests_that_want_it() {
    if kvm::open().is_none() {
        return;
    }
    let home = Home::default();
    let entry = home.path().join(".config/autostart/lodge-guests.desktop");
    for name in ["mail", "web"] {
        home.done(&["create", name, "--testcard", "--memory", "32MiB"]);
    }
    assert!(!entry.exists());

    assert!(home.done(&["autostart", "web"]).contains("is started when you log in"));
    assert!(home.done(&["info", "web"]).contains("Autostart"));
    let checked = Command::new("desktop-file-validate").arg(&entry).output();
    assert!(checked.is_ok_and(|checked| checked.status.success()), "desktop-file-validate refuses it");
    let text = fs::read_to_string(&entry).unwrap();
    let exec = text.lines().find_map(|line| line.strip_prefix("Exec=")).unwrap();
    let log_in = || {
        let lodgectl = home.command(&[]);
        let environment = lodgectl.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let output = Command::new("sh").args(["-c", exec]).env_clear().envs(environment).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(log_in(), "Started \"web\"\n");
    let listed = home.json(&["list", "--autostart", "--json"]);
    assert_eq!((&listed[0]["name"], &listed[0]["state"], &listed[1]), (&json!("web"), &json!("running"), &json!(null)));
    assert_eq!((log_in().as_str(), home.state("mail").as_str()), ("", "off"));

    // A copy is not started, and a guest that is gone neither.
    home.done(&["destroy", "web"]);
    home.done(&["clone", "web", "copy"]);
    home.done(&["delete", "web"]);
    assert!(!entry.exists());
    home.done(&["trash", "restore", "web"]);
    assert!(entry.exists());
    home.done(&["autostart", "web", "--off"]);

    assert!(!entry.exists());
    assert_eq!(home.json(&["list", "--autostart", "--json"]), json!([]));
}
