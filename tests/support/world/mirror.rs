//! Mirrors: the real server over stores of a test's own, and a client that trusts its certificate.

use std::path::Path;

use reqwest::dns::{Name, Resolve, Resolving};
use rustls::RootCertStore;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_init::fetch::Client;
use sealboot_mirror::{Config, Identity, Server};

/// A certificate for loopback, and who trusts it.
#[derive(Debug)]
pub struct Loopback {
    identity: Identity,
    /// Trusts the certificate.
    pub client: Client,
}

/// Resolves no name: mirrors are named by address here.
#[derive(Debug, Clone, Copy)]
pub struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, name: Name) -> Resolving {
        panic!("asked to resolve {}", name.as_str());
    }
}

impl Default for Loopback {
    fn default() -> Self {
        Self::new()
    }
}

impl Loopback {
    /// A new certificate.
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        Self {
            identity: Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap(),
            client: Client::new(roots, NoNames, &sealboot_init::boot::LOADER.heartbeat).unwrap(),
        }
    }

    /// Serves a store for as long as the runtime lives in which this is called.
    pub fn serve(&self, store: &Path) -> MirrorUrl {
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config::new(store, listen, self.identity.clone());
        let server = Server::bind(config).unwrap();
        let url = format!("https://{}/", server.local_addr());
        tokio::spawn(server.run(std::future::pending()));
        url.parse().unwrap()
    }
}
