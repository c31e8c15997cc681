//! How many files and connections may be open at once, and how many the limits in force may ask for.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use super::ledger::Holder;
use crate::capacity::Capacity;
use crate::config::Config;
use crate::config::servers::Transport;

const CHECK: &str = "descriptors";
/// Segments, index, sockets, the runtime's own.
const OWN: u64 = 64;
/// Clients of the socket in `dataDir`.
const SOCKET_CLIENTS: u64 = 256;
/// Pipes of one child, and how many processes of a server are usual.
const OF_CHILD: u64 = 3 * 8;
/// With fewer even a few clients and servers do not fit.
const FEWEST: u64 = 256;

pub(super) fn check(config: &Config, holder: Option<&Holder>, capacity: Capacity) -> Finding {
    let needed = needed(config, capacity);
    let of_holder = holder.and_then(|holder| limit_of(holder.pid?));
    let whose = if of_holder.is_some() { "the running gateway" } else { "a gateway started here" };
    judge(of_holder.or_else(own), needed, whose)
}

/// Without a configuration only the limit itself can be said.
pub(super) fn alone() -> Finding {
    judge(own(), FEWEST, "a gateway started here")
}

fn judge(limit: Option<u64>, needed: u64, whose: &str) -> Finding {
    let remedy =
        format!("`ulimit -n {needed}` before the start, or `LimitNOFILE={needed}` in its systemd unit");
    match limit {
        None => Finding::ok(CHECK, format!("{whose} may open any number of files")),
        Some(limit) if limit < FEWEST => {
            Finding::fail(CHECK, format!("{whose} may open only {limit} files at once"), remedy)
        }
        Some(limit) if limit < needed => Finding::warn(
            CHECK,
            format!(
                "{whose} may open {limit} files at once; all connections that it accepts would take {needed}"
            ),
            remedy,
        ),
        Some(limit) => {
            Finding::ok(CHECK, format!("{whose} may open {limit} files at once and needs at most {needed}"))
        }
    }
}

fn needed(config: &Config, capacity: Capacity) -> u64 {
    let clients = capacity.connections() as u64;
    let in_flight = doorward_upstream::Settings::default().max_in_flight as u64;
    let servers =
        config.servers.iter().filter(|server| server.enabled).map(|server| match server.transport {
            Transport::Stdio { .. } => OF_CHILD,
            Transport::Http { .. } | Transport::Sse { .. } => in_flight,
        });
    OWN + SOCKET_CLIENTS + clients + servers.sum::<u64>()
}

fn own() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The limit of another process, where the system tells.
fn limit_of(pid: u32) -> Option<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn too_few_descriptors_warn_and_next_to_none_fail() {
        let status = |limit| judge(limit, 21_000, "it").status;
        assert_eq!(status(None), Status::Ok);
        assert_eq!(status(Some(65_536)), Status::Ok);
        assert_eq!(status(Some(1_024)), Status::Warn);
        assert_eq!(status(Some(100)), Status::Fail);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_limit_of_a_process_is_found() {
        assert_eq!(limit_of(std::process::id()), own());
    }
}
