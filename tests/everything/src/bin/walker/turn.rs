//! Few at a time: the suite starts the clients of all its scenarios at once, and a
//! gateway each would be so slow that servers seem not to answer.

use std::fs::File;
use std::time::Duration;

use crate::Result;

const PLACES: usize = 3;

/// Waits for a place among the walkers of this machine, and keeps it until dropped.
pub async fn take() -> Result<File> {
    loop {
        for place in 0..PLACES {
            let path = std::env::temp_dir().join(format!("doorward-walker-{place}.lock"));
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            if file.try_lock().is_ok() {
                return Ok(file);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
