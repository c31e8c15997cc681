//! How much memory there is, and how it is shared out.
//!
//! Messages get an eighth of what this process may use, because each is there several times
//! over while it is worked on: as it came, as it is sent on, in the record. Connections get as
//! many as could send the largest heads at once within a quarter.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use doorward_gateway::door::MAX_HEAD;
use doorward_model::Room;
use rustix::process::{Resource, getrlimit};

/// What is assumed where nobody says.
const UNKNOWN: u64 = 4 << 30;
/// Beyond this a machine has other bounds.
const MOST_ROOM: u64 = 1 << 30;
const MOST_CONNECTIONS: u64 = 20_000;
/// A single person's tools must always fit.
const LEAST_CONNECTIONS: u64 = 256;

/// The memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity(pub u64);

impl Capacity {
    /// The least of what the machine has and what limits and control groups leave.
    pub fn of_process() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let of_groups = files(&groups).into_iter().filter_map(|file| fs::read_to_string(file).ok());
        let of_groups = of_groups.filter_map(|text| text.trim().parse().ok()).min();
        let limits = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
        let known = [total(&machine), of_groups, limits[0], limits[1]];
        Self(known.into_iter().flatten().min().unwrap_or(UNKNOWN))
    }

    /// Room for messages.
    pub fn room(self) -> Arc<Room> {
        let bytes = (self.0 / 8).min(MOST_ROOM);
        Room::new(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// How many connections may be open at once.
    pub fn connections(self) -> usize {
        let fit = self.0 / 4 / MAX_HEAD as u64;
        usize::try_from(fit.clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS)).unwrap_or(usize::MAX)
    }
}

/// Where the limits of control groups stand: those of the process's own and of all above it, in
/// either version.
fn files(groups: &str) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let own = Path::new(path.trim_start_matches('/'));
        files.extend(own.ancestors().map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

/// What `/proc/meminfo` says that the machine has.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_gets_a_share_of_what_it_may_use() {
        let cases = [
            // MiB    room in MiB  connections
            (64, 8, 256),
            (256, 32, 1024),
            (2048, 256, 8192),
            (65_536, 1024, 20_000),
        ];
        for (mib, room, connections) in cases {
            let memory = Capacity(mib << 20);
            assert_eq!((memory.room().size() >> 20, memory.connections()), (room, connections), "{mib}");
        }
    }

    #[test]
    fn groups_of_either_version_and_those_above_them_count() {
        let text = "9:name=systemd:/\n4:memory:/a/b\n1:cpu:/x\n0::/system.slice/doorward.service\n";
        let files: Vec<_> = files(text).iter().map(|file| file.display().to_string()).collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/system.slice/doorward.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24674388 kB\n"), Some(24_674_388 << 10));
        assert!(Capacity::of_process().0 > 0);
    }
}
