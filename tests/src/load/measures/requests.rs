//! Latencies of single requests on kept connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::http::{Connection, Request};
use crate::wait::pause;

/// Sends one request again and again on one connection; how long each took. Panics unless every answer has `status`.
pub fn repeat(client: &Client, request: &Request, times: usize, status: u16) -> Vec<Duration> {
    let mut connection = Connection::open(client.address).expect("the server listens");
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        took.push(timed(&mut connection, request, status));
    }
    took
}

pub fn timed(connection: &mut Connection, request: &Request, status: u16) -> Duration {
    let started = Instant::now();
    let answer = connection.exchange(request).expect("the server answers");
    let took = started.elapsed();
    assert_eq!(answer.status, status, "{}: {}", request.path, answer.text());
    took
}

/// Asks like people and pipelines do while something else is measured, until told to stop; the latencies.
pub fn sample(
    address: SocketAddr,
    requests: &[Request],
    between: Duration,
    stop: &AtomicBool,
) -> Vec<Duration> {
    let mut connection = Connection::open(address).expect("the server listens");
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for request in requests {
            took.push(timed(&mut connection, request, 200));
            pause(between);
        }
    }
    took
}
