//! What the gateway's own user tells or asks the running gateway, over the socket in `dataDir`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use doorward_gateway::door::{self, Order};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};

/// How long the gateway may take.
const WITHIN: Duration = Duration::from_secs(5);

/// The same, where it may have to ask a server first.
const ASKED_WITHIN: Duration = Duration::from_secs(12);

/// The longest answer, in bytes: more than one server's lists may be.
const LONGEST: u64 = 128 << 20;

/// Gives an order, and returns the line that it is answered with.
///
/// # Errors
/// When no gateway answers in this folder.
pub(super) fn tell(folder: &Path, order: &Order) -> anyhow::Result<Bytes> {
    exchange(folder, order, WITHIN, false)
}

/// Asks a question whose answer may be as long as what servers offer.
///
/// # Errors
/// When no gateway answers in this folder.
pub(super) fn ask(folder: &Path, order: &Order) -> anyhow::Result<Bytes> {
    exchange(folder, order, ASKED_WITHIN, true)
}

fn exchange(folder: &Path, order: &Order, within: Duration, is_long: bool) -> anyhow::Result<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let exchange = async {
            let mut stream = door::connect(folder).await?;
            stream.write_all(order.line().as_bytes()).await?;
            if !is_long {
                return anyhow::Ok(door::read_line(&mut BufReader::new(stream)).await?);
            }
            let mut answer = Vec::new();
            stream.take(LONGEST).read_to_end(&mut answer).await?;
            Ok(answer.into())
        };
        tokio::time::timeout(within, exchange).await.context("it takes too long")?
    })
}
