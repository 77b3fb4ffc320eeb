//! GET and HEAD as RFC 9110 has them.

use support::noise::noise;
use support::server::{BLOB, Lab, output};

fn sha256(bytes: &[u8]) -> String {
    sealboot_core::format::digest::Sha256Digest::of(bytes).to_string()
}

#[test]
fn a_blob_is_served_without_a_tag_and_may_be_kept_for_ever() {
    let lab = Lab::new();
    let blob = noise(300_000, 1);
    lab.put(BLOB, &blob);
    let server = lab.serve(&[]);
    let got = lab.fetch(&server, BLOB, &[]);
    assert_eq!(got.status, 200);
    assert!(got.body == blob);
    assert_eq!(
        got.header_lines(),
        "accept-ranges: bytes\n\
         cache-control: max-age=31536000, immutable\n\
         content-length: 300000\n\
         content-type: application/x-tar\n"
    );

    for (suffix, content_type) in [("gz", "application/gzip"), ("zst", "application/zstd")] {
        let compressed = format!("{BLOB}.{suffix}");
        lab.put(&compressed, b"zipped");
        let got = lab.fetch(&server, &compressed, &[]);
        assert_eq!(got.header("content-type"), content_type);
        assert_eq!(got.header("content-encoding"), "");
        assert_eq!(got.body, b"zipped");
    }
}

#[test]
fn an_envelope_is_served_with_the_hash_of_its_content_as_tag_and_asked_for_each_time() {
    let lab = Lab::new();
    let server = lab.serve(&[]);
    for path in ["images/relay.json", "images/relay/42/x86_64.json"] {
        let body = format!("{{\"of\": \"{path}\"}}");
        lab.put(path, body.as_bytes());
        let got = lab.fetch(&server, path, &[]);
        assert_eq!(got.status, 200);
        assert_eq!(got.body, body.as_bytes());
        assert_eq!(
            got.header_lines(),
            format!(
                "accept-ranges: bytes\n\
                 cache-control: no-cache\n\
                 content-length: {}\n\
                 content-type: application/json\n\
                 etag: \"sha256-{}\"\n",
                body.len(),
                sha256(body.as_bytes())
            )
        );
    }
}

#[test]
fn what_is_published_while_the_server_runs_is_served_at_once() {
    let lab = Lab::new();
    let server = lab.serve(&[]);
    let path = "images/relay.json";
    assert_eq!(lab.fetch(&server, path, &[]).status, 404);
    for version in ["one", "two"] {
        lab.put("images/relay.json.new", version.as_bytes());
        std::fs::rename(
            lab.store().join("images/relay.json.new"),
            lab.store().join(path),
        )
        .unwrap();
        let got = lab.fetch(&server, path, &[]);
        assert_eq!(got.body, version.as_bytes());
    }
}

#[test]
fn head_says_what_get_would_and_sends_nothing() {
    let lab = Lab::new();
    lab.put(BLOB, &noise(1000, 1));
    lab.put("images/relay.json", b"{}");
    lab.put("images/empty.json", b"");
    let server = lab.serve(&[]);
    for path in [BLOB, "images/relay.json", "images/empty.json", "absent"] {
        let get = lab.fetch(&server, path, &[]);
        let head = lab.fetch(&server, path, &["--head", "--output", "/dev/null"]);
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header_lines(), get.header_lines(), "{path}");
        assert_eq!(get.header("content-length"), get.body.len().to_string());
    }
    // Range has a meaning for GET alone.
    let head = lab.fetch(
        &server,
        BLOB,
        &["--head", "--output", "/dev/null", "--range", "0-1"],
    );
    assert_eq!((head.status, head.header("content-length")), (200, "1000"));
    // Over one connection, so a body that was sent all the same would be taken for the next answer.
    let url = format!("{}{BLOB}", server.url);
    let twice = lab
        .curl()
        .args(["--head", "--write-out", "%{http_code}:%{num_connects} "])
        .args(["--output", "/dev/null", &url, "--output", "/dev/null", &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&twice.stdout), "200:1 200:0 ");
}

