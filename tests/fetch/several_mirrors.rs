//! Several mirrors: who goes on where another failed, and who is asked beside whom.

use std::time::Duration;

use sealboot_core::failure::FailureCode;
use sealboot_core::format::host_config::MirrorUrl;
use sealboot_core::format::manifest::Encoding;

use crate::server::{Authority, Certificate, Fault, Server};
use crate::{Boot, boot_from};
use support::noise::noise;
use support::world::archives::{CHUNK, claim, entry, image};
use support::world::tar;

#[tokio::test]
async fn each_fault_of_the_first_mirror_is_named_and_the_second_goes_on() {
    for (fault, code) in [
        (Fault::CutAlways(100_000), FailureCode::FetchTruncated),
        (Fault::Truncated(1), FailureCode::FetchTruncated),
        (Fault::Longer, FailureCode::FetchTooLarge),
        (Fault::NoRanges { cut: None }, FailureCode::FetchRange),
        (Fault::WrongRange, FailureCode::FetchResponse),
        (Fault::OtherSize(-1), FailureCode::FetchTruncated),
        (Fault::OtherSize(1), FailureCode::FetchTooLarge),
        (Fault::Flip(70_000), FailureCode::ImageChunk),
        (Fault::ContentEncoding, FailureCode::FetchResponse),
        (Fault::WebPage, FailureCode::FetchWebPage),
        (Fault::Status("404 Not Found", 99), FailureCode::FetchStatus),
        (
            Fault::Status("503 Service Unavailable\r\nRetry-After: 60", 99),
            FailureCode::FetchBusy,
        ),
        (
            Fault::Status("429 Too Many Requests", 99),
            FailureCode::FetchBusy,
        ),
        (
            Fault::Redirect("http://127.0.0.1:1/".to_owned()),
            FailureCode::FetchRedirect,
        ),
        (Fault::RedirectLoop, FailureCode::FetchRedirect),
        (Fault::Garbage, FailureCode::FetchResponse),
        (Fault::Silent, FailureCode::FetchStalled),
    ] {
        let (files, boot, servers) = boot_from(&[fault.clone(), Fault::None]).await;
        let fetched = boot.assert_whole_with(&files, &servers, &[(0, code)]);
        let (_, stored, _) = image(Encoding::None);
        let most = stored.len() as u64 + 3 * CHUNK;
        assert!(
            fetched.received <= most,
            "{fault:?}: received {}",
            fetched.received
        );
    }
}

#[tokio::test]
async fn a_mirror_that_falls_silent_is_not_waited_for() {
    let (files, boot, servers) = boot_from(&[Fault::SilentAfter(100_000), Fault::None]).await;
    let fetched = boot.assert_whole(&files);
    // Whether it was found to be silent or to be late depends on how fast the other is just then.
    let said = |code| fetched.faults == [(servers[0].url(), code)];
    assert!(
        said(FailureCode::FetchStalled) || said(FailureCode::FetchSlow),
        "{:?}",
        fetched.faults
    );
}

