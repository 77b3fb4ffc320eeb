//! Names to addresses, by the name servers of this connection and no others.
//!
//! Without NSS, `/etc/resolv.conf` and `/etc/hosts`, and without the public servers that resolver
//! libraries fall back to: a machine that boots asks whom its network or its host config names. What
//! they answer is not trusted; TLS decides whether the right mirror was reached.
//!
//! Of a name with several addresses, reqwest is given the one that wins the race for a connection
//! (`net::race`). It names the host alone to its resolver, so the port comes another way: whoever
//! sends a request does so inside of [`to_port`].

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name as DnsName, RecordType};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::on_link::OnLink;
use super::race::{Answer, Contest, Family, LIMIT, Lost, TriedAddress};
use sealboot_core::failure::{Diagnose, FailureCode};
use sealboot_core::format::network::{DomainName, InterfaceName};

type Inner = hickory_resolver::Resolver<OnLink>;

/// How long one question waits for its answer. A server on the way to the root takes less than a
/// second even where it has to ask others; a lost datagram should not cost more.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often a silent server is asked again.
const REPEATS: usize = 2;

tokio::task_local! {
    /// Where the request goes that this task is polling.
    static PORT: u16;
}

/// Sends `request`; for a connection that it needs, the addresses of its host are raced at `port`.
///
/// Outside of this, reqwest is given all addresses and tries them in its own way. The request has to
/// resolve names in the task that polls it, as reqwest's do: hyper-util asks when it first polls a
/// new connection.
pub async fn to_port<F: Future>(port: u16, request: F) -> F::Output {
    PORT.scope(port, request).await
}

/// A resolver for [`reqwest::ClientBuilder::dns_resolver`].
///
/// It asks for IPv6 and IPv4 addresses at the same time, and waits for neither once it has the other:
/// RFC 8305, as `net::race` has it.
#[derive(Clone)]
pub struct Resolver {
    servers: Vec<IpAddr>,
    search: Vec<DomainName>,
    inner: Result<Inner, NetError>,
    limit: Duration,
}

/// A name that leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is nobody to ask.
    #[error("the name {host} cannot be resolved: this connection has no name server")]
    NoServers {
        /// The name.
        host: String,
    },
    /// The servers say that there is no such name, or that it has no address.
    #[error(
        "the name {host} has no address, say the name servers {}",
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
        source: Box<NetError>,
    },
    /// The name has addresses, and none takes a connection.
    #[error(
        "no address of {host} takes a connection at port {port}: {}{} (name servers {})",
        list(tried),
        unknown(unanswered.as_ref()),
        list(servers)
    )]
    Unreachable {
        /// The name.
        host: String,
        /// The port.
        port: u16,
        /// Who was asked.
        servers: Vec<IpAddr>,
        /// What became of each address, of at most sixteen.
        tried: Vec<TriedAddress>,
        /// The family of which nothing is known.
        unanswered: Option<Family>,
        /// Why nothing is known of it.
        source: Option<Box<NetError>>,
    },
}

impl Diagnose for ResolveError {
    fn code(&self) -> FailureCode {
        match self {
            Self::NoServers { .. } | Self::Unknown { .. } | Self::Failed { .. } => {
                FailureCode::FetchDns
            }
            Self::Unreachable { .. } => FailureCode::FetchConnect,
        }
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
            Self::Unreachable { .. } => self.code().remedy().to_owned(),
        }
    }
}

