//! What process 1 does, by a process that inherits orphans as process 1 does. One test, because it
//! waits for every child of its process.

#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "workers are started to be looked after")]

use std::process::Command;

use doorward::init::look_after;
use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, wait};

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn orphans_are_waited_for_signals_passed_on_and_the_end_is_the_workers() {
    set_child_subreaper(Some(getpid())).expect("Linux 3.4");
    let ends = [
        ("for i in 1 2 3 4 5; do (sleep 0.1 &); done; sleep 0.6; exit 7", 7),
        // An orphan that ends in another way than the worker.
        ("(sh -c 'exit 3' &); sleep 0.3; exit 0", 0),
        ("trap 'exit 9' HUP; kill -HUP $PPID; while :; do sleep 0.05; done", 9),
        ("kill -KILL $$", 137),
    ];
    for (script, expected) in ends {
        assert_eq!(look_after(shell(script)).expect("it starts"), expected, "{script}");
        let left: Result<Option<(Pid, _)>, _> = wait(WaitOptions::NOHANG);
        assert!(left.is_err(), "nobody is left to be waited for: {left:?} ({script})");
    }
    assert!(look_after(Command::new("/nonexistent/worker")).is_err());
}
