//! Sockets that one link alone carries, for name servers.
//!
//! A name server may have a link-local address, which stands for another machine on each link; and while several
//! links are tried, each has to ask its own servers over itself.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{
    DnsUdpSocket, RuntimeProvider, TokioHandle, TokioRuntimeProvider, TokioTime,
};
use tokio::io::ReadBuf;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use sealboot_core::format::network::InterfaceName;

/// The longest that a name server may take to accept a connection; that of hickory-resolver's own sockets.
const CONNECT: Duration = Duration::from_secs(5);

/// A maker of sockets on one link, or on whichever the kernel chooses.
#[derive(Clone, Default)]
pub(super) struct OnLink {
    tokio: TokioRuntimeProvider,
    link: Option<InterfaceName>,
}

impl OnLink {
    pub(super) fn over(link: InterfaceName) -> Self {
        Self {
            tokio: TokioRuntimeProvider::default(),
            link: Some(link),
        }
    }

    /// Connects to `address` over the link.
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.bind_device(self.name())?;
        socket.connect(address).await
    }

    fn name(&self) -> Option<&[u8]> {
        self.link.as_ref().map(|link| link.as_str().as_bytes())
    }
}

impl RuntimeProvider for OnLink {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = LinkUdp;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let maker = self.clone();
        Box::pin(async move {
            let connected = timeout(limit.unwrap_or(CONNECT), maker.connect(server)).await;
            let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            stream.set_nodelay(true)?;
            Ok(AsyncIoTokioAsStd(stream))
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        _: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        let maker = self.clone();
        Box::pin(async move {
            let socket = UdpSocket::bind(local).await?;
            socket.bind_device(maker.name())?;
            Ok(LinkUdp(socket))
        })
    }
}

/// A datagram socket of one link.
///
/// What comes from a link-local address has the link's number beside it. The question was sent without, since the
/// socket has one link anyway, and hickory-resolver takes an answer from the address that it asked and no other.
pub(super) struct LinkUdp(UdpSocket);

impl DnsUdpSocket for LinkUdp {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        let mut from = ready!(self.0.poll_recv_from(context, &mut buffer))?;
        if let SocketAddr::V6(from) = &mut from {
            from.set_scope_id(0);
        }
        Poll::Ready(Ok((buffer.filled().len(), from)))
    }

    fn poll_send_to(
        &self,
        context: &mut Context<'_>,
        message: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(context, message, to)
    }
}
