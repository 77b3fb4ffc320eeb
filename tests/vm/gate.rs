//! What stands between a machine and a server: a gate, which can be shut in the middle of a transfer, and a
//! line that is slow for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// Forwards connections to whichever port it is told, and stops after a number of bytes from the server.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) port: u16,
    server: Arc<AtomicU16>,
    passed: watch::Receiver<usize>,
    limit: watch::Sender<usize>,
}

impl Gate {
    /// A gate to the server at `port` that lets `limit` bytes of it through, then holds them back.
    pub(crate) async fn open(port: u16, limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let server = Arc::new(AtomicU16::new(port));
        let (passed_sender, passed) = watch::channel(0);
        let (limit, limit_receiver) = watch::channel(limit);
        let target = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((machine, _)) = listener.accept().await {
                let port = target.load(Ordering::Relaxed);
                let (passed, limit) = (passed_sender.clone(), limit_receiver.clone());
                tokio::spawn(async move {
                    // A connection that breaks is what this is for; both sides then see it.
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                        forward(machine, server, passed, limit).await;
                    }
                });
            }
        });
        Self {
            port: own_port,
            server,
            passed,
            limit,
        }
    }

    /// Waits until the gate holds the server's bytes back.
    pub(crate) async fn shut(&self) {
        let limit = *self.limit.borrow();
        let mut passed = self.passed.clone();
        passed.wait_for(|bytes| *bytes >= limit).await.unwrap();
    }

    /// Bytes of the server that were let through.
    pub(crate) fn passed(&self) -> usize {
        *self.passed.borrow()
    }

    /// Lets everything through from now on, to the server at `port`.
    pub(crate) fn reopen(&self, port: u16) {
        self.server.store(port, Ordering::Relaxed);
        self.limit.send_replace(usize::MAX);
    }
}

async fn forward(
    machine: TcpStream,
    server: TcpStream,
    passed: watch::Sender<usize>,
    mut limit: watch::Receiver<usize>,
) {
    let (mut from_machine, mut to_machine) = machine.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = copy(&mut from_machine, &mut to_server);
    let answers = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if to_machine.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            passed.send_modify(|bytes| *bytes += read);
            if limit
                .wait_for(|limit| *passed.borrow() < *limit)
                .await
                .is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        _ = requests => {}
        () = answers => {}
    }
}

/// A line to a server that is slow until a time.
#[derive(Debug)]
pub(crate) struct Trickle {
    pub(crate) port: u16,
}

impl Trickle {
    /// A line to the server at `port` that carries so many bytes a second from it, until `time` after the
    /// first of them.
    pub(crate) async fn open(port: u16, speed: usize, time: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own_port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut until = None;
            while let Ok((machine, _)) = listener.accept().await {
                let until = *until.get_or_insert_with(|| Instant::now() + time);
                tokio::spawn(async move {
                    // What lies in buffers would come at once when the line is not slow any more.
                    let server = TcpSocket::new_v4().unwrap();
                    server.set_recv_buffer_size(8 << 10).unwrap();
                    let server = server.connect(([127, 0, 0, 1], port).into()).await.unwrap();
                    let (mut from_machine, mut to_machine) = machine.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let requests = copy(&mut from_machine, &mut to_server);
                    let answers = async {
                        let mut buffer = vec![0; speed / 20];
                        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                            if to_machine.write_all(&buffer[..read]).await.is_err() {
                                return;
                            }
                            if Instant::now() < until {
                                sleep(Duration::from_millis(50)).await;
                            }
                        }
                    };
                    tokio::select! {
                        _ = requests => {}
                        () = answers => {}
                    }
                });
            }
        });
        Self { port: own_port }
    }
}
