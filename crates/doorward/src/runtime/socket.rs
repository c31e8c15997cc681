//! The socket beside the log: opened by whoever holds the log, for those who do not.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use doorward_gateway::door::{Holder, InForce, Level, Levels as Shown, Open, Socket, serve_socket};
use doorward_model::ServerId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Assembled;
use crate::config::Config;
use crate::logging::Levels;

/// The folder that the socket of this configuration's log lies in: `dataDir`, or the
/// folder of a log that is kept elsewhere, so that two logs never share a socket.
pub fn socket_folder(config: &Config) -> &Path {
    if config.audit.dir == config.data_dir.join("audit") { &config.data_dir } else { &config.audit.dir }
}

/// An open socket and the task that serves it.
pub struct SocketDoor {
    open: watch::Sender<Open>,
    serving: JoinHandle<()>,
}

impl Assembled {
    /// Opens the socket; `None`, with a warning, where that is not possible: a gateway
    /// whose folder takes no sockets still serves its own clients.
    pub fn open_socket(&self) -> Option<SocketDoor> {
        let folder = socket_folder(&self.loaded.config);
        let socket = match Socket::bind(folder) {
            Ok(socket) => socket,
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(target: "doorward::serve", %error, %folder,
                    "no socket for further `serve --stdio` of this configuration");
                return None;
            }
        };
        let digest = self.builder.lock().unwrap_or_else(PoisonError::into_inner).in_force();
        let config = absolute(&self.loaded.path).display().to_string();
        let holder = Arc::new(Here { config, digest, levels: self.surroundings.levels.clone() });
        let (open, state) = watch::channel(Open::Always);
        let serving = tokio::spawn(serve_socket(Arc::clone(&self.gateway), socket, holder, state));
        Some(SocketDoor { open, serving })
    }
}

/// This process, as those at the socket know it.
struct Here {
    config: String,
    digest: watch::Receiver<String>,
    levels: Levels,
}

impl Holder for Here {
    fn in_force(&self) -> InForce {
        InForce { config: self.config.clone(), digest: self.digest.borrow().clone() }
    }

    fn set_level(&self, server: &ServerId, level: Level) {
        self.levels.set(server, level);
        let (server, level) = (server.as_str(), level.as_str());
        tracing::info!(target: "doorward::serve", server, level, "what is logged about a server was changed");
    }

    fn levels(&self) -> Shown {
        self.levels.shown()
    }
}

impl SocketDoor {
    /// Waits until nobody is served here any more.
    pub async fn unused(&mut self) {
        self.open.send_replace(Open::WhileUsed);
        self.ended().await;
    }

    /// Lets calls under way finish, and closes.
    pub async fn close(mut self) {
        self.open.send_replace(Open::No);
        self.ended().await;
    }

    async fn ended(&mut self) {
        if !self.serving.is_finished() && (&mut self.serving).await.is_err() {
            tracing::error!(target: "doorward::serve", "the socket did not close in order");
        }
    }
}

/// A path that means the same to everybody.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
