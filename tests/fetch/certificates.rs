//! Who is taken for a mirror at all.

use sealboot::failure::FailureCode;
use sealboot::format::manifest::Encoding;
use tokio::net::TcpListener;

use crate::Boot;
use crate::lab::archives::image;
use crate::server::{Authority, Certificate, Fault, Server};

#[tokio::test]
async fn a_mirror_that_is_not_there_is_said_to_be() {
    let (_, _, manifest) = image(Encoding::None);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
    let boot = Boot::from(&Authority::new(), &[url], &manifest).await;
    assert_eq!(boot.code(), FailureCode::FetchConnect);
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_has_its_own_code() {
    let (_, stored, manifest) = image(Encoding::None);
    for (certificate, code) in [
        (Certificate::Expired, FailureCode::FetchTlsClock),
        (Certificate::NotYet, FailureCode::FetchTlsClock),
        (Certificate::OtherHost, FailureCode::FetchTls),
        (Certificate::Tls12, FailureCode::FetchTls),
        (Certificate::SelfSigned, FailureCode::FetchTlsRoots),
    ] {
        let authority = Authority::new();
        let server = Server::start(&authority, certificate, Fault::None, stored.clone()).await;
        let boot = Boot::from(&authority, &[server.url()], &manifest).await;
        assert_eq!(boot.code(), code);
        assert_eq!(server.asked(), 0, "nothing was asked for");
    }
    let server = Server::start(&Authority::new(), Certificate::Good, Fault::None, stored).await;
    let boot = Boot::from(&Authority::new(), &[server.url()], &manifest).await;
    assert_eq!(boot.code(), FailureCode::FetchTlsRoots);
}