#[tokio::test]
async fn a_mirror_that_is_not_there_is_passed_over() {
    let (files, stored, manifest) = image(Encoding::None);
    let authority = Authority::new();
    let server = Server::start(&authority, Certificate::Good, Fault::None, stored).await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: MirrorUrl = format!("https://{}/", gone.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(gone);
    let boot = Boot::from(&authority, &[url.clone(), server.url()], &manifest).await;
    let fetched = boot.assert_whole(&files);
    assert_eq!(fetched.faults, [(url, FailureCode::FetchConnect)]);
}

#[tokio::test]
async fn a_liar_is_not_asked_again_and_is_remembered() {
    let (files, boot, servers) = boot_from(&[Fault::Flip(300_000), Fault::None]).await;
    boot.assert_whole_with(&files, &servers, &[(0, FailureCode::ImageChunk)]);
    let mut reputation = boot.reputation.clone();
    let mut mirrors: Vec<MirrorUrl> = servers.iter().map(Server::url).collect();
    reputation.sift(&mut mirrors);
    assert_eq!(mirrors, [servers[1].url()]);
}

#[tokio::test]
async fn where_all_lie_the_last_lie_is_what_is_said() {
    let (_, boot, servers) = boot_from(&[Fault::Flip(10), Fault::Flip(20)]).await;
    assert_eq!(boot.code(), FailureCode::ImageChunk);
    // A chunk is checked while the next ones are asked for; after that nobody is asked again.
    for server in &servers {
        assert!((1..=2).contains(&server.asked()), "{}", server.asked());
    }
}

#[tokio::test]
async fn what_two_mirrors_have_wrong_in_different_places_is_whole_between_them() {
    // The first one's lie is found at the end, and of the second no more is asked for than that.
    let (_, stored, _) = image(Encoding::None);
    let (files, boot, servers) = boot_from(&[Fault::Flip(stored.len() - 1), Fault::Flip(0)]).await;
    boot.assert_whole_with(&files, &servers, &[(0, FailureCode::ImageChunk)]);
    let [request] = &servers[1].requests()[..] else {
        panic!("{:?}", servers[1].requests());
    };
    assert_eq!(request.range, Some((stored.len() / 65_536 * 65_536, None)));
}

#[tokio::test]
async fn a_mirror_that_drips_is_left_for_another_that_does_not() {
    let drips = Fault::Drips(Duration::from_millis(200));
    let (files, boot, servers) = boot_from(&[drips, Fault::None]).await;
    boot.assert_whole(&files);
    let (_, stored, _) = image(Encoding::None);
    assert!(servers[1].sent() > stored.len() as u64 * 9 / 10);
}

#[tokio::test]
async fn a_mirror_that_drips_is_better_than_none() {
    let drips = Fault::Drips(Duration::from_millis(20));
    let (files, boot, servers) = boot_from(&[drips, Fault::Status("404 Not Found", 99)]).await;
    boot.assert_whole(&files);
    assert_eq!(servers[1].asked(), 1, "what it lacks it lacks");
}

#[tokio::test]
async fn a_wrong_chunk_before_more_than_may_be_in_hand_holds_nothing_up() {
    // By the time that it is found out to be wrong, chunks that come after it have filled the window.
    let (stored, manifest) = large(40_000_000);
    let authority = Authority::new();
    for _ in 0..4 {
        let mut servers = Vec::new();
        for fault in [Fault::Flip(4_000_000), Fault::None] {
            servers.push(Server::start(&authority, Certificate::Good, fault, stored.clone()).await);
        }
        let mirrors: Vec<MirrorUrl> = servers.iter().map(Server::url).collect();
        let boot = Boot::from(&authority, &mirrors, &manifest).await;
        let fetched = boot.result.as_ref().unwrap();
        assert_eq!(
            fetched.faults,
            [(servers[0].url(), FailureCode::ImageChunk)]
        );
    }
}

/// An archive with an initrd of so many bytes.
fn large(initrd: usize) -> (Vec<u8>, sealboot_core::format::manifest::Manifest) {
    let files = [
        ("boot/vmlinuz", noise(200_000, 1)),
        ("boot/initrd", noise(initrd, 2)),
    ];
    let stored = tar(&files);
    let entries = files
        .iter()
        .map(|(path, bytes)| entry(path, bytes))
        .collect();
    let manifest = claim(&stored, Encoding::None, entries);
    (stored, manifest)
}

/// Some seconds' worth at a few megabytes a second.
const SECONDS: usize = 9_000_000;

/// Boots a large archive from mirrors of these speeds.
async fn boot_large(speeds: &[u64]) -> (Boot, Vec<Server>) {
    let (stored, manifest) = large(SECONDS);
    let authority = Authority::new();
    let mut servers = Vec::new();
    for speed in speeds {
        let fault = Fault::Speed(*speed);
        servers.push(Server::start(&authority, Certificate::Good, fault, stored.clone()).await);
    }
    let mirrors: Vec<MirrorUrl> = servers.iter().map(Server::url).collect();
    let boot = Boot::from(&authority, &mirrors, &manifest).await;
    (boot, servers)
}

#[tokio::test]
async fn good_mirrors_are_used_at_once_where_that_is_faster() {
    let (boot, servers) = boot_large(&[1_500_000; 3]).await;
    let fetched = boot.result.as_ref().unwrap();
    assert!(
        fetched.mirrors > 1 && fetched.faults.is_empty(),
        "{fetched:?}"
    );
    let (stored, _) = large(SECONDS);
    // How large each part is depends on the host's other work; that nobody did all does not.
    let first = servers[0].sent() as f64 / stored.len() as f64;
    assert!((0.1..0.8).contains(&first), "{first}");
    assert!(
        fetched.received <= stored.len() as u64 + 3 * CHUNK,
        "{fetched:?}"
    );
}

#[tokio::test]
async fn shares_follow_the_speed_that_was_measured() {
    let (boot, servers) = boot_large(&[3_000_000, 750_000]).await;
    let fetched = boot.result.as_ref().unwrap();
    assert_eq!(fetched.mirrors, 2, "{fetched:?}");
    assert!(
        servers[0].sent() > servers[1].sent(),
        "{} and {}",
        servers[0].sent(),
        servers[1].sent()
    );
}

#[tokio::test]
async fn a_chunk_list_that_one_mirror_lacks_comes_from_the_next() {
    for fault in [
        Fault::ListFlip,
        Fault::ListShort,
        Fault::ListLonger,
        Fault::ListMissing,
    ] {
        let (files, mut boot, servers) = boot_from(&[fault.clone(), Fault::None]).await;
        boot.assert_whole(&files);
        // Only another hash is a lie, and remembered as one.
        let mut left: Vec<MirrorUrl> = servers.iter().map(Server::url).collect();
        boot.reputation.sift(&mut left);
        assert_eq!(
            left.len(),
            if fault == Fault::ListFlip { 1 } else { 2 },
            "{fault:?}"
        );
    }
}
