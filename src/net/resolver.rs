//! Names to addresses, by the name servers of this connection and no others.
//!
//! Without NSS, `/etc/resolv.conf` and `/etc/hosts`, and without the public servers that resolver
//! libraries fall back to: a machine that boots asks whom its network or its host config names. What
//! they answer is not trusted; TLS decides whether the right mirror was reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::failure::{Diagnose, FailureCode};

/// How long one question waits for its answer. A server on the way to the root takes less than a
/// second even where it has to ask others; a lost datagram should not cost more.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a silent server is asked again.
const REPEATS: usize = 2;
/// How long a whole lookup takes at most, all servers, repeats and the change to TCP included.
const LOOKUP: Duration = Duration::from_secs(20);

/// A resolver for [`reqwest::ClientBuilder::dns_resolver`].
///
/// It finds IPv4 addresses, since a connection has no other.
#[derive(Clone)]
pub struct Resolver {
    servers: Vec<IpAddr>,
    domain: Option<String>,
    inner: Result<TokioResolver, NetError>,
    limit: Duration,
}

/// A name that has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is nobody to ask.
    #[error("the name {host} cannot be resolved: this connection has no name server")]
    NoServers {
        /// The name.
        host: String,
    },
    /// The servers say that there is no such name, or that it has no IPv4 address.
    #[error(
        "the name {host} has no IPv4 address, say the name servers {}",
        list(servers)
    )]
    Unknown {
        /// The name.
        host: String,
        /// Who was asked.
        servers: Vec<IpAddr>,
    },
    /// The servers did not say.
    #[error(
        "the name servers {} gave no answer for the name {host}",
        list(servers)
    )]
    Failed {
        /// The name.
        host: String,
        /// Who was asked.
        servers: Vec<IpAddr>,
        /// What went wrong; of several servers, with the last.
        source: NetError,
    },
}

impl Diagnose for ResolveError {
    fn code(&self) -> FailureCode {
        FailureCode::FetchAddress
    }

    fn hint(&self) -> String {
        match self {
            Self::NoServers { host } => format!(
                "add a name server to network.nameservers in the host config or nameserver= on the kernel command line, have the DHCP server send one (option 6), or give the mirror's address in place of {host}"
            ),
            Self::Unknown { host, .. } => {
                format!(
                    "check the spelling of {host} in mirrors of the host config, and that its name servers know it"
                )
            }
            Self::Failed { servers, .. } => format!(
                "check that {} can be reached from this machine and answers on UDP and TCP port 53",
                list(servers)
            ),
        }
    }
}

fn list(servers: &[IpAddr]) -> String {
    let servers: Vec<String> = servers.iter().map(IpAddr::to_string).collect();
    servers.join(", ")
}

impl Resolver {
    /// A resolver that asks `servers` alone. `domain` completes names without a dot.
    #[must_use]
    pub fn new(servers: &[IpAddr], domain: Option<&str>) -> Self {
        let configs = servers
            .iter()
            .map(|server| NameServerConfig::udp_and_tcp(*server))
            .collect();
        Self {
            servers: servers.to_vec(),
            domain: domain.map(str::to_owned),
            inner: build(configs, PATIENCE),
            limit: LOOKUP,
        }
    }

    /// The IPv4 addresses of `host`, at least one.
    ///
    /// # Errors
    ///
    /// [`ResolveError`], whose code is `FETCH-ADDRESS`, after 20 seconds at the latest.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if self.servers.is_empty() {
            return Err(ResolveError::NoServers {
                host: host.to_owned(),
            });
        }
        let addresses = self.ask(&self.whole(host)).await.map_err(|source| {
            let (host, servers) = (host.to_owned(), self.servers.clone());
            if source.is_no_records_found() {
                ResolveError::Unknown { host, servers }
            } else {
                ResolveError::Failed {
                    host,
                    servers,
                    source,
                }
            }
        })?;
        tracing::debug!(host, ?addresses, "resolved");
        Ok(addresses)
    }

    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        let lookup = self.inner.as_ref().map_err(Clone::clone)?.lookup_ip(name);
        let answer = tokio::time::timeout(self.limit, lookup)
            .await
            .unwrap_or(Err(NetError::Timeout))?;
        Ok(answer.iter().collect())
    }

    /// The name from its first label to the root, which nothing is appended to.
    fn whole(&self, host: &str) -> String {
        let host = host.trim_end_matches('.');
        match &self.domain {
            Some(domain) if !host.contains('.') => format!("{host}.{domain}."),
            _ => format!("{host}."),
        }
    }
}

