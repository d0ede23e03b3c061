// SPDX-License-Identifier: Apache-2.0
//! Asks the daemon for as long as somebody looks: greets it, listens to the level that is looked at, and comes again when
//! it has gone away. Adds nothing to what it says.

use super::keys::Message;
use crate::client::{Client, ClientError, Level, Stream};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Shortest and longest rest before it asks again.
const REST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Messages that may wait: the screen takes one in microseconds, so that this is more than ever does. A full one holds up
/// the stream, and the daemon sends the newest update next.
pub(super) const WAITING: usize = 64;

/// Runs until nobody listens.
pub(super) async fn run(client: Client, mut level: watch::Receiver<Level>, to: mpsc::Sender<Message>) {
    let mut rest = REST.0;
    loop {
        match listen(&client, &mut level, &to, &mut rest).await {
            // The daemon ends each stream after some time.
            // Not without a rest: whoever is in between may end it at once.
            Ok(Ended::Stream) => sleep(REST.0).await,
            Ok(Ended::Screen) => return,
            Err(error) => {
                if to.send(Message::Lost(error.to_string())).await.is_err() {
                    return;
                }
                sleep(rest).await;
                rest = (rest * 2).min(REST.1);
            }
        }
    }
}

enum Ended {
    /// The daemon's end, in order.
    Stream,
    /// Nobody looks any more.
    Screen,
}

async fn listen(
    client: &Client,
    level: &mut watch::Receiver<Level>,
    to: &mpsc::Sender<Message>,
    rest: &mut Duration,
) -> Result<Ended, ClientError> {
    let (about, history) = (client.about().await?, client.history().await?);
    if to.send(Message::Connected(about, history)).await.is_err() {
        return Ok(Ended::Screen);
    }
    let mut stream = follow(client, level).await?;
    loop {
        let update = tokio::select! {
            changed = level.changed() => {
                if changed.is_err() {
                    return Ok(Ended::Screen);
                }
                stream = follow(client, level).await?;
                continue;
            }
            update = stream.next() => update?,
        };
        *rest = REST.0;
        let Some(update) = update else {
            return Ok(Ended::Stream);
        };
        if to.send(Message::Updated(Box::new(update))).await.is_err() {
            return Ok(Ended::Screen);
        }
    }
}

async fn follow(client: &Client, level: &mut watch::Receiver<Level>) -> Result<Stream, ClientError> {
    let level = *level.borrow_and_update();
    client.stream(level).await
}
