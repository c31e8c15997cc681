//! The body of a request, read within bounds of size, room and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use doorward_model::Space;
use doorward_model::room::SMALL;
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming as HyperBody};

/// How long a client may take to send a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// How much of a body that is too large is still read, as a multiple of the limit,
/// so that a client that writes before it reads gets to see its answer.
const DRAINED: usize = 4;

/// Why there is no body to work on.
pub(super) enum NoBody {
    TooLarge,
    /// There is no room for it: too much else is under way.
    NoRoom,
    /// It broke off, or took too long.
    Lost,
}

/// Reads the body of a request with these headers.
pub(super) async fn collect(
    body: HyperBody,
    limit: usize,
    headers: &HeaderMap,
    space: &mut Space,
) -> Result<Bytes, NoBody> {
    // What says itself that it is too long need not be read to be refused.
    if body.size_hint().lower() > limit as u64 {
        // Who waits for leave to send it has sent nothing, and is not told to.
        if !headers.contains_key(EXPECT) {
            tokio::spawn(tokio::time::timeout(BODY_WITHIN, drain(body, limit)));
        }
        return Err(NoBody::TooLarge);
    }
    match tokio::time::timeout(BODY_WITHIN, read(body, limit, space)).await {
        Ok(read) => read,
        Err(_) => Err(NoBody::Lost),
    }
}

/// Lets a client finish that writes before it reads, so that it gets to see its answer.
async fn drain(mut body: HyperBody, limit: usize) {
    let mut left = limit.saturating_mul(DRAINED);
    while let Some(Ok(frame)) = body.frame().await {
        left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(left) => left,
            None => return,
        };
    }
}

async fn read(mut body: HyperBody, limit: usize, space: &mut Space) -> Result<Bytes, NoBody> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut length = 0_usize;
    // Whatever its size, each call costs something.
    let mut fits = space.hold(SMALL).is_ok();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| NoBody::Lost)?.into_data() else { continue };
        length += data.len();
        fits = fits && (length <= SMALL || space.hold(SMALL + length).is_ok());
        if length > limit || !fits {
            (first, all) = (Bytes::new(), BytesMut::new());
            if length > limit.saturating_mul(DRAINED) {
                break;
            }
        } else if first.is_empty() && all.is_empty() {
            // Most bodies come in one piece, which is then not copied.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    if length > limit {
        return Err(NoBody::TooLarge);
    }
    if !fits {
        return Err(NoBody::NoRoom);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
