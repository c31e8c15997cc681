//! What was asked, and what was measured.

use anyhow::bail;

/// A table that is printed as it grows.
#[derive(Default)]
pub struct Report {
    failures: Vec<String>,
}

impl Report {
    /// The lines of one part begin.
    pub fn part(&self, title: &str) {
        println!("\n{title:<44} {:>16} {:>22}", "asked", "measured");
    }

    /// One line.
    pub fn line(&mut self, what: &str, asked: &str, measured: String, holds: bool) {
        println!("{what:<44} {asked:>16} {measured:>22}  {}", if holds { "ok" } else { "FAILED" });
        if !holds {
            self.failures.push(what.to_owned());
        }
    }

    /// Fails if a line did.
    pub fn close(self) -> anyhow::Result<()> {
        if !self.failures.is_empty() {
            bail!("not as asked: {}", self.failures.join(", "));
        }
        Ok(())
    }
}
