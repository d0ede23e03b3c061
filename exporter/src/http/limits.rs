// SPDX-License-Identifier: Apache-2.0
//! Bounds on connections. Each has its reason beside its default.

use std::time::Duration;

/// See the module's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at once, over all addresses of the network.
    pub(super) places: usize,
    /// Connections at once, over all socket files.
    pub(super) local_places: usize,
    /// Time for a handshake of TLS.
    pub(super) handshake: Duration,
    /// Time from the beginning of a connection to its first whole request's head.
    pub(super) arrival: Duration,
    /// Time for a request's head, also between two requests of one connection.
    pub(super) head: Duration,
    /// Time for which an answer may be taken by nobody.
    pub(super) stall: Duration,
    /// Time in which an answer that ends has to be taken.
    pub(super) answer: Duration,
    /// How long a connection may do nothing before it may be asked to make room for another.
    pub(super) rest: Duration,
    /// The same for one that does not take its answer.
    pub(super) stuck: Duration,
    /// The same for one that takes its answer slowly.
    pub(super) slow: Duration,
    /// Age at which a connection is asked to end after its current answer.
    pub(super) age: Duration,
    /// Time that an answer in flight gets once its connection is asked to end.
    pub(super) grace: Duration,
    /// How often the files of the rules are looked at.
    pub(super) look: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            // Some Prometheus servers, the kubelet's probes, people: a few dozen. A quarter of the 1,024 descriptors that a
            // process usually may have; with TLS some 64 KiB each at the worst.
            places: 256,
            // Of their own: whoever is on this machine gets in while the network is full.
            local_places: 32,
            // Milliseconds on a slow path.
            handshake: seconds(5),
            // A client connects because it has something to ask.
            arrival: seconds(10),
            // Longer than the usual scrape intervals (15 to 60 s), so that scrapers keep their connection.
            head: seconds(90),
            // Prometheus gives up after 10 s (scrape_timeout).
            stall: seconds(15),
            // It bounds how many old pages slow readers hold on to: those of this time.
            answer: seconds(30),
            // A request follows its connection within a round trip.
            rest: seconds(1),
            stuck: seconds(5),
            slow: seconds(10),
            age: seconds(600),
            grace: seconds(1),
            // With a change taken when it was seen twice, a new certificate is served after two to three seconds.
            look: seconds(1),
        }
    }
}
