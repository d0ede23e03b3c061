// SPDX-License-Identifier: Apache-2.0
//! Keeps the table current from this node's kubelet, which has no watch: asks for everything again and again.

use super::access::{self, Failure, Kind, Patience};
use super::desk::Desk;
use super::plan::Access;
use super::retry::{Backoff, chance, jittered};
use super::shape;
use futures_util::future::select;
use kube::Client;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Where a kubelet lists its pods.
pub(super) const PODS: &str = "/pods";

/// Never returns by itself. From one question to the next it is `interval`, of which up to a tenth is left off by chance.
pub(super) async fn follow(
    (access, interval): (Access, Duration),
    patience: Patience,
    desk: &mut Desk,
    nudge: &Notify,
) {
    let mut client = None;
    let mut backoff = Backoff::default();
    loop {
        match round(&mut client, &access, patience, desk).await {
            Ok(()) => {
                backoff.succeeded();
                let wait = interval * 4 / 5 + jittered(interval / 5, chance());
                select(pin!(sleep(wait)), pin!(nudge.notified())).await;
            }
            Err(failure) => {
                client = None;
                desk.failed(&failure);
                sleep(backoff.failed_for(failure.retry, chance())).await;
            }
        }
    }
}

async fn round(
    client: &mut Option<Client>,
    access: &Access,
    patience: Patience,
    desk: &mut Desk,
) -> Result<(), Failure> {
    let client = match client {
        Some(client) => client,
        None => client.insert(access::client(access, patience).await?),
    };
    let body = access::list(client, PODS, None, patience).await?;
    let list = shape::list(&body).map_err(|error| {
        Failure::new(
            Kind::Malformed,
            format!("no pods as a kubelet writes them: {error}"),
        )
    })?;
    desk.replace(&list.items.unwrap_or_default());
    desk.current();
    Ok(())
}
