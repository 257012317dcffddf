//! Our own MQTT front: devices connect here and publish under their own identity.
//!
//! Invariant: identity before bytes. Nothing of a connection is decoded beyond its CONNECT before that is admitted, and
//! every refusal and every end of a connection is counted by reason. Plain TCP only; TLS comes with its own listener.

pub(crate) mod connect;
mod connection;
pub(crate) mod control;
pub(crate) mod frame;
mod limits;
pub(crate) mod publish;
#[cfg(test)]
mod publish_tests;
pub(crate) mod sessions;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use yiwang_core::record::{Lane, Raw};
use yiwang_log::Batch;

use self::connect::ConnectRefused;
use self::connection::{Agreed, Connection};
use self::control::Closed;
use self::frame::{Split, kind};
use self::limits::{Addresses, Connects, Place};
use self::sessions::Sessions;
use crate::config::RawListen;
use crate::directory::Directory;
use crate::intake::Intake;
use crate::ledger::Row;
use crate::stats::Stats;
use crate::{Error, record};

/// Connections that the system keeps for us while we are busy.
const BACKLOG: u32 = 4_096;
/// How long we listen to a device that we said goodbye to, so that it can read that.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it we listen to.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What all connections of a listener share.
pub(crate) struct Shared {
    pub(crate) listen: RawListen,
    pub(crate) intake: Arc<Intake>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) directory: Arc<ArcSwap<Directory>>,
    addresses: Arc<Addresses>,
    connects: Connects,
    handshakes: Semaphore,
    connections: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(
        listen: RawListen,
        intake: Arc<Intake>,
        stats: Arc<Stats>,
        directory: Arc<ArcSwap<Directory>>,
    ) -> Self {
        let addresses = Addresses::new(
            listen.connections_per_address_max,
            listen.new_connections_per_second_max,
        );
        let off_for = Duration::from_secs(listen.connects_off_s);
        Self {
            addresses: Arc::new(addresses),
            connects: Connects::new(listen.connects_per_minute_max, off_for),
            handshakes: Semaphore::new(listen.handshakes_max),
            connections: Arc::new(Semaphore::new(listen.connections_max)),
            sessions: Arc::default(),
            listen,
            intake,
            stats,
            directory,
        }
    }

    /// Forgets addresses and devices that have been quiet.
    pub(crate) fn prune(&self) {
        let now = std::time::Instant::now();
        self.addresses.prune(now);
        self.connects.prune(now);
    }

    /// Whether there is room for a device that proved who it is.
    fn room(&self, admitted: &connect::Admitted, placed: bool) -> Result<(), ConnectRefused> {
        let device = admitted.identity.device();
        if !self.connects.admit(device, std::time::Instant::now()) {
            return Err(ConnectRefused::TooOften);
        }
        if !placed {
            return Err(ConnectRefused::Quota);
        }
        if self.intake.is_waiting() { Err(ConnectRefused::Busy) } else { Ok(()) }
    }

    /// Puts one message into a batch.
    fn push(&self, batch: &mut Batch, key_hash: u64, raw: &Raw<'_>) {
        let key = record::Key::hashed(raw.device, key_hash);
        record::push(batch, self.intake.raw, key, raw);
    }

    /// Counts the messages of a pass, of which `records` are on their way into the log.
    fn count(&self, pass: &Row, records: u64) {
        self.intake.ledger.update(Lane::Listen, |row| {
            row.received += pass.received;
            row.received_bytes += pass.received_bytes;
            for (total, count) in row.refused.iter_mut().zip(pass.refused) {
                *total += count;
            }
            row.in_flight += records;
        });
    }
}

/// Binds a listener's port.
pub(crate) fn bind(listen: &RawListen) -> Result<TcpListener, Error> {
    let address = listen.address;
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source: io::Error| Error::Bind {
        listener: listen.name.clone(),
        address,
        remedy: match source.kind() {
            io::ErrorKind::AddrInUse => "the port is in use, stop the program that holds it",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege",
            _ => "see the cause",
        },
        source,
    })
}

/// Accepts connections until stopped, then ends them all, each after what it appended is safe.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = shared.addresses.admit(peer.ip(), std::time::Instant::now())
                else {
                    shared.stats.refused(ConnectRefused::Address);
                    continue;
                };
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                tasks.spawn(async move { connection(stream, peer, place, &shared, &stop).await });
            }
            Err(error) => {
                // Out of descriptors: those that close make room.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    shared.sessions.end_all(Closed::Shutdown);
    tasks.close();
    tasks.wait().await;
}

