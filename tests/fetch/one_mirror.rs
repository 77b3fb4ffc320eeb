//! One mirror, and one thing wrong with it.

use std::time::{Duration, Instant};

use sealboot_core::failure::FailureCode;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::Encoding;

use crate::server::{Authority, Certificate, Fault, Server};
use crate::{Boot, PATIENCE, boot_from};
use support::world::archives::{CHUNK, image};

#[tokio::test]
async fn a_whole_archive_becomes_a_kernel_and_an_initrd() {
    let (files, boot, servers) = boot_from(&[Fault::None]).await;
    let fetched = boot.assert_whole_with(&files, &servers, &[]);
    assert_eq!(servers[0].asked(), 1);
    assert_eq!(servers[0].sent(), fetched.received);
    assert_eq!(
        servers[0].requests()[0].range,
        None,
        "all of it is asked for at once"
    );
}

#[tokio::test]
async fn a_compressed_archive_becomes_the_same() {
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let (files, stored, manifest) = image(encoding);
        let authority = Authority::new();
        let server = Server::start(&authority, Certificate::Good, Fault::None, stored).await;
        Boot::from(&authority, &[server.url()], &manifest)
            .await
            .assert_whole(&files);
    }
}

#[tokio::test]
async fn a_transfer_that_is_cut_goes_on_at_the_chunk_reached() {
    let (files, boot, servers) = boot_from(&[Fault::CutOnce(200_000)]).await;
    let fetched = boot.assert_whole_with(&files, &servers, &[(0, FailureCode::FetchTruncated)]);
    let (_, stored, _) = image(Encoding::None);
    assert!(
        fetched.received < stored.len() as u64 + CHUNK,
        "received {} of {}",
        fetched.received,
        stored.len()
    );
    let [_, second] = &servers[0].requests()[..] else {
        panic!("two requests")
    };
    assert_eq!(second.range, Some((3 * 65_536, None)));
}

#[tokio::test]
async fn a_mirror_that_is_cut_again_and_again_still_gets_there() {
    // Each connection brings one chunk and a bit.
    let (files, boot, servers) = boot_from(&[Fault::CutAlways(70_000)]).await;
    boot.assert_whole_with(&files, &servers, &[(0, FailureCode::FetchTruncated)]);
    assert!(servers[0].asked() > 5);
}

#[tokio::test]
async fn a_server_without_ranges_sends_everything_again() {
    let fault = Fault::NoRanges { cut: Some(200_000) };
    let (files, boot, servers) = boot_from(&[fault]).await;
    let faults = [
        (0, FailureCode::FetchRange),
        (0, FailureCode::FetchTruncated),
    ];
    boot.assert_whole_with(&files, &servers, &faults);
    let ranges: Vec<bool> = (servers[0].requests().iter())
        .map(|request| request.range.is_some())
        .collect();
    assert_eq!(ranges, [false, true, false]);
}

#[tokio::test]
async fn a_body_without_a_length_is_taken_as_far_as_it_goes() {
    let (files, boot, servers) = boot_from(&[Fault::Chunked { missing: 0 }]).await;
    boot.assert_whole_with(&files, &servers, &[]);
    let (_, boot, _) = boot_from(&[Fault::Chunked { missing: 1 }]).await;
    assert_eq!(boot.code(), FailureCode::FetchTruncated);
}

#[tokio::test]
async fn what_follows_the_archive_is_not_taken() {
    // Every chunk is as signed, whatever the server says after them.
    let (files, boot, _) = boot_from(&[Fault::LongerWithoutLength]).await;
    boot.assert_whole(&files);
}

#[tokio::test]
async fn a_flipped_byte_in_any_chunk_is_refused() {
    let (_, stored, _) = image(Encoding::None);
    for at in [0, stored.len() / 2, stored.len() - 1] {
        let (_, boot, servers) = boot_from(&[Fault::Flip(at)]).await;
        assert_eq!(boot.code(), FailureCode::ImageChunk, "byte {at}");
        assert_eq!(servers[0].asked(), 1, "a liar is not asked again");
    }
}

#[tokio::test]
async fn what_a_mirror_does_wrong_has_its_own_code() {
    let redirect = |to: &str| Fault::Redirect(to.to_owned());
    for (fault, code, again) in [
        (Fault::Truncated(1), FailureCode::FetchTruncated, false),
        (
            Fault::Truncated(400_000),
            FailureCode::FetchTruncated,
            false,
        ),
        (Fault::CutAlways(0), FailureCode::FetchTruncated, true),
        (Fault::CutAlways(60_000), FailureCode::FetchTruncated, true),
        (Fault::Longer, FailureCode::FetchTooLarge, false),
        (Fault::ContentEncoding, FailureCode::FetchResponse, false),
        (Fault::WebPage, FailureCode::FetchWebPage, true),
        (
            Fault::Status("404 Not Found", 99),
            FailureCode::FetchStatus,
            false,
        ),
        (
            Fault::Status("403 Forbidden", 99),
            FailureCode::FetchStatus,
            false,
        ),
        (
            Fault::Status("500 Internal Server Error", 99),
            FailureCode::FetchStatus,
            true,
        ),
        (
            Fault::Status("503 Service Unavailable", 99),
            FailureCode::FetchBusy,
            true,
        ),
        (
            Fault::Status("429 Too Many Requests", 99),
            FailureCode::FetchBusy,
            true,
        ),
        (
            Fault::Status("204 No Content", 99),
            FailureCode::FetchResponse,
            false,
        ),
        (
            Fault::Status("300 Multiple Choices", 99),
            FailureCode::FetchStatus,
            false,
        ),
        (
            redirect("http://127.0.0.1:1/"),
            FailureCode::FetchRedirect,
            false,
        ),
        (
            redirect("https://user:word@127.0.0.1:1/"),
            FailureCode::FetchRedirect,
            false,
        ),
        (
            redirect("file:///etc/passwd"),
            FailureCode::FetchRedirect,
            false,
        ),
        (Fault::Garbage, FailureCode::FetchResponse, false),
        (Fault::Silent, FailureCode::FetchStalled, true),
        (Fault::SilentAfter(1000), FailureCode::FetchStalled, true),
    ] {
        let (_, boot, servers) = boot_from(std::slice::from_ref(&fault)).await;
        let error = boot.result.as_ref().expect_err("refused");
        assert_eq!(boot.code(), code, "{error:?}");
        assert_eq!(
            servers[0].asked() > 1,
            again,
            "{fault:?}: {} times",
            servers[0].asked()
        );
    }
}

