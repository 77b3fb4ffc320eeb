//! Channels and policies: small files, read within bounds.

use sealboot_core::failure::{Diagnose as _, FailureCode, Report};
use sealboot_init::boot::LOADER;
use sealboot_init::fetch::Client;

use crate::NoNames;
use crate::server::{Authority, Certificate, Fault, Server};

#[tokio::test]
async fn an_envelope_is_read_up_to_its_limit_and_no_further() {
    let authority = Authority::new();
    let client = Client::new(authority.roots.clone(), NoNames, &LOADER.heartbeat).unwrap();
    let name = "relay".parse().unwrap();
    for (fault, expected) in [
        (Fault::None, Ok(b"{}".to_vec())),
        (Fault::Endless, Err(FailureCode::FetchTooLarge)),
        (
            Fault::Status("404 Not Found", 9),
            Err(FailureCode::FetchStatus),
        ),
        (
            Fault::Status("503 Service Unavailable\r\nRetry-After: 30", 9),
            Err(FailureCode::FetchBusy),
        ),
        (
            Fault::Redirect("http://127.0.0.1/".to_owned()),
            Err(FailureCode::FetchRedirect),
        ),
        (Fault::RedirectLoop, Err(FailureCode::FetchRedirect)),
        (Fault::WebPage, Err(FailureCode::FetchWebPage)),
        (Fault::CutAlways(1), Err(FailureCode::FetchTruncated)),
    ] {
        let server =
            Server::start(&authority, Certificate::Good, fault.clone(), b"{}".to_vec()).await;
        let envelope = client.channel(&server.url(), &name).await;
        assert_eq!(
            envelope.map_err(|error| error.code()),
            expected,
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_mirror_that_is_busy_says_for_how_long() {
    let authority = Authority::new();
    let client = Client::new(authority.roots.clone(), NoNames, &LOADER.heartbeat).unwrap();
    let fault = Fault::Status("429 Too Many Requests\r\nRetry-After: 30", 1);
    let server = Server::start(&authority, Certificate::Good, fault, b"{}".to_vec()).await;
    let name = "relay".parse().unwrap();
    let error = client.channel(&server.url(), &name).await.unwrap_err();
    assert_eq!(error.retry_after().unwrap().as_secs(), 30);
    assert!(
        error
            .to_string()
            .ends_with("asks to be left alone for 30 s"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_server_says_is_cut_to_what_a_console_line_takes() {
    let authority = Authority::new();
    let client = Client::new(authority.roots.clone(), NoNames, &LOADER.heartbeat).unwrap();
    let name = "relay".parse().unwrap();
    let long = "x".repeat(30_000);
    for fault in [
        Fault::Redirect(format!("https://127.0.0.1:1/{long}")),
        Fault::Redirect(format!("http://127.0.0.1:1/{long}")),
    ] {
        let server = Server::start(&authority, Certificate::Good, fault, Vec::new()).await;
        let error = client.channel(&server.url(), &name).await.unwrap_err();
        let said = format!("{:#}", Report(&error));
        assert!(said.len() < 1000, "{} bytes", said.len());
        // Whose mirror it was that sent us on is still said.
        assert!(said.contains(&server.url().to_string()), "{said}");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_to_another_server_without_a_word_about_the_first() {
    let authority = Authority::new();
    let client = Client::new(authority.roots.clone(), NoNames, &LOADER.heartbeat).unwrap();
    let other = Server::start(&authority, Certificate::Good, Fault::None, b"{}".to_vec()).await;
    let to = format!("{}elsewhere/relay.json", other.url());
    let fault = Fault::Redirect(to);
    let server = Server::start(&authority, Certificate::Good, fault, Vec::new()).await;
    let name = "relay".parse().unwrap();
    assert_eq!(client.channel(&server.url(), &name).await.unwrap(), b"{}");
    let [request] = &other.requests()[..] else {
        panic!("one request")
    };
    let port = server.address.port().to_string();
    assert!(!request.head.contains(&port), "{}", request.head);
}