fn list(items: &[impl ToString]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

fn unknown(family: Option<&Family>) -> String {
    family.map_or_else(String::new, |family| {
        format!("; the question for its {family} addresses has no answer")
    })
}

impl Resolver {
    /// A resolver that asks `servers` alone. The domains of `search` complete names without a dot, one after
    /// the other.
    #[must_use]
    pub fn new(servers: &[IpAddr], search: &[DomainName]) -> Self {
        Self::with_sockets(servers, search, OnLink::default())
    }

    /// The same, with the questions over one link alone.
    #[must_use]
    pub fn over(self, link: InterfaceName) -> Self {
        Self::with_sockets(&self.servers, &self.search, OnLink::over(link))
    }

    fn with_sockets(servers: &[IpAddr], search: &[DomainName], sockets: OnLink) -> Self {
        let configs = servers
            .iter()
            .map(|server| NameServerConfig::udp_and_tcp(*server))
            .collect();
        Self {
            servers: servers.to_vec(),
            search: search.to_vec(),
            inner: build(configs, search, PATIENCE, sockets),
            limit: LIMIT,
        }
    }

    /// The addresses of `host`, at least one, with the families in turn and IPv6 first.
    ///
    /// # Errors
    ///
    /// [`ResolveError`], whose code is `FETCH-DNS`, after 8 seconds at the latest.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let addresses = self.contest(host)?.addresses().await;
        let addresses = addresses.map_err(|lost| self.nothing(host, lost.unanswered))?;
        tracing::debug!(host, ?addresses, "resolved");
        Ok(addresses)
    }

    /// The address of `host` that is the first to take a connection at `port`. The only address of a
    /// host is not tried.
    ///
    /// # Errors
    ///
    /// [`ResolveError`], after 8 seconds at the latest. Its code is `FETCH-CONNECT` where there are
    /// addresses and `FETCH-DNS` where there are none.
    pub async fn race(&self, host: &str, port: u16) -> Result<IpAddr, ResolveError> {
        let winner = self.contest(host)?.winner(port).await;
        let winner = winner.map_err(|lost| self.lost(host, port, lost))?;
        tracing::debug!(host, port, %winner, "resolved");
        Ok(winner)
    }

    fn contest(&self, host: &str) -> Result<Contest, ResolveError> {
        if self.servers.is_empty() {
            return Err(ResolveError::NoServers {
                host: host.to_owned(),
            });
        }
        let name = self.whole(host);
        Ok(Contest::begin(
            ask(self.inner.clone(), name.clone(), RecordType::AAAA),
            ask(self.inner.clone(), name, RecordType::A),
            self.limit,
        ))
    }

    /// The error of a name that has no address.
    fn nothing(&self, host: &str, unanswered: Vec<(Family, NetError)>) -> ResolveError {
        let (host, servers) = (host.to_owned(), self.servers.clone());
        match unanswered.into_iter().next() {
            Some((_, source)) => ResolveError::Failed {
                host,
                servers,
                source: Box::new(source),
            },
            None => ResolveError::Unknown { host, servers },
        }
    }

    fn lost(&self, host: &str, port: u16, lost: Lost) -> ResolveError {
        if lost.tried.is_empty() {
            return self.nothing(host, lost.unanswered);
        }
        let (unanswered, source) = lost.unanswered.into_iter().next().unzip();
        ResolveError::Unreachable {
            host: host.to_owned(),
            port,
            servers: self.servers.clone(),
            tried: lost.tried,
            unanswered,
            source: source.map(Box::new),
        }
    }

    /// The name from its first label to the root, which nothing is appended to; unless there is a domain for it.
    fn whole(&self, host: &str) -> String {
        let host = host.trim_end_matches('.');
        if host.contains('.') || self.search.is_empty() {
            format!("{host}.")
        } else {
            host.to_owned()
        }
    }
}

