//! `serve --stdio` beside a gateway that holds the log already: passes bytes on.
//!
//! A forwarder decides nothing and keeps nothing. It says whom it stands for, then
//! copies what its client and the gateway say, unread. When the gateway goes away its
//! client's session is lost; the forwarder then fails, so that the client starts anew.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use doorward_gateway::Surface;
use doorward_gateway::door::{self, InForce, Preface, Turned};
use doorward_model::Secret;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, copy};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// How long the gateway may take to answer; it may have to fetch keys first.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What to do about a key that is not known here.
pub const NO_KEY: &str = "set MCP_GATEWAY_API_KEY to a key of this gateway; `doorward keys create` makes one";
/// What to do about a surface that is none.
pub const NO_SURFACE: &str = "--surface wants aggregate, meta or a server's id";

/// A connection to the gateway that holds the log; it has let our client in.
pub struct Link {
    /// What it has in force.
    pub in_force: InForce,
    /// Who it is, for people.
    pub holder: String,
    input: BufReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
}

/// Finds the gateway whose socket lies in this folder and presents our client there.
/// `Ok(Err(why))` when nobody is there, or just about to leave.
///
/// # Errors
/// When there is one and it does not serve our client.
pub async fn find(
    folder: &Path,
    surface: &Surface,
    key: Option<&Secret>,
) -> anyhow::Result<Result<Link, std::io::Error>> {
    let stream = match door::connect(folder).await {
        Ok(stream) => stream,
        Err(error) => return Ok(Err(error)),
    };
    let holder = name(&stream);
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    let preface = Preface { surface: surface.clone(), key: key.cloned() };
    let line = async {
        output.write_all(preface.line().expose().as_bytes()).await?;
        door::read_line(&mut input).await
    };
    let line = match tokio::time::timeout(ANSWER_TIME, line).await {
        Ok(Ok(line)) if !line.is_empty() => line,
        Ok(Ok(_)) => return Ok(Err(ErrorKind::UnexpectedEof.into())),
        Ok(Err(error)) if is_gone(&error) => return Ok(Err(error)),
        Ok(Err(error)) => return Err(error).context(format!("{holder} does not answer on its socket")),
        Err(_) => bail!("{holder} holds the log and does not answer on its socket"),
    };
    match door::read_answer(line) {
        Ok(Ok(in_force)) => Ok(Ok(Link { in_force, holder, input, output })),
        Ok(Err(Turned::Key)) => bail!(NO_KEY),
        Ok(Err(Turned::Surface)) => bail!(NO_SURFACE),
        Ok(Err(Turned::Preface)) | Err(_) => {
            bail!("{holder} holds the log and is of another version than this program; stop it first")
        }
    }
}

impl Link {
    /// Copies both ways until either side ends. A client that closed its end still
    /// gets the answers to what it asked.
    ///
    /// # Errors
    /// When the gateway goes away before the client, or the client cannot be written to.
    pub async fn carry(
        self,
        mut stdin: impl AsyncRead + Unpin,
        mut stdout: impl AsyncWrite + Unpin,
    ) -> anyhow::Result<()> {
        let Self { mut input, mut output, holder, .. } = self;
        let gone = || anyhow::anyhow!("{holder}, which served this client, is gone; start this one again");
        let checked = |copied: std::io::Result<u64>| match copied {
            Ok(_) => Ok(()),
            // Standard output fails otherwise, so this was the socket.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(gone()),
            Err(error) => Err(error.into()),
        };
        let mut down = std::pin::pin!(copy(&mut input, &mut stdout));
        let up = async {
            copy(&mut stdin, &mut output).await?;
            output.shutdown().await
        };
        tokio::select! {
            asked = up => match asked {
                Ok(()) => checked(down.await),
                Err(error) if is_gone(&error) => {
                    // What it said before it went may still lie in the socket.
                    checked(down.await)?;
                    Err(gone())
                }
                Err(error) => Err(error.into()),
            },
            said = &mut down => {
                checked(said)?;
                Err(gone())
            }
        }
    }
}

/// Whether this is how a socket fails whose other end is gone.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected)
}

fn name(stream: &UnixStream) -> String {
    match stream.peer_cred().ok().and_then(|peer| peer.pid()) {
        Some(process) => format!("the gateway in process {process}"),
        None => "the gateway".to_owned(),
    }
}
