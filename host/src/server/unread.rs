//! Bodies that nobody reads: a client that still writes one when its connection is closed never sees the answer.
use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use tokio::time::timeout;

/// Most bytes that are taken, and how long that may last; behind these the connection is closed.
const MOST_BYTES: usize = 1 << 20;
const LONGEST: Duration = Duration::from_secs(1);

/// Takes a body, and keeps nothing of it.
pub async fn drop_body(body: Body) {
    let (mut pieces, mut taken) = (body.into_data_stream(), 0);
    let all = async {
        while let Some(Ok(piece)) = pieces.next().await {
            taken += piece.len();
            if taken > MOST_BYTES {
                return;
            }
        }
    };
    // Who is slower has the answer as it comes.
    let _ = timeout(LONGEST, all).await;
}
