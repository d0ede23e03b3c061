// SPDX-License-Identifier: Apache-2.0
//! Listening, accepting, and stopping in bounded time.
//!
//! warp answers requests here and accepts none: its own accept loop takes any number of connections, waits for ever on a
//! request that never ends, and on stop waits for it too. All futures run on the caller's thread (a current-thread
//! runtime is enough).

use super::{Context, routes};
use crate::error::ExporterError;
use crate::live::Live;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use warp::Filter;
use warp::hyper::server::conn::http1;
use warp::reply::Response;

/// Bounds on connections. Each has its reason beside its default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once, over all addresses.
    pub(super) connections: usize,
    /// Time for a request's head, also between two requests of one connection.
    pub(super) head: Duration,
    /// Age at which a connection is asked to end after its current answer.
    pub(super) age: Duration,
    /// Time that an answer in flight gets once its connection is asked to end.
    pub(super) grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A few Prometheus servers, the kubelet's probes and some people; the others wait in the kernel's backlog.
            // It bounds descriptors, and the old pages that slow readers hold on to: one a connection.
            connections: 64,
            // Longer than the usual scrape intervals (15 to 60 s), so that scrapers keep their connection.
            head: Duration::from_secs(90),
            // A client that sends but never reads is not seen by the time-out above.
            age: Duration::from_secs(600),
            grace: Duration::from_secs(1),
        }
    }
}

/// Bytes that a request's head may have, and the size of a connection's buffers. Ours have some hundred.
const BUFFER_BYTES: usize = 16 * 1024;

/// Pause after a failed accept, which mostly means that there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Takes the addresses, before anything else starts, so that an occupied port is a start-up error.
///
/// # Errors
///
/// The first address that cannot be had, by name.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<StdListener>, ExporterError> {
    addresses
        .iter()
        .map(|&address| {
            let listener = StdListener::bind(address).map_err(|source| match source.kind() {
                ErrorKind::AddrInUse => ExporterError::AddressInUse { address, source },
                _ => ExporterError::Bind { address, source },
            })?;
            listener.set_nonblocking(true).map_err(ExporterError::Listener)?;
            Ok(listener)
        })
        .collect()
}

/// Answers requests until `shutdown` is ready, then lets answers in flight end, for at most one second.
///
/// # Errors
///
/// Where a listener cannot be used, or accepting ends without having been told to.
pub async fn serve(
    listeners: Vec<StdListener>,
    context: Context,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ExporterError> {
    serve_within(Limits::default(), listeners, context, shutdown).await
}

pub(super) async fn serve_within(
    limits: Limits,
    listeners: Vec<StdListener>,
    context: Context,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ExporterError> {
    let context = Arc::new(context);
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopped) = watch::channel(false);
    // Dropping a set aborts what is left in it: nothing outlives this function.
    let mut loops = JoinSet::new();
    let live = Arc::new(Live::new(
        context.pages.clone(),
        context.now,
        context.tick,
        stopped.clone(),
    ));
    let mut recorder = JoinSet::new();
    recorder.spawn(Arc::clone(&live).record());
    for listener in listeners {
        let acceptor = Acceptor {
            listener: TcpListener::from_std(listener).map_err(ExporterError::Listener)?,
            permits: Arc::clone(&permits),
            context: Arc::clone(&context),
            live: Arc::clone(&live),
            limits,
            stopped: stopped.clone(),
        };
        loops.spawn(acceptor.run());
    }
    tokio::select! {
        () = shutdown => {}
        Some(ended) = loops.join_next() => return Err(ExporterError::Ended(ended.err())),
        Some(ended) = recorder.join_next() => return Err(ExporterError::Ended(ended.err())),
    }
    // No receiver is left where there was no listener; nobody needs to be told then.
    stop.send_replace(true);
    while loops.join_next().await.is_some() {}
    Ok(())
}

/// The accept loop of one address.
struct Acceptor {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    context: Arc<Context>,
    live: Arc<Live>,
    limits: Limits,
    stopped: watch::Receiver<bool>,
}

impl Acceptor {
    async fn run(self) {
        let mut connections = JoinSet::new();
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = told(&mut stopped) => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((permit, stream)) => {
                    let routes = routes::filter(Arc::clone(&self.context), Arc::clone(&self.live));
                    let connection = connection(stream, routes, self.limits, self.stopped.clone());
                    connections.spawn(async move {
                        let _held = permit;
                        connection.await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // The port is free from here on, while answers in flight end.
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    /// Waits for a free place first: a connection that we cannot serve stays in the kernel's backlog.
    async fn accept(&self) -> io::Result<(OwnedSemaphorePermit, TcpStream)> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        Ok((permit, stream))
    }
}

/// Ready once the word to stop was given, or nobody is left to give it.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _: Result<_, watch::error::RecvError> = stopped.wait_for(|stopped| *stopped).await.map(drop);
}

/// One connection, from its first request to its end.
async fn connection(
    stream: TcpStream,
    routes: impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(warp::service(routes));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = told(&mut stopped) => None,
        () = sleep(limits.age) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // A request that is half sent would hold us for ever.
            timeout(limits.grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
