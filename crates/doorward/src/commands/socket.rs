//! What the gateway's own user tells or asks the running gateway, over the socket in `dataDir`.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use doorward_gateway::door::{self, Order};
use tokio::io::{AsyncWriteExt as _, BufReader};

/// How long the gateway may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Gives an order, and returns the line that it is answered with.
///
/// # Errors
/// When no gateway answers in this folder.
pub(super) fn tell(folder: &Path, order: &Order) -> anyhow::Result<Bytes> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let exchange = async {
            let mut stream = door::connect(folder).await?;
            stream.write_all(order.line().as_bytes()).await?;
            anyhow::Ok(door::read_line(&mut BufReader::new(stream)).await?)
        };
        tokio::time::timeout(WITHIN, exchange).await.context("it takes too long")?
    })
}
