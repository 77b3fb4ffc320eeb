//! Whether a mirror can be reached over one link.
//!
//! With several links and families, getting an address says little: a management network has a DHCP server too. So
//! each that has an address connects to the mirrors, over its own link alone, and the first that succeeds wins.
//! What a mirror says is for later stages.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::on_link::OnLink;
use super::resolver::Resolver;
use super::settings::Settings;
use sealboot_core::format::host_config::MirrorTemplate;
use sealboot_core::format::network::InterfaceName;

/// How long one mirror may take to be found and to take a connection; the resolver gives up after 8 s.
const LIMIT: Duration = Duration::from_secs(10);

/// Addresses of one mirror that are tried at once; as many as `race` tries.
const ADDRESSES: usize = 16;

/// Whether one of `mirrors` takes a connection over `link`, to which `settings` belong; the words are for the console.
pub(super) async fn any(
    mirrors: &[MirrorTemplate],
    link: &InterfaceName,
    settings: &Settings,
) -> Result<(), String> {
    let resolver = Resolver::new(&settings.nameservers, &settings.search).over(link.clone());
    let mut asking = JoinSet::new();
    for mirror in mirrors {
        asking.spawn(reach(mirror.clone(), link.clone(), resolver.clone()));
    }
    let mut failures = Vec::new();
    while let Some(ended) = asking.join_next().await {
        match ended {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failure)) => failures.push(failure),
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }
    Err(failures.join("; "))
}

async fn reach(
    mirror: MirrorTemplate,
    link: InterfaceName,
    resolver: Resolver,
) -> Result<(), String> {
    let url = mirror.origin();
    let failed = |what: &dyn std::fmt::Display| format!("{mirror}: {what}");
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(failed(&"it names no host"));
    };
    let connect = async {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        let addresses = match literal {
            Ok(address) => vec![address],
            Err(_) => (resolver.lookup(host).await).map_err(|error| failed(&error))?,
        };
        let mut connecting = JoinSet::new();
        for address in addresses.into_iter().take(ADDRESSES) {
            let (sockets, address) = (OnLink::over(link.clone()), SocketAddr::new(address, port));
            connecting.spawn(async move { sockets.connect(address).await.map(drop) });
        }
        let mut last = None;
        while let Some(ended) = connecting.join_next().await {
            match ended {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = Some(error),
                Err(ended) => std::panic::resume_unwind(ended.into_panic()),
            }
        }
        Err(failed(&last.map_or_else(
            || "no address".to_owned(),
            |error| error.to_string(),
        )))
    };
    match timeout(LIMIT, connect).await {
        Ok(result) => result,
        Err(_) => Err(failed(&"no answer")),
    }
}
