//! How much memory the gateway may use, and what fits into it.

use super::Finding;
use crate::capacity::Capacity;

const CHECK: &str = "memory";
/// With less, a few large answers at once are too much.
const LITTLE: u64 = 128 << 20;

pub(super) fn check(capacity: Capacity) -> Finding {
    let mib = capacity.0 >> 20;
    let room = capacity.room().size() >> 20;
    let what = format!(
        "a gateway started here may use {mib} MiB: room for {room} MiB of messages and {} connections",
        capacity.connections()
    );
    if capacity.0 < LITTLE {
        return Finding::warn(CHECK, what, "give it 128 MiB or more (`MemoryMax` in its systemd unit)");
    }
    Finding::ok(CHECK, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn little_memory_is_worth_a_warning() {
        assert_eq!(check(Capacity(64 << 20)).status, Status::Warn);
        let found = check(Capacity(2 << 30));
        let said =
            "a gateway started here may use 2048 MiB: room for 256 MiB of messages and 8192 connections";
        assert_eq!((found.status, found.message.as_str()), (Status::Ok, said));
    }
}
