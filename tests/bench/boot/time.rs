//! The time from the loader's first line to the handover.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealboot::cpio::Tree;
use sealboot::vm::StageLine;
use sealboot_core::format::digest::Sha256Digest;

use super::guest::{self, Transcript, watch};
use super::images::{Bench, Image, Server, store_of};
use super::report::median;

/// Each side runs this often, in turn. A round is compared within itself, and the ratio in the middle
/// counts: what else the host does changes from minute to minute.
const ROUNDS: usize = 5;

/// As the issue of the target has it.
const MEMORY: u32 = 1024;

/// The most that the loader may take, by what is compared with it.
const TARGET: f64 = 1.3;

const BEGIN: &str = "bench: begin";
const END: &str = "bench: end";

/// One boot through the loader.
struct Boot {
    whole: f64,
    /// By the console, in milliseconds.
    stages: Vec<(String, u64)>,
}

impl Boot {
    fn stage(&self, name: &str) -> f64 {
        let stage = self.stages.iter().find(|(stage, _)| stage == name);
        Duration::from_millis(stage.unwrap().1).as_secs_f64()
    }
}

/// Measures this image.
pub(crate) async fn table(bench: &Bench, image: &Image) -> String {
    let initramfs = curl_initramfs(bench);
    let server = bench.serve(image).await;
    let (mut curls, mut boots) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        curls.push(curl(bench, image, &server, &initramfs).await);
        boots.push(boot(bench, image, &server).await);
    }
    let load = median(boots.iter().map(|boot| boot.stage("load")));
    let (curl, boot) = (
        median(curls.iter().copied()),
        median(boots.iter().map(|boot| boot.whole)),
    );
    let rounds = curls.iter().zip(&boots);
    let ratio = median(rounds.map(|(curl, boot)| boot.whole / (curl + boot.stage("load"))));
    let verdict = if ratio <= TARGET { "met" } else { "**missed**" };
    let mut text = format!(
        "| {} MiB, 2 processors, {} archive | seconds |\n|---|--:|\n\
         | `curl \\| openssl dgst -sha256` | {curl:.2} |\n\
         | kexec_file_load | {load:.2} |\n\
         | loader, first line to handover | {boot:.2} |\n\
         | ratio, target ≤ {TARGET} {verdict} | {ratio:.2} |\n",
        MEMORY, image.name,
    );
    for (stage, _) in &boots[0].stages {
        let seconds = median(boots.iter().map(|boot| boot.stage(stage)));
        writeln!(text, "| of it, stage {stage} | {seconds:.2} |").unwrap();
    }
    text
}

async fn boot(bench: &Bench, image: &Image, server: &Server) -> Boot {
    const HANDOVER: &str = "stage=handover";
    let machine = guest::through_the_loader(bench, image, server, MEMORY);
    let transcript = watch(&machine, HANDOVER).await;
    let stages = transcript.lines().filter_map(StageLine::find);
    Boot {
        whole: between(&transcript, "sealboot: version", HANDOVER),
        stages: stages
            .filter(|line| line.stage() != "handover")
            .map(|line| (line.stage().to_owned(), line.milliseconds().unwrap()))
            .collect(),
    }
}

/// How long the pipeline takes in a machine like the loader's.
async fn curl(bench: &Bench, image: &Image, server: &Server, initramfs: &Path) -> f64 {
    let append = format!("rdinit=/curl bench.url={}{}", server.url, image.archive);
    let kernel = &bench.desk.packages.kernel;
    let machine = guest::machine(kernel, initramfs.to_owned(), MEMORY, &append);
    let transcript = watch(&machine, END).await;
    let archive = bench.desk.path(&store_of(image.name)).join(&image.archive);
    let digest = Sha256Digest::of_rest(File::open(archive).unwrap()).unwrap();
    assert!(
        transcript
            .lines()
            .any(|line| line.contains(&digest.to_string())),
        "{}",
        transcript.text()
    );
    between(&transcript, BEGIN, END)
}

fn between(transcript: &Transcript, from: &str, to: &str) -> f64 {
    let (Some(from), Some(to)) = (transcript.when(from), transcript.when(to)) else {
        panic!("no {from} or no {to}:\n{}", transcript.text());
    };
    let seconds = (to - from).as_secs_f64();
    eprintln!("boot: {seconds:.2} s");
    seconds
}

/// The loader's initramfs with its modules, and on top of it this host's curl and openssl, with the
/// libraries that they name.
fn curl_initramfs(bench: &Bench) -> PathBuf {
    let script = format!(
        r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin
mkdir -p /proc /sys /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module options; do insmod "$module" $options; done < /etc/sealboot/modules
for word in $(cat /proc/cmdline); do
    case $word in bench.url=*) url=${{word#bench.url=}} ;; esac
done
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
sleep 2
echo "{BEGIN}"
curl -sS --cacert /ca.pem "$url" | openssl dgst -sha256
echo "{END}"
poweroff -f
"#
    );
    let mut files = vec![
        ("curl".to_owned(), script.into_bytes()),
        (
            "ca.pem".to_owned(),
            fs::read(bench.desk.path("tls/ca.pem")).unwrap(),
        ),
        (
            "bin/busybox".to_owned(),
            fs::read(&bench.desk.packages.busybox).unwrap(),
        ),
    ];
    for (path, bytes) in with_libraries(&["/usr/bin/curl", "/usr/bin/openssl"]) {
        files.push((path.trim_start_matches('/').to_owned(), bytes));
    }
    let mut tree = Tree::new();
    for (path, bytes) in &files {
        tree.file(path, 0o755, bytes.len() as u64, &bytes[..])
            .unwrap();
    }
    // The kernel unpacks one archive after the other.
    let mut initramfs = fs::read(bench.initramfs()).unwrap();
    initramfs.resize(initramfs.len().next_multiple_of(512), 0);
    let path = bench.desk.path("curl.img");
    fs::write(&path, tree.write(initramfs, 0).unwrap()).unwrap();
    path
}

fn with_libraries(programs: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut paths: BTreeSet<String> = programs.iter().map(|&path| path.to_owned()).collect();
    let ldd = Command::new("ldd").args(programs).output().unwrap().stdout;
    for word in String::from_utf8(ldd).unwrap().split_whitespace() {
        if word.starts_with('/') && !word.ends_with(':') {
            paths.insert(word.to_owned());
        }
    }
    paths
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}
