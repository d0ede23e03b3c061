// SPDX-License-Identifier: Apache-2.0
//! A connection whose other side has to take what it is sent. hyper bounds the time for a request and none for an answer: whoever
//! asks for a page and does not read it would keep its place, and the page, for as long as it likes.

use super::Limits;
use super::crowd::Guest;
use crate::security::health::{Closed, Health};
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};
use warp::hyper::body::{Body, Frame, SizeHint};

/// See the module's head.
pub(super) struct Paced<S> {
    inner: S,
    guest: Arc<Guest>,
    health: Arc<Health>,
    limits: Limits,
    /// Runs while the other side takes nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S, guest: Arc<Guest>, health: Arc<Health>, limits: Limits) -> Self {
        Self {
            inner,
            guest,
            health,
            limits,
            timer: None,
        }
    }

    /// Looks at what a write came to; ends the connection where the other side has taken nothing for too long.
    fn pace<T>(&mut self, came: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if came.is_ready() {
            if self.timer.take().is_some() {
                self.guest.takes();
            }
            return came;
        }
        let until = self.guest.blocks(&self.limits);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        match timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.health.closed(Closed::AnswerTimeout);
                Poll::Ready(Err(ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let paced = self.get_mut();
        let came = Pin::new(&mut paced.inner).poll_write(cx, bytes);
        paced.pace(came, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let paced = self.get_mut();
        let came = Pin::new(&mut paced.inner).poll_write_vectored(cx, pieces);
        paced.pace(came, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        let came = Pin::new(&mut paced.inner).poll_flush(cx);
        paced.pace(came, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        let came = Pin::new(&mut paced.inner).poll_shutdown(cx);
        paced.pace(came, cx)
    }
}

/// Says when an answer has ended, or will not come any more.
pub(super) struct Answering(Arc<Guest>);

impl Answering {
    pub(super) fn begin(guest: &Arc<Guest>) -> Self {
        guest.asks();
        Self(Arc::clone(guest))
    }

    pub(super) fn streams(&self) {
        self.0.streams();
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.rests();
    }
}

/// A body, and what is to be dropped with it.
pub(super) struct Watched<B> {
    pub(super) body: B,
    pub(super) _answering: Answering,
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