fn build(servers: Vec<NameServerConfig>, patience: Duration) -> Result<TokioResolver, NetError> {
    let mut options = ResolverOpts::default();
    options.timeout = patience;
    options.attempts = REPEATS;
    options.ip_strategy = LookupIpStrategy::Ipv4Only;
    options.use_hosts_file = ResolveHosts::Never;
    // Some firewalls let only one of the two through.
    options.try_tcp_on_error = true;
    TokioResolver::builder_with_config(
        ResolverConfig::from_name_servers(servers),
        TokioRuntimeProvider::default(),
    )
    .with_options(options)
    .build()
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.lookup(name.as_str()).await?;
            // Port 0 stands for that of the URL.
            let addresses = addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("servers", &self.servers)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::{RData, Record};
    use hickory_resolver::proto::serialize::binary::{BinDecodable as _, BinEncodable as _};
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server on loopback that knows one name, and leaves questions for `silent.` unanswered.
    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let question = Message::from_bytes(&buffer[..length]).unwrap();
                let query = question.queries[0].clone();
                let mut answer = Message::response(question.id, question.op_code);
                match query.name().to_ascii().as_str() {
                    "silent." => continue,
                    "boot.example." => {
                        let address = RData::A(std::net::Ipv4Addr::new(192, 0, 2, 7).into());
                        answer.add_answer(Record::from_rdata(query.name().clone(), 60, address));
                    }
                    "broken." => answer.metadata.response_code = ResponseCode::ServFail,
                    _ => answer.metadata.response_code = ResponseCode::NXDomain,
                }
                answer.add_query(query);
                socket
                    .send_to(&answer.to_bytes().unwrap(), from)
                    .await
                    .unwrap();
            }
        });
        address
    }

    fn resolver(server: SocketAddr, domain: Option<&str>) -> Resolver {
        let mut config = NameServerConfig::udp(server.ip());
        config.connections[0].port = server.port();
        Resolver {
            servers: vec![server.ip()],
            domain: domain.map(str::to_owned),
            inner: build(vec![config], Duration::from_millis(100)),
            limit: Duration::from_secs(5),
        }
    }

    #[tokio::test]
    async fn a_name_is_resolved_whole_or_completed_by_the_domain() {
        let server = server().await;
        let expected = [IpAddr::from([192, 0, 2, 7])];
        let plain = resolver(server, None);
        for name in ["boot.example", "boot.example."] {
            assert_eq!(plain.lookup(name).await.unwrap(), expected);
        }
        let with_domain = resolver(server, Some("example"));
        for name in ["boot", "boot.example"] {
            assert_eq!(with_domain.lookup(name).await.unwrap(), expected);
        }
        let addresses: Vec<SocketAddr> = with_domain
            .resolve("boot".parse().unwrap())
            .await
            .unwrap()
            .collect();
        assert_eq!(addresses, [SocketAddr::from(([192, 0, 2, 7], 0))]);
    }

    #[tokio::test]
    async fn an_unknown_name_is_not_completed_and_says_who_was_asked() {
        let resolver = resolver(server().await, Some("example"));
        for name in ["bot", "boot.example.other"] {
            let error = resolver.lookup(name).await.expect_err(name);
            assert!(matches!(error, ResolveError::Unknown { .. }), "{error:?}");
            assert_eq!(error.code(), FailureCode::FetchAddress);
            assert_eq!(
                error.to_string(),
                format!("the name {name} has no IPv4 address, say the name servers 127.0.0.1")
            );
        }
    }

    #[tokio::test]
    async fn servers_that_do_not_answer_are_named_within_bounds() {
        let resolver = resolver(server().await, None);
        let begun = Instant::now();
        for name in ["silent", "broken"] {
            let error = resolver.lookup(name).await.expect_err(name);
            assert!(matches!(error, ResolveError::Failed { .. }), "{error:?}");
            assert_eq!(error.code(), FailureCode::FetchAddress);
            assert!(error.hint().contains("127.0.0.1"), "{}", error.hint());
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn without_servers_nobody_is_asked_and_the_name_is_named() {
        let resolver = Resolver::new(&[], Some("example"));
        let error = resolver.lookup("boot.example").await.expect_err("nobody");
        assert!(matches!(error, ResolveError::NoServers { .. }), "{error:?}");
        assert_eq!(error.code(), FailureCode::FetchAddress);
        assert!(error.to_string().contains("boot.example"), "{error}");
        assert!(error.hint().contains("nameserver="), "{}", error.hint());
    }

    #[tokio::test]
    async fn what_is_no_name_is_refused() {
        let resolver = resolver(server().await, None);
        for name in ["", "a..b", &"a".repeat(300)] {
            assert!(resolver.lookup(name).await.is_err(), "{name}");
        }
    }
}
