//! Three mirrors against one, where the links to them are what is slow.
//!
//! Every mirror stands behind a relay of its own that lets only so many bytes through in a second, as a
//! link does, however many connections share it. A relay is a few lines, needs no root, and works where
//! the kernel has no `tbf`; it adds no delay and loses nothing.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark whose set-up fails measures nothing"
)]

mod contest;
mod images;
mod report;

use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use contest::{Spread, Usage, rounds};
use images::{Bench, PLAIN};
use report::{Report, Table, Target};
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};

/// Bytes a second: 200 Mbit/s, of which three together are still far from what a core decrypts.
const LINK: f64 = 25e6;

/// What a link may be behind its rate, and then catch up: a timer that comes late must not cost any.
const BURST: Duration = Duration::from_millis(10);

/// Large enough that the handshake and the slow end weigh little: eight seconds over one link.
const SIZE: u64 = 200_000_000;

const ROUNDS: usize = 5;

const GAIN: Target = Target::AtLeast(2.5);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut report = Report::begin("mirrors");
    let bench = Bench::build().await;
    let image = bench.image(PLAIN, SIZE);
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(bench.desk.serve(&image.store).await);
    }
    let links: Vec<String> = servers
        .iter()
        .map(|server| behind_link(&server.url))
        .collect();

    let received = std::cell::Cell::new(0);
    let fetch = |mirrors: usize| {
        let (usage, bytes) = bench.fetch(&links[..mirrors]);
        received.set(bytes);
        usage
    };
    let mut contestants: Vec<Box<dyn FnMut() -> Usage + '_>> =
        vec![Box::new(|| fetch(1)), Box::new(|| fetch(3))];
    let rounds = rounds(ROUNDS, &mut contestants);
    drop(contestants);

    let stored = bytes_as_f64(image.stored);
    let gain = Spread::of(&rounds, |round| round[0].wall / round[1].wall);
    let mut table = Table::new(&[
        "mirrors",
        "time",
        "rate",
        "share of the links",
        "gain, target ≥ 2.5",
    ]);
    for (at, mirrors) in [(0, 1.0), (1, 3.0)] {
        let wall = Spread::of(&rounds, |round| round[at].wall).middle;
        let rate = stored / wall;
        table.row(&[
            format!("{mirrors}"),
            format!("{wall:.2} s"),
            format!("{:.1} MB/s", rate / 1e6),
            format!("{:.0} %", 100.0 * rate / (mirrors * LINK)),
            match at {
                0 => String::new(),
                _ => GAIN.judge(gain.middle, &gain.to_string()),
            },
        ]);
    }
    report.add(&format!(
        "An image of {:.0} MB, each mirror behind a link of {:.0} MB/s. With three, {:.2} × its bytes were received.",
        stored / 1e6,
        LINK / 1e6,
        bytes_as_f64(received.get()) / stored,
    ));
    report.add(&table.into_text());
    report.write();
}

/// The URL of a relay to this server, in a thread that ends with the benchmark.
fn behind_link(url: &str) -> String {
    let server = url
        .strip_prefix("https://")
        .and_then(|rest| rest.strip_suffix('/'))
        .unwrap()
        .to_owned();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let link = Rc::new(Mutex::new(Instant::now()));
            loop {
                let (client, _) = listener.accept().await.unwrap();
                spawn_local(relay(client, server.clone(), Rc::clone(&link)));
            }
        });
    });
    format!("https://{}/", receiver.recv().unwrap())
}

/// Passes requests on at once, and answers as the link lets them.
async fn relay(client: TcpStream, server: String, link: Rc<Mutex<Instant>>) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut requests, to_client) = client.into_split();
    let (answers, mut to_server) = server.into_split();
    let answering = spawn_local(pace(answers, to_client, link));
    // Either side may hang up at any time, as the loader does when it has all.
    let _ = io::copy(&mut requests, &mut to_server).await;
    answering.abort();
    Ok(())
}

/// `link` is when the last byte that was let through has left it.
async fn pace(
    mut answers: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    link: Rc<Mutex<Instant>>,
) -> io::Result<()> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        let read = answers.read(&mut buffer).await?;
        if read == 0 {
            return client.shutdown().await;
        }
        let takes = Duration::from_secs_f64(bytes_as_f64(read as u64) / LINK);
        let leaves = {
            let mut free = link.lock().await;
            *free = (*free).max(Instant::now() - BURST) + takes;
            *free
        };
        sleep_until(leaves).await;
        client.write_all(&buffer[..read]).await?;
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
fn bytes_as_f64(bytes: u64) -> f64 {
    bytes as f64
}
