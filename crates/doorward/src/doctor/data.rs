//! The folder of records and keys: there, writable, private, and with room in it.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfs, access, statvfs};

use super::Finding;
use crate::config::Config;

/// A segment of the log is this large; with less room than two the end is near.
const FAIL_BELOW: u64 = 128 << 20;
const WARN_BELOW: u64 = 1 << 30;
const WARN_BELOW_PERCENT: u64 = 5;
const WARN_BELOW_FILES: u64 = 1_000;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![folder(&config.data_dir)];
    findings.extend(room(&config.data_dir, &config.audit.dir));
    findings.extend(keys(&config.audit.key_dir));
    findings
}

/// Whether whoever runs this belongs to the folder; who reads for others may leave files
/// behind that they cannot write.
pub(super) fn is_own(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|it| it.uid() == rustix::process::geteuid().as_raw())
}

fn folder(folder: &Path) -> Finding {
    let check = "dataDir";
    let shown = folder.display();
    let may_write = |path: &Path| access(path, Access::WRITE_OK | Access::EXEC_OK);
    let found = match fs::metadata(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above = existing(folder);
            return match may_write(&above) {
                Ok(()) => Finding::ok(check, format!("{shown} does not exist yet; the first start makes it")),
                Err(error) => Finding::fail(
                    check,
                    format!("{shown} does not exist and cannot be made in {}: {error}", above.display()),
                    "make it for the user that runs the gateway, or choose another `dataDir`",
                ),
            };
        }
        Err(error) => {
            return Finding::fail(check, format!("{shown}: {error}"), "let the gateway's user reach it");
        }
    };
    if !found.is_dir() {
        return Finding::fail(check, format!("{shown} is no folder"), "choose another `dataDir`");
    }
    if let Err(error) = may_write(folder) {
        let remedy = format!(
            "chown it to the user that runs the gateway, and run this as that user (owner: {})",
            found.uid()
        );
        return Finding::fail(check, format!("{shown} cannot be written: {error}"), remedy);
    }
    if !is_own(folder) {
        let message = format!("{shown} belongs to user {}, not to the one that runs this", found.uid());
        return Finding::warn(check, message, "run this as the user that runs the gateway");
    }
    if is_open(&found) {
        let message = format!("{shown} can be entered by other users of this machine");
        return Finding::warn(check, message, format!("chmod 700 {shown}"));
    }
    Finding::ok(check, format!("{shown} can be written and is private"))
}

/// The nearest folder above this one that exists.
fn existing(folder: &Path) -> PathBuf {
    let above = folder.ancestors().skip(1).find(|above| above.exists());
    above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn is_open(found: &Metadata) -> bool {
    found.permissions().mode() & 0o077 != 0
}

fn room(data: &Path, log: &Path) -> Vec<Finding> {
    let mut places = vec![data];
    // A log on a disk of its own fills that one.
    if !log.starts_with(data) {
        places.push(log);
    }
    places
        .into_iter()
        .map(|place| {
            let asked = if place.exists() { place.to_owned() } else { existing(place) };
            match statvfs(&asked) {
                Ok(found) => judge(place, &found),
                Err(error) => {
                    Finding::warn("disk", format!("{}: {error}", asked.display()), "look at the file system")
                }
            }
        })
        .collect()
}

fn judge(place: &Path, found: &StatVfs) -> Finding {
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let percent = found.f_bavail.saturating_mul(100).checked_div(found.f_blocks).unwrap_or(100);
    let message = format!("{} free ({percent}%) for {}", size(free), place.display());
    // File systems that make files as they need them report none at all.
    let files_run_out = found.f_files > 0 && found.f_favail < WARN_BELOW_FILES;
    if free < FAIL_BELOW {
        Finding::fail(
            "disk",
            format!("{message}: calls are refused when the log cannot be written"),
            "make room",
        )
    } else if free < WARN_BELOW || percent < WARN_BELOW_PERCENT {
        Finding::warn("disk", message, "make room, or move `dataDir` to a larger disk")
    } else if files_run_out {
        Finding::warn(
            "disk",
            format!("{message}, and room for only {} more files", found.f_favail),
            "remove files",
        )
    } else {
        Finding::ok("disk", message)
    }
}

/// Whoever reads these files can sign as this log, and open what it has sealed.
fn keys(folder: &Path) -> Option<Finding> {
    let open: Vec<_> = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_key = entry.path().extension().is_some_and(|extension| extension == "key");
            // Of a link its target counts: links themselves are open to everybody, always.
            (is_key && is_open(&fs::metadata(entry.path()).ok()?)).then(|| entry.path().display().to_string())
        })
        .collect();
    Some(if open.is_empty() {
        Finding::ok("keyDir", format!("the keys in {} are private", folder.display()))
    } else {
        Finding::fail(
            "keyDir",
            format!("others may read {}", open.join(", ")),
            format!("chmod 600 {}", open.join(" ")),
        )
    })
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes % (1 << 30)) * 10) >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn of_a_link_to_a_key_its_target_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let (real, keys) = (folder.path().join("real"), folder.path().join("keys"));
        fs::create_dir(&keys).expect("created");
        fs::write(&real, "k").expect("written");
        std::os::unix::fs::symlink(&real, keys.join("sign.key")).expect("linked");
        for (mode, status) in [(0o600, Status::Ok), (0o644, Status::Fail)] {
            fs::set_permissions(&real, fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(super::keys(&keys).map(|finding| finding.status), Some(status), "{mode:o}");
        }
    }

    #[test]
    fn little_room_warns_and_next_to_none_fails() {
        let disk = |free: u64, all: u64, files: u64| {
            let mut found = statvfs("/").expect("a file system");
            (found.f_frsize, found.f_bavail, found.f_blocks) = (1, free, all);
            (found.f_files, found.f_favail) = (1 << 20, files);
            judge(Path::new("/data"), &found).status
        };
        let many = 1 << 19;
        assert_eq!(disk(50 << 30, 100 << 30, many), Status::Ok);
        assert_eq!(disk(4 << 30, 100 << 30, many), Status::Warn, "4%");
        assert_eq!(disk(900 << 20, 1 << 30, many), Status::Warn, "below 1 GiB");
        assert_eq!(disk(100 << 20, 1 << 30, many), Status::Fail, "below two segments");
        assert_eq!(disk(50 << 30, 100 << 30, 10), Status::Warn, "no more files");
    }
}
