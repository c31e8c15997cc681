//! A call that may go on for as long as its server reports progress, up to a bound.

use std::time::Duration;

use bytes::Bytes;
use doorward_model::json::Document;
use memchr::memmem;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::call::Call;
use crate::error::UpstreamError;
use crate::link::Link;

/// Messages that may wait for a caller that reads slowly.
const WAITING: usize = 256;
/// How a message reports progress, as links write it.
const PROGRESS: &[u8] = b"\"notifications/progress\"";

/// How long a call may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Without a word from the server.
    pub(super) limit: Duration,
    /// Altogether.
    pub(super) most: Duration,
}

/// Makes the call. What the server reports reaches the caller as ever.
pub(super) async fn within(
    patience: Patience,
    link: &Link,
    call: Call<'_>,
) -> Result<(Document, Option<u16>), UpstreamError> {
    let (tapped, heard) = mpsc::channel(WAITING);
    let caller = call.notify.clone();
    let call = Call { notify: Some(tapped), ..call };
    match wait(patience, heard, caller, link.call(&call)).await {
        Ok(outcome) => outcome,
        Err(limit) => Err(UpstreamError::Timeout { method: call.method.to_owned().into(), limit }),
    }
}

/// Waits for `answer`, as long as it may take; the error says how long that was.
async fn wait<T>(
    Patience { limit, most }: Patience,
    mut heard: mpsc::Receiver<Bytes>,
    caller: Option<mpsc::Sender<Bytes>>,
    answer: impl Future<Output = T>,
) -> Result<T, Duration> {
    let began = Instant::now();
    let mut deadline = began + limit;
    let mut answer = std::pin::pin!(answer);
    let answer = loop {
        tokio::select! {
            biased;
            Some(message) = heard.recv() => {
                if memmem::find(&message, PROGRESS).is_some() {
                    deadline = (Instant::now() + limit).min(began + most);
                }
                pass_on(caller.as_ref(), message, deadline).await;
            }
            answer = &mut answer => break answer,
            () = sleep_until(deadline) => return Err(deadline.duration_since(began)),
        }
    };
    // What came before the answer goes out before it.
    while let Ok(message) = heard.try_recv() {
        pass_on(caller.as_ref(), message, deadline).await;
    }
    Ok(answer)
}

/// A caller that does not read holds the call up no longer than the server may.
async fn pass_on(caller: Option<&mpsc::Sender<Bytes>>, message: Bytes, deadline: Instant) {
    if let Some(caller) = caller {
        // Whoever left does not need to be told.
        let _ = timeout_at(deadline, caller.send(message)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const REPORT: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
    const LOG: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;

    /// A server that says this every 80 ms, so often, and then answers; how it ended, after how
    /// many milliseconds, and what the caller heard.
    async fn server(says: &'static [u8], times: usize) -> (Result<&'static str, Duration>, u128, usize) {
        let patience = Patience { limit: Duration::from_millis(100), most: Duration::from_millis(500) };
        let (tapped, heard) = mpsc::channel(WAITING);
        let (caller, mut notes) = mpsc::channel(WAITING);
        let answer = async move {
            for _ in 0..times {
                sleep(Duration::from_millis(80)).await;
                tapped.send(Bytes::from_static(says)).await.expect("heard");
            }
            sleep(Duration::from_millis(80)).await;
            "answered"
        };
        let began = Instant::now();
        let outcome = wait(patience, heard, Some(caller), answer).await;
        let mut heard = 0;
        while notes.try_recv().is_ok() {
            heard += 1;
        }
        (outcome, began.elapsed().as_millis(), heard)
    }

    #[tokio::test(start_paused = true)]
    async fn progress_lets_a_call_go_on_up_to_the_bound_and_nothing_else_does() {
        assert_eq!(server(REPORT, 4).await, (Ok("answered"), 400, 4), "each report within 100 ms");
        assert_eq!(server(REPORT, 50).await, (Err(Duration::from_millis(500)), 500, 6), "the bound");
        assert_eq!(server(LOG, 4).await, (Err(Duration::from_millis(100)), 100, 1), "a log message is none");
        assert_eq!(server(REPORT, 0).await, (Ok("answered"), 80, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_does_not_read_does_not_hold_it_up() {
        let patience = Patience { limit: Duration::from_millis(100), most: Duration::from_millis(500) };
        let (tapped, heard) = mpsc::channel(WAITING);
        let (caller, _notes) = mpsc::channel(1);
        for _ in 0..3 {
            tapped.send(Bytes::from_static(REPORT)).await.expect("heard");
        }
        let never = std::future::pending::<()>();
        // Two reports find no room, each of them for no longer than the server may be silent.
        assert_eq!(wait(patience, heard, Some(caller), never).await, Err(Duration::from_millis(200)));
    }
}
