// SPDX-License-Identifier: Apache-2.0
//! Accepting, and stopping in bounded time.
//!
//! warp answers requests here and accepts none: its own accept loop takes any number of connections, waits for ever on a
//! request that never ends, and on stop waits for it too. Accepting waits for no handshake and for no request. All futures run on
//! the caller's thread (a current-thread runtime is enough); what takes long runs on a blocking thread.

use super::crowd::{Crowd, Guest, Place};
use super::entrance::{Bound, Entrance};
use super::origin::Origin;
use super::paced::{Answering, Paced, Watched};
use super::routes::{self, Visit};
use super::scribe::Scribe;
use super::{Context, Limits};
use crate::error::ExporterError;
use crate::live::Live;
use crate::security::Security;
use crate::security::health::{Closed, Health};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use warp::http::header::CONTENT_TYPE;
use warp::hyper::server::conn::http1;
use warp::hyper::service::{Service, service_fn};

/// Bytes that a request's head may have, and the size of a connection's buffers. Ours have some hundred. hyper answers 431
/// to a longer one, and 414 to a longer path.
const BUFFER_BYTES: usize = 16 * 1024;

/// Pause after a failed accept, which mostly means that there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Answers requests until `shutdown` is ready, then lets answers in flight end, for at most one second.
///
/// # Errors
///
/// Where a listener cannot be used, or accepting ends without having been told to.
pub async fn serve(
    entrance: Entrance,
    context: Context,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ExporterError> {
    serve_within(Limits::default(), entrance, context, shutdown).await
}

pub(super) async fn serve_within(
    limits: Limits,
    entrance: Entrance,
    context: Context,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ExporterError> {
    let (stop, stopped) = watch::channel(false);
    let health = context.page().observer().doors();
    let scribe = Scribe::default();
    let live = Arc::new(Live::new(
        context.pages.clone(),
        context.now,
        context.tick,
        stopped.clone(),
        scribe.clone(),
    ));
    // Dropping a set aborts what is left in it: nothing outlives this function.
    let mut background = JoinSet::new();
    background.spawn(Arc::clone(&live).record());
    let mut loops = JoinSet::new();
    if let Some(security) = &entrance.security {
        background.spawn(Arc::clone(security).follow(limits.look, Arc::clone(&health)));
        let house = Arc::new(House {
            context,
            live,
            scribe,
            security: Arc::clone(security),
            health: Arc::clone(&health),
            limits,
            stopped: stopped.clone(),
        });
        let network = Crowd::new(limits.places, limits, Arc::clone(&health));
        let local = Crowd::new(limits.local_places, limits, health);
        for bound in entrance.listeners().map_err(ExporterError::Listener)? {
            let crowd = match &bound {
                Bound::Tcp(_) => &network,
                Bound::Unix(..) => &local,
            };
            let acceptor = Acceptor {
                crowd: Arc::clone(crowd),
                house: Arc::clone(&house),
                bound,
            };
            loops.spawn(acceptor.run());
        }
    }
    tokio::select! {
        () = shutdown => {}
        Some(ended) = loops.join_next() => return ended.unwrap_or_else(|error| Err(ExporterError::Ended(Some(error)))),
        Some(ended) = background.join_next() => return Err(ExporterError::Ended(ended.err())),
    }
    // No receiver is left where there was no listener; nobody needs to be told then.
    stop.send_replace(true);
    while loops.join_next().await.is_some() {}
    Ok(())
}

/// What all connections have in common.
struct House {
    context: Context,
    live: Arc<Live>,
    scribe: Scribe,
    security: Arc<Security>,
    health: Arc<Health>,
    limits: Limits,
    stopped: watch::Receiver<bool>,
}

/// The accept loop of one address.
struct Acceptor {
    bound: Bound,
    crowd: Arc<Crowd>,
    house: Arc<House>,
}

/// A connection of any kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A listener of any kind, in the runtime.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(bound: &Bound) -> io::Result<Self> {
        match bound {
            Bound::Tcp(listener) => TcpListener::from_std(listener.try_clone()?).map(Self::Tcp),
            Bound::Unix(listener, _) => UnixListener::from_std(listener.try_clone()?).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Origin)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Box::new(stream), address.into()))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Origin::Local))
            }
        }
    }
}