#[tokio::test]
async fn a_redirect_that_never_ends_is_left_after_six_requests() {
    let (_, boot, servers) = boot_from(&[Fault::RedirectLoop]).await;
    assert_eq!(boot.code(), FailureCode::FetchRedirect);
    assert_eq!(servers[0].asked(), 6);
}

#[tokio::test]
async fn a_redirect_to_https_is_followed() {
    let (files, stored, manifest) = image(Encoding::None);
    let authority = Authority::new();
    let other = Server::start(
        &authority,
        Certificate::Good,
        Fault::CutOnce(200_000),
        stored.clone(),
    )
    .await;
    let to = format!("{}somewhere/else.tar", other.url());
    let fault = Fault::Redirect(to);
    let server = Server::start(&authority, Certificate::Good, fault, stored).await;
    let boot = Boot::from(&authority, &[server.url()], &manifest).await;
    boot.assert_whole(&files);
    // The part that is missing is asked for by the same way.
    assert_eq!((server.asked(), other.asked()), (2, 2));
    assert_eq!(other.requests()[1].range, Some((3 * 65_536, None)));
}

#[tokio::test]
async fn what_is_wrong_with_a_part_is_seen_before_its_body() {
    // The first request is for everything; from the second on, parts are asked for.
    for (fault, code) in [
        (Fault::WrongRange, FailureCode::FetchResponse),
        (Fault::OtherSize(-100), FailureCode::FetchTruncated),
        (Fault::OtherSize(100), FailureCode::FetchTooLarge),
    ] {
        let faults = [Fault::CutAlways(200_000), fault.clone()];
        let (files, stored, manifest) = image(Encoding::None);
        let authority = Authority::new();
        let start = |fault: &Fault| {
            Server::start(&authority, Certificate::Good, fault.clone(), stored.clone())
        };
        let servers = [start(&faults[0]).await, start(&faults[1]).await];
        let mirrors: Vec<MirrorUrl> = servers.iter().map(Server::url).collect();
        let boot = Boot::from(&authority, &mirrors, &manifest).await;
        let fetched = boot.assert_whole(&files);
        let (_, found) = fetched.faults.last().unwrap();
        assert_eq!(*found, code, "{fault:?}: {:?}", fetched.faults);
        assert_eq!(servers[1].asked(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn an_etag_says_nothing_about_what_its_hashes_decide() {
    let authority = Authority::new();
    let (files, stored, manifest) = image(Encoding::None);
    let fault = Fault::ChangingTag;
    let changing = Server::start(&authority, Certificate::Good, fault, stored.clone()).await;
    let other = Server::start(&authority, Certificate::Good, Fault::Silent, stored).await;
    let boot = Boot::from(&authority, &[changing.url(), other.url()], &manifest).await;
    let fetched = boot.assert_whole(&files);
    let of_changing = |(url, _): &&(MirrorUrl, FailureCode)| *url == changing.url();
    assert_eq!(fetched.faults.iter().find(of_changing), None);
    assert!(changing.asked() > 1);
}

#[tokio::test]
async fn a_mirror_that_is_busy_is_left_alone_for_as_long_as_it_asks() {
    let fault = Fault::Status("503 Service Unavailable\r\nRetry-After: 1", 1);
    let begun = Instant::now();
    let (files, boot, servers) = boot_from(&[fault]).await;
    boot.assert_whole_with(&files, &servers, &[(0, FailureCode::FetchBusy)]);
    assert_eq!(servers[0].asked(), 2);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_mirror_that_falls_silent_is_asked_again() {
    let (files, boot, servers) = boot_from(&[Fault::SilentAfter(200_000)]).await;
    boot.assert_whole_with(&files, &servers, &[(0, FailureCode::FetchStalled)]);
    assert!(servers[0].asked() > 2);
}

#[tokio::test]
async fn a_mirror_that_is_slow_and_alone_is_kept() {
    // Below what a mirror must send, as long as there is another.
    let pause = Duration::from_millis(20);
    assert!(
        4000.0 / pause.as_secs_f64() * PATIENCE.slow_after.as_secs_f64()
            < PATIENCE.slow_bytes as f64
    );
    let (files, boot, servers) = boot_from(&[Fault::Drips(pause)]).await;
    boot.assert_whole_with(&files, &servers, &[]);
    assert_eq!(servers[0].asked(), 1);
}

#[tokio::test]
async fn a_chunk_list_that_is_not_the_signed_one_ends_the_boot() {
    for (fault, code) in [
        (Fault::ListFlip, FailureCode::ImageChunk),
        (Fault::ListShort, FailureCode::FetchTruncated),
        (Fault::ListLonger, FailureCode::FetchTooLarge),
        (Fault::ListMissing, FailureCode::FetchStatus),
    ] {
        let (_, boot, servers) = boot_from(&[fault]).await;
        assert_eq!(boot.code(), code);
        assert_eq!(servers[0].asked(), 0, "the archive is not asked for");
    }
}