/// Asks for the addresses of one family, of which there may be none.
async fn ask(resolver: Result<Inner, NetError>, name: String, family: RecordType) -> Answer {
    match resolver?.lookup(name, family).await {
        Ok(answer) => {
            let records = answer.answers().iter();
            let records = records.filter(|record| record.record_type() == family);
            Ok(records.filter_map(|record| record.data.ip_addr()).collect())
        }
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn build(
    servers: Vec<NameServerConfig>,
    search: &[DomainName],
    patience: Duration,
    sockets: OnLink,
) -> Result<Inner, NetError> {
    let mut options = ResolverOpts::default();
    options.timeout = patience;
    options.attempts = REPEATS;
    options.use_hosts_file = ResolveHosts::Never;
    // Some firewalls let only one of the two through.
    options.try_tcp_on_error = true;
    let search = search.iter().filter_map(|domain| {
        let name = DnsName::from_ascii(domain.as_str()).ok();
        name.map(|mut name| {
            name.set_fqdn(true);
            name
        })
    });
    let config = ResolverConfig::from_parts(None, search.collect(), servers);
    Inner::builder_with_config(config, sockets)
        .with_options(options)
        .build()
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        let port = PORT.try_with(|port| *port);
        Box::pin(async move {
            let addresses = match port {
                Ok(port) => vec![resolver.race(name.as_str(), port).await?],
                Err(_) => resolver.lookup(name.as_str()).await?,
            };
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
            .field("search", &self.search)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use hickory_resolver::proto::op::{Message, Query, ResponseCode};
    use hickory_resolver::proto::rr::{RData, Record};
    use hickory_resolver::proto::serialize::binary::{BinDecodable as _, BinEncodable as _};
    use tokio::net::{TcpSocket, UdpSocket};

    use super::*;

    /// What a name server says: the addresses of the family that was asked for, or an error.
    type Said = Result<&'static [&'static str], ResponseCode>;

    /// The zone: `None` is silence.
    fn said(query: &Query) -> Option<Said> {
        let v6 = query.query_type() == RecordType::AAAA;
        match (query.name().to_ascii().as_str(), v6) {
            ("boot.example.", false) => Some(Ok(&["192.0.2.7"])),
            ("both.example.", true) => Some(Ok(&["2001:db8::7", "2001:db8::8"])),
            ("both.example.", false) => Some(Ok(&["192.0.2.7", "192.0.2.7", "192.0.2.8"])),
            ("no-aaaa.example." | "broken-aaaa.example.", false) => {
                Some(Ok(&["192.0.2.7", "192.0.2.8"]))
            }
            ("no-a.example.", true) => Some(Ok(&["2001:db8::7"])),
            ("dead.example." | "half-dead.example.", false) => Some(Ok(&["127.0.0.2"])),
            ("dead.example.", true) => Some(Ok(&["::1"])),
            ("boot.example.", true) | ("empty.example.", _) => Some(Ok(&[])),
            ("silent." | "no-aaaa.example." | "no-a.example." | "half-dead.example.", _) => None,
            ("broken." | "broken-aaaa.example.", _) => Some(Err(ResponseCode::ServFail)),
            _ => Some(Err(ResponseCode::NXDomain)),
        }
    }

    /// A name server on loopback.
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
                match said(&query) {
                    None => continue,
                    Some(Err(code)) => answer.metadata.response_code = code,
                    Some(Ok(addresses)) => {
                        for address in addresses {
                            let address: IpAddr = address.parse().unwrap();
                            let name = query.name().clone();
                            answer.add_answer(Record::from_rdata(name, 60, RData::from(address)));
                        }
                    }
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
        let search: Vec<DomainName> = domain
            .into_iter()
            .map(|name| name.parse().unwrap())
            .collect();
        Resolver {
            servers: vec![server.ip()],
            inner: build(
                vec![config],
                &search,
                Duration::from_millis(100),
                OnLink::default(),
            ),
            search,
            limit: Duration::from_secs(5),
        }
    }

    async fn found(resolver: &Resolver, name: &str) -> Vec<String> {
        let addresses = resolver.lookup(name).await.expect(name);
        addresses.iter().map(IpAddr::to_string).collect()
    }

    #[tokio::test]
    async fn a_name_is_resolved_whole_or_completed_by_the_domain() {
        let server = server().await;
        let plain = resolver(server, None);
        for name in ["boot.example", "boot.example."] {
            assert_eq!(found(&plain, name).await, ["192.0.2.7"]);
        }
        let with_domain = resolver(server, Some("example"));
        for name in ["boot", "boot.example"] {
            assert_eq!(found(&with_domain, name).await, ["192.0.2.7"]);
        }
        let addresses: Vec<SocketAddr> = with_domain
            .resolve("boot".parse().unwrap())
            .await
            .unwrap()
            .collect();
        assert_eq!(addresses, [SocketAddr::from(([192, 0, 2, 7], 0))]);
    }

    #[tokio::test]
    async fn both_families_are_asked_and_neither_waits_for_the_other() {
        let resolver = resolver(server().await, None);
        let mut both = Vec::new();
        while both.len() < 4 {
            // On a busy machine the second answer comes after 50 ms; the next time, both are known.
            both = found(&resolver, "both.example").await;
        }
        assert_eq!(
            both,
            ["2001:db8::7", "192.0.2.7", "2001:db8::8", "192.0.2.8"]
        );
        let v4 = ["192.0.2.7", "192.0.2.8"];
        assert_eq!(found(&resolver, "no-aaaa.example").await, v4);
        assert_eq!(found(&resolver, "broken-aaaa.example").await, v4);
        assert_eq!(found(&resolver, "no-a.example").await, ["2001:db8::7"]);
    }

    #[tokio::test]
    async fn a_race_that_is_lost_names_host_servers_and_each_address() {
        let mut resolver = resolver(server().await, None);
        // Bound and not listening: nobody else gets the port, and it refuses.
        let (_v4, _v6, port) = loop {
            let (v4, v6) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v6().unwrap());
            v4.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            let port = v4.local_addr().unwrap().port();
            if v6.bind((Ipv6Addr::LOCALHOST, port).into()).is_ok() {
                break (v4, v6, port);
            }
        };
        let refused = "Connection refused (os error 111)";
        let name = "dead.example".parse().unwrap();
        let raced = to_port(port, async { resolver.resolve(name).await }).await;
        let error = raced.err().expect("both are refused");
        let error = error.downcast_ref::<ResolveError>().unwrap();
        assert_eq!(error.code(), FailureCode::FetchConnect);
        assert_eq!(
            error.to_string(),
            format!(
                "no address of dead.example takes a connection at port {port}: ::1: {refused}, 127.0.0.2: {refused} (name servers 127.0.0.1)"
            )
        );

        resolver.limit = Duration::from_millis(500);
        let error = resolver.race("half-dead.example", port).await;
        let error = error.expect_err("one is refused, the other is not known");
        assert_eq!(error.code(), FailureCode::FetchConnect);
        assert_eq!(
            error.to_string(),
            format!(
                "no address of half-dead.example takes a connection at port {port}: 127.0.0.2: {refused}; the question for its IPv6 addresses has no answer (name servers 127.0.0.1)"
            )
        );
    }

    #[tokio::test]
    async fn an_unknown_name_is_not_completed_and_says_who_was_asked() {
        let resolver = resolver(server().await, Some("example"));
        for name in ["bot", "boot.example.other", "empty.example"] {
            for error in [
                resolver.lookup(name).await.expect_err(name),
                resolver.race(name, 443).await.expect_err(name),
            ] {
                assert!(matches!(error, ResolveError::Unknown { .. }), "{error:?}");
                assert_eq!(error.code(), FailureCode::FetchDns);
                assert_eq!(
                    error.to_string(),
                    format!("the name {name} has no address, say the name servers 127.0.0.1")
                );
            }
        }
    }

    #[tokio::test]
    async fn servers_that_do_not_answer_are_named_within_bounds() {
        let mut resolver = resolver(server().await, None);
        for limit in [Duration::from_secs(5), Duration::from_millis(50)] {
            resolver.limit = limit;
            for name in ["silent", "broken"] {
                let error = resolver.race(name, 443).await.expect_err(name);
                assert!(matches!(error, ResolveError::Failed { .. }), "{error:?}");
                assert_eq!(error.code(), FailureCode::FetchDns);
                assert!(error.hint().contains("127.0.0.1"), "{}", error.hint());
            }
        }
    }

    #[tokio::test]
    async fn without_servers_nobody_is_asked_and_the_name_is_named() {
        let resolver = Resolver::new(&[], &["example".parse().unwrap()]);
        let error = resolver.lookup("boot.example").await.expect_err("nobody");
        assert!(matches!(error, ResolveError::NoServers { .. }), "{error:?}");
        assert_eq!(error.code(), FailureCode::FetchDns);
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