#[test]
fn one_range_is_answered_with_that_part() {
    let lab = Lab::new();
    let blob = noise(400_000, 1);
    lab.put(BLOB, &blob);
    let server = lab.serve(&[]);
    for (range, start, end) in [
        ("0-0", 0, 1),
        ("0-", 0, 400_000),
        ("0-399999", 0, 400_000),
        ("131071-131073", 131_071, 131_074),
        ("100-300099", 100, 300_100),
        ("399999-", 399_999, 400_000),
        ("399990-500000", 399_990, 400_000),
        ("-1", 399_999, 400_000),
        ("-400000", 0, 400_000),
        ("-99999999999999999999", 0, 400_000),
    ] {
        let got = lab.fetch(&server, BLOB, &["--range", range]);
        assert_eq!(got.status, 206, "{range}");
        assert!(got.body == blob[start..end], "{range}");
        let last = end - 1;
        assert_eq!(
            got.header("content-range"),
            format!("bytes {start}-{last}/400000")
        );
        assert_eq!(got.header("content-length"), (end - start).to_string());
        assert_eq!(got.header("accept-ranges"), "bytes");
    }
}

#[test]
fn a_range_past_the_end_is_416_with_the_length() {
    let lab = Lab::new();
    lab.put(BLOB, &noise(1000, 1));
    lab.put("images/empty.json", b"");
    let server = lab.serve(&[]);
    for (path, range, len) in [
        (BLOB, "1000-", 1000),
        (BLOB, "1000-2000", 1000),
        (BLOB, "99999999999999999999-", 1000),
        (BLOB, "-0", 1000),
        ("images/empty.json", "0-", 0),
    ] {
        let header = format!("Range: bytes={range}");
        let got = lab.fetch(&server, path, &["--header", &header]);
        assert_eq!(got.status, 416, "{range}");
        assert_eq!(got.header("content-range"), format!("bytes */{len}"));
        assert_eq!(got.header("content-length"), got.body.len().to_string());
    }
}

#[test]
fn a_range_that_is_malformed_or_one_of_several_is_ignored() {
    let lab = Lab::new();
    let blob = noise(1000, 1);
    lab.put(BLOB, &blob);
    let server = lab.serve(&[]);
    for headers in [
        &["Range: bytes=5-2"][..],
        &["Range: bytes=0-1,5-6"],
        &["Range: bytes=a-b"],
        &["Range: bytes=-"],
        &["Range: lines=0-1"],
        &["Range: 0-1"],
        &["Range;"],
        &["Range: bytes=0-1", "Range: bytes=0-1"],
        &["Range: bytes=0-\u{e9}"],
    ] {
        let more: Vec<&str> = headers.iter().flat_map(|line| ["--header", line]).collect();
        let got = lab.fetch(&server, BLOB, &more);
        assert_eq!(got.status, 200, "{headers:?}");
        assert!(got.body == blob, "{headers:?}");
        assert_eq!(got.header("content-range"), "", "{headers:?}");
    }
}

#[test]
fn a_range_with_a_condition_gets_the_whole_file() {
    let lab = Lab::new();
    let blob = noise(1000, 1);
    lab.put(BLOB, &blob);
    let server = lab.serve(&[]);
    for condition in ["\"other\"", "Sat, 21 Nov 2026 12:00:00 GMT"] {
        let condition = format!("If-Range: {condition}");
        let more = ["--range", "10-19", "--header", &condition];
        let got = lab.fetch(&server, BLOB, &more);
        assert_eq!((got.status, &got.body[..]), (200, &blob[..]), "{condition}");
    }
}

