//! `sealboot serve`, as an operator runs it.

use std::process::Command;

use support::served::Served;

use crate::lab::Lab;
use crate::store::Store;

/// A server until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    served: Served,
}

impl Server {
    /// Serves the store on a free port, with the certificate that the initramfs trusts.
    pub(crate) async fn start(store: &Store) -> Self {
        Self::start_at(store, 0, "tls").await
    }

    /// Serves the store on `port` with the certificate in `tls`, a directory of the lab or an absolute path.
    pub(crate) async fn start_at(store: &Store, port: u16, tls: &str) -> Self {
        let lab = Lab::get();
        let mut command = Command::new(&lab.sealboot);
        command
            .arg("serve")
            .arg("--store")
            .arg(store.path())
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .arg("--tls-cert")
            .arg(lab.path(&format!("{tls}/server.pem")))
            .arg("--tls-key")
            .arg(lab.path(&format!("{tls}/server.key")));
        let served = Served::start(command).await;
        Self {
            port: served.port(),
            served,
        }
    }

    /// Ends the server as a power cut would.
    pub(crate) async fn kill(self) {
        self.served.kill().await;
    }
}
