//! A TCP proxy that takes a server away and gives it back while both sides go on running.
//!
//! Faults are switched at run time: refuse everybody, or keep connections open and carry nothing. It never changes or
//! drops a byte of a connection that goes on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes carried at once.
const CHUNK_BYTES: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Carrying,
    Refusing,
    Silent,
    Ended,
}

/// A proxy on loopback; it ends with this value.
#[derive(Debug)]
pub struct Proxy {
    here: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    inner: Mutex<Inner>,
    switched: Condvar,
    /// Bytes that the server was given.
    carried: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Both ends of every connection that was carried since the last cut.
    streams: Vec<TcpStream>,
}

impl Proxy {
    /// A proxy on a free port.
    ///
    /// # Errors
    /// If there is none, or the server's address is no address.
    pub fn before(server: &str) -> Result<Self, String> {
        Self::at("127.0.0.1:0", server)
    }

    /// A proxy on this address.
    ///
    /// # Errors
    /// If it is taken, or an address is none.
    pub fn at(here: &str, server: &str) -> Result<Self, String> {
        let server = server.parse().map_err(|error| format!("{server}: {error}"))?;
        let listener = TcpListener::bind(here).map_err(|error| format!("{here}: {error}"))?;
        let here = listener.local_addr().map_err(|error| error.to_string())?;
        let inner = Mutex::new(Inner { state: State::Carrying, streams: Vec::new() });
        let (switched, carried) = (Condvar::new(), AtomicU64::new(0));
        let shared = Arc::new(Shared { server, inner, switched, carried });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { here, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.here
    }

    /// Bytes that the server was given so far.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Ordering::Relaxed)
    }

    /// The server is gone: connections are cut, new ones are closed at once.
    pub fn refuse(&self) {
        self.shared.switch(State::Refusing);
    }

    /// The network is gone: connections stay open, nothing is carried and nothing is answered.
    pub fn silence(&self) {
        self.shared.switch(State::Silent);
    }

    /// Everything is as it was.
    pub fn restore(&self) {
        self.shared.switch(State::Carrying);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.switch(State::Ended);
        // The accepting thread looks at the state when somebody connects.
        let _ = TcpStream::connect(self.here);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switch(&self, state: State) {
        let mut inner = self.lock();
        inner.state = state;
        if matches!(state, State::Refusing | State::Ended) {
            for stream in inner.streams.drain(..) {
                // It may be closed already, which is what is wanted.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.switched.notify_all();
    }

    /// Waits while the network is silent; false if the server is not to be reached.
    fn is_carrying(&self) -> bool {
        let inner = self.lock();
        let waited = self.switched.wait_while(inner, |inner| inner.state == State::Silent);
        waited.unwrap_or_else(PoisonError::into_inner).state == State::Carrying
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming().map_while(Result::ok) {
        if shared.lock().state == State::Ended {
            return;
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || carry_both(client, &shared));
    }
}

/// A connection that fails is closed: the two sides see what they would see of a real network.
fn carry_both(client: TcpStream, shared: &Arc<Shared>) {
    if !shared.is_carrying() {
        return;
    }
    let Ok(server) = TcpStream::connect(shared.server) else { return };
    let pair = || -> io::Result<[TcpStream; 4]> {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        Ok([client.try_clone()?, server.try_clone()?, client.try_clone()?, server.try_clone()?])
    };
    let Ok([up_from, up_to, kept_client, kept_server]) = pair() else { return };
    shared.lock().streams.extend([kept_client, kept_server]);
    let other = Arc::clone(shared);
    std::thread::spawn(move || carry(up_from, up_to, &other, &other.carried));
    carry(server, client, shared, &AtomicU64::new(0));
}

fn carry(mut from: TcpStream, mut to: TcpStream, shared: &Shared, carried: &AtomicU64) {
    let mut bytes = vec![0; CHUNK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if !shared.is_carrying() || to.write_all(&bytes[..length]).is_err() {
            break;
        }
        carried.fetch_add(length as u64, Ordering::Relaxed);
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
