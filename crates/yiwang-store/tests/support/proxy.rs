//! A TCP proxy that loses a chosen request or its answer, or refuses everybody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Where the connection is cut, once.
#[derive(Clone, Copy)]
pub enum Cut {
    /// The request with these bytes never arrives.
    Request(&'static [u8]),
    /// It arrives, the answer does not come back.
    AnswerOf(&'static [u8]),
}

/// Switches of a running proxy.
#[derive(Default)]
struct Switches {
    cut: Mutex<Option<Cut>>,
    refuse: AtomicBool,
    refused: Notify,
}

pub struct Proxy(Arc<Switches>);

impl Proxy {
    /// Listens on loopback; gives the url that goes through it.
    pub async fn in_front_of(url: &str) -> (Self, String) {
        let (before, after) = url.split_once('@').expect("user@host");
        let (server, database) = after.split_once('/').expect("host/database");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let switches = Arc::new(Switches::default());
        tokio::spawn(accept(listener, server.to_owned(), switches.clone()));
        (Self(switches), format!("{before}@{here}/{database}"))
    }

    pub fn cut_at(&self, cut: Cut) {
        *self.0.cut.lock().unwrap() = Some(cut);
    }

    pub fn refuse(&self, on: bool) {
        self.0.refuse.store(on, Ordering::SeqCst);
        self.0.refused.notify_waiters();
    }
}

async fn accept(listener: TcpListener, server: String, switches: Arc<Switches>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if switches.refuse.load(Ordering::SeqCst) {
            continue;
        }
        let server = TcpStream::connect(&server).await.unwrap();
        tokio::spawn(carry(client, server, switches.clone()));
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, switches: Arc<Switches>) {
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        // Asked for before the look, so that no switch falls between the two.
        let refused = switches.refused.notified();
        tokio::pin!(refused);
        refused.as_mut().enable();
        if switches.refuse.load(Ordering::SeqCst) {
            return;
        }
        tokio::select! {
            () = refused => return,
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                match hit(&switches, &up[..length]) {
                    Some(Cut::Request(_)) => return,
                    Some(Cut::AnswerOf(_)) => {
                        server.write_all(&up[..length]).await.unwrap();
                        // Wait for the answer, so that the server is surely done, and keep it.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                    None => {}
                }
                if server.write_all(&up[..length]).await.is_err() { return }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&down[..length]).await.is_err() { return }
            }
        }
    }
}

fn hit(switches: &Switches, bytes: &[u8]) -> Option<Cut> {
    let mut cut = switches.cut.lock().unwrap();
    let (Some(Cut::Request(word)) | Some(Cut::AnswerOf(word))) = *cut else { return None };
    if bytes.windows(word.len()).any(|window| window == word) { cut.take() } else { None }
}