/// One connection from accept to close.
async fn connection(
    mut stream: TcpStream,
    peer: SocketAddr,
    _place: Place,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let permit = Arc::clone(&shared.connections).try_acquire_owned().ok();
    let hello = {
        let Ok(_handshake) = shared.handshakes.try_acquire() else {
            shared.stats.refused(ConnectRefused::Handshakes);
            return;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            hello = hello(&mut stream, shared) => hello,
        }
    };
    let (version, buffer, judged) = hello;
    let judged = judged.and_then(|accepted| {
        shared.room(&accepted.1, permit.is_some())?;
        Ok(accepted)
    });
    let limit = Duration::from_millis(shared.listen.write_timeout_ms);
    let (connect, admitted) = match judged {
        Ok(accepted) => accepted,
        Err(refused) => {
            shared.stats.refused(refused);
            let answer = connect::refusal(version, refused);
            let _ = timeout(limit, stream.write_all(&answer)).await;
            linger(stream, Closed::Protocol).await;
            return;
        }
    };
    // The older session ends before the newer one is told that it stands.
    let lease =
        shared.sessions.enter(admitted.identity.device(), admitted.seal.clone(), admitted.place);
    if lease.took_over {
        shared.stats.took_over();
    }
    shared.sessions.revoke_one(admitted.identity.device(), &shared.directory.load());
    if stop.is_cancelled() {
        lease.kick.end(Closed::Shutdown);
    }
    let answer = connect::acceptance(&connect, &admitted, &shared.listen);
    if !matches!(timeout(limit, stream.write_all(&answer)).await, Ok(Ok(()))) {
        shared.stats.closed(Closed::Gone);
        return;
    }
    let agreed = Agreed {
        place: admitted.place,
        version,
        silence_max: shared.listen.silence_max(connect.keep_alive_s),
        packet_bytes_max: admitted.packet_bytes_max,
        peer_packet_bytes_max: connect.peer_packet_bytes_max,
        quota: admitted.quota,
        share: admitted.share,
        will: admitted.will,
        identity: admitted.identity,
        peer: peer.to_string(),
        buffer,
    };
    shared.stats.opened();
    let closed = Connection::new(Arc::clone(shared), stream, lease, agreed).run().await;
    shared.stats.closed(closed);
}

type Judged = Result<(connect::Connect, connect::Admitted), ConnectRefused>;

/// Reads and judges the CONNECT, within its time.
async fn hello(stream: &mut TcpStream, shared: &Shared) -> (publish::Version, BytesMut, Judged) {
    let limit = Duration::from_millis(shared.listen.connect_timeout_ms);
    let mut buffer = BytesMut::new();
    let read = read_connect(stream, &mut buffer, shared.listen.packet_bytes_max);
    let body = match timeout(limit, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(refused)) => return (publish::Version::V3, buffer, Err(refused)),
        Err(_) => return (publish::Version::V3, buffer, Err(ConnectRefused::NoConnect)),
    };
    let version = connect::version(&body);
    let judged = connect::read(&body).and_then(|connect| {
        let admitted = connect::judge(&connect, &shared.directory.load(), &shared.listen)?;
        Ok((connect, admitted))
    });
    (version, buffer, judged)
}

/// Reads up to the end of the CONNECT; what came behind it stays in the buffer.
async fn read_connect(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    packet_bytes_max: usize,
) -> Result<BytesMut, ConnectRefused> {
    loop {
        if buffer.first().is_some_and(|first| *first != kind::CONNECT << 4) {
            return Err(ConnectRefused::Malformed);
        }
        match frame::split(buffer, packet_bytes_max) {
            Split::Frame(frame) => {
                let mut whole = buffer.split_to(frame.body.end);
                return Ok(whole.split_off(frame.body.start));
            }
            Split::Incomplete => {}
            Split::TooLarge => return Err(ConnectRefused::TooLarge),
            Split::Malformed => return Err(ConnectRefused::Malformed),
        }
        buffer.reserve(512);
        match stream.read_buf(buffer).await {
            Ok(0) | Err(_) => return Err(ConnectRefused::NoConnect),
            Ok(_) => {}
        }
    }
}

/// Closes a connection so that our last word is not lost to a reset: what still comes in is read and dropped.
async fn linger(mut stream: TcpStream, closed: Closed) {
    if matches!(closed, Closed::Gone | Closed::Disconnect | Closed::NotReading) {
        return;
    }
    let rest = async {
        stream.shutdown().await?;
        let (mut dropped, mut sink) = (0, vec![0; 16 * 1024]);
        while dropped < LINGER_BYTES_MAX {
            match stream.read(&mut sink).await? {
                0 => break,
                count => dropped += count,
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, rest).await;
}