#[test]
fn a_client_that_has_the_channel_gets_304_and_no_body() {
    let lab = Lab::new();
    let path = "images/relay.json";
    lab.put(path, b"{}");
    let server = lab.serve(&[]);
    let tag = format!("\"sha256-{}\"", sha256(b"{}"));
    for condition in [
        tag.clone(),
        "*".to_owned(),
        format!("W/{tag}"),
        format!("\"a\", {tag}, \"b\""),
    ] {
        let header = format!("If-None-Match: {condition}");
        for more in [
            &["--header", &header][..],
            &["--header", &header, "--head", "--output", "/dev/null"],
            &["--header", &header, "--range", "0-1"],
        ] {
            let got = lab.fetch(&server, path, more);
            assert_eq!(got.status, 304, "{more:?}");
            assert_eq!(got.body, b"");
            assert_eq!(got.header("cache-control"), "no-cache");
            assert_eq!(got.header("etag"), tag);
            // Section 8.6: what a 200 would say, or nothing; never the 0 of this answer.
            assert!(["", "2"].contains(&got.header("content-length")));
        }
    }
    let unquoted = tag.trim_matches('"');
    for condition in ["\"other\"", "sha256", "\"a\", \"b\"", "\"*\"", unquoted] {
        let header = format!("If-None-Match: {condition}");
        assert_eq!(lab.fetch(&server, path, &["--header", &header]).status, 200);
    }
    // Nothing follows the header of a 304: the connection goes on.
    let url = format!("{}{path}", server.url);
    let header = format!("If-None-Match: {tag}");
    let twice = lab
        .curl()
        .args([
            "--header",
            &header,
            "--write-out",
            "%{http_code}:%{num_connects} ",
        ])
        .args([&url, &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&twice.stdout), "304:1 304:0 ");
    // The channel changes, and with it its tag.
    lab.put(path, b"{ }");
    let got = lab.fetch(&server, path, &["--header", &header]);
    assert_eq!((got.status, &got.body[..]), (200, &b"{ }"[..]));
}

#[test]
fn every_method_but_get_and_head_is_405_whatever_the_path() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get",
    ] {
        for path in ["images/relay.json", "absent"] {
            let got = lab.fetch(&server, path, &["--request", method]);
            assert_eq!(got.status, 405, "{method} {path}");
            assert_eq!(got.header("allow"), "GET, HEAD");
            assert_eq!(got.header("content-length"), got.body.len().to_string());
        }
    }
    let upload = lab.fetch(&server, "images/relay.json", &["--data", "replaced"]);
    assert_eq!(upload.status, 405);
    assert_eq!(
        std::fs::read(lab.store().join("images/relay.json")).unwrap(),
        b"{}"
    );
}

#[test]
fn a_header_without_end_is_refused() {
    let lab = Lab::new();
    let server = lab.serve(&[]);
    let header = format!("X-Long: {}", "x".repeat(256 << 10));
    let file = lab.path("header");
    std::fs::write(&file, header).unwrap();
    let got = output(
        lab.curl()
            .args(["--write-out", "%{http_code}", "--output", "/dev/null"])
            .args(["--header", &format!("@{}", file.display())])
            .arg(format!("{}images/relay.json", server.url)),
    );
    // The server does not read what is over: the reset of the connection may overtake the answer.
    let cut = matches!(got.status.code(), Some(55 | 56));
    assert!(
        got.stdout == "431" || (cut && got.stdout == "000"),
        "{got:?}"
    );
    let many: Vec<String> = (0..200).map(|at| format!("X-{at}: x")).collect();
    let more: Vec<&str> = many
        .iter()
        .flat_map(|line| ["--header", line.as_str()])
        .collect();
    assert_eq!(lab.fetch(&server, "images/relay.json", &more).status, 431);
}

#[test]
fn a_query_changes_nothing() {
    let lab = Lab::new();
    lab.put("images/relay.json", b"{}");
    let server = lab.serve(&[]);
    let got = lab.fetch(&server, "images/relay.json?version=../../1", &[]);
    assert_eq!((got.status, &got.body[..]), (200, &b"{}"[..]));
}
