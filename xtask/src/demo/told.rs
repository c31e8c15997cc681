//! A signal to the demo alone is passed on to its gateway, so that none is left behind.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody told the demo to stop, and whom it tells.
#[derive(Clone, Default)]
pub struct Told {
    is_told: Arc<AtomicBool>,
    gateway: Arc<AtomicU32>,
}

impl Told {
    /// Listens from now on to what would end the demo, in a thread of its own.
    pub fn listen() -> anyhow::Result<Self> {
        let told = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        drop(entered);
        let listener = told.clone();
        let listen = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hang_up.recv() => {}
                }
            });
            listener.is_told.store(true, Ordering::SeqCst);
            listener.stop();
        };
        std::thread::Builder::new().spawn(listen).context("a thread that listens to signals")?;
        Ok(told)
    }

    /// Names the gateway; it is stopped at once if somebody was faster.
    pub fn watch(&self, process: u32) {
        self.gateway.store(process, Ordering::SeqCst);
        if self.is_told() {
            self.stop();
        }
    }

    /// Whether the demo is to end.
    pub fn is_told(&self) -> bool {
        self.is_told.load(Ordering::SeqCst)
    }

    fn stop(&self) {
        let process = self.gateway.load(Ordering::SeqCst);
        if process != 0 {
            // It may have ended by itself, by the same Ctrl-C.
            let _ = Command::new("kill").arg(process.to_string()).stderr(Stdio::null()).status();
        }
    }
}