impl Acceptor {
    async fn run(self) -> Result<(), ExporterError> {
        let listener = Listener::new(&self.bound).map_err(ExporterError::Listener)?;
        let mut connections = JoinSet::new();
        let mut stopped = self.house.stopped.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = told(&mut stopped) => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, origin) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.house.health.closed(Closed::Accept);
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            self.house.health.accepted();
            // Not beside the above: a connection that was taken must not be lost because another one ends.
            let place = tokio::select! {
                () = told(&mut stopped) => break,
                place = self.crowd.enter(origin) => place,
            };
            if let Some(place) = place {
                connections.spawn(connection(stream, place, Arc::clone(&self.house)));
            }
        }
        // The address is free from here on, while answers in flight end.
        drop(listener);
        if let Bound::Unix(_, file) = &self.bound {
            file.remove();
        }
        drop(self.bound);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// Ready once the word to stop was given, or nobody is left to give it.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _: Result<_, watch::error::RecvError> = stopped.wait_for(|stopped| *stopped).await.map(drop);
}

/// One connection, from its handshake to its end.
async fn connection(stream: Box<dyn Stream>, place: Place, house: Arc<House>) {
    let guest = Arc::clone(&place.guest);
    let mut stopped = house.stopped.clone();
    let stream = tokio::select! {
        stream = shake_hands(stream, &guest, &house) => stream,
        () = guest.has_to_leave() => return,
        () = told(&mut stopped) => return,
    };
    if let Some(stream) = stream {
        let stream = Paced::new(stream, guest, Arc::clone(&house.health), house.limits);
        requests(stream, &place.guest, &house).await;
    }
}

/// TLS, where that is asked for. Never plain text instead.
async fn shake_hands(stream: Box<dyn Stream>, guest: &Guest, house: &House) -> Option<Box<dyn Stream>> {
    if guest.origin() == Origin::Local {
        return Some(stream);
    }
    let Some(config) = house.security.tls() else {
        return Some(stream);
    };
    match timeout(house.limits.handshake, TlsAcceptor::from(config).accept(stream)).await {
        Ok(Ok(stream)) => {
            if house.security.knows_clients() {
                guest.is_known();
            }
            Some(Box::new(stream))
        }
        Ok(Err(error)) => {
            house.health.closed(Closed::Handshake);
            tracing::debug!(%error, "no TLS");
            None
        }
        Err(_) => {
            house.health.closed(Closed::HandshakeTimeout);
            None
        }
    }
}

/// All requests of a connection.
async fn requests(stream: Paced<Box<dyn Stream>>, guest: &Arc<Guest>, house: &Arc<House>) {
    let visit = Visit {
        guest: Arc::clone(guest),
        security: Arc::clone(&house.security),
        health: Arc::clone(&house.health),
        scribe: house.scribe.clone(),
        context: house.context.clone(),
        live: Arc::clone(&house.live),
    };
    let answers = TowerToHyperService::new(warp::service(routes::filter(visit)));
    let service = service_fn(|request| {
        let answering = Answering::begin(guest);
        let answer = answers.call(request);
        async move {
            let response = answer.await?;
            if response.headers().get(CONTENT_TYPE) == Some(&crate::live::EVENTS) {
                answering.streams();
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| Watched {
                body,
                _answering: answering,
            }))
        }
    });
    let limits = house.limits;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut stopped = house.stopped.clone();
    let silent = async {
        sleep(limits.arrival).await;
        if guest.has_asked() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = guest.has_to_leave() => return,
        () = silent => return house.health.closed(Closed::Silent),
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
        if error.is_timeout() {
            house.health.closed(Closed::HeadTimeout);
        } else if error.is_parse() {
            house.health.closed(Closed::Protocol);
        }
        tracing::debug!(%error, "connection ended");
    }
}
