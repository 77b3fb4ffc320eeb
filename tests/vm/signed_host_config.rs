//! Machines whose trust policy takes no host config but a signed one.

use std::fs;
use std::path::{Path, PathBuf};

use sealboot::vm::HOST_ADDRESS;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab, MIN_VERSION};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// An initramfs whose policy has clockwork sign host configs, and requires it; in `desk`, with a signed one that names
/// the mirror at `port`.
fn initramfs(desk: &Path, port: u16) -> PathBuf {
    let lab = Lab::get();
    let path = |name: &str| lab.path(name).to_str().unwrap().to_owned();
    let key = |name: &str| path(&format!("keys/{name}"));
    let accepted = format!("{IMAGE}={MIN_VERSION}");
    #[rustfmt::skip]
    lab.run(desk, [
        "policy", "create", "--threshold", "2",
        "--key", &key("alice.pub"), "--key", &key("bob.pub"), "--image", &accepted,
        "--host-config-key", &key("clockwork.pub"), "--require-signed-host-config",
        "--retry-initial", "1s", "--retry-max", "2s", "--out", "signed-only.json",
    ]);
    let host = format!(
        r#"{{"image":"{IMAGE}","mirrors":["https://{HOST_ADDRESS}:{port}/"],"network":{{"mode":"dhcp"}}}}"#
    );
    fs::write(desk.join("host.json"), host).unwrap();
    let key = key("clockwork.key");
    let signed = lab.run(desk, ["host-config", "sign", "--key", &key, "host.json"]);
    let (loader, modules) = (lab.loader.to_str().unwrap(), lab.modules.to_str().unwrap());
    #[rustfmt::skip]
    lab.run(desk, [
        "initramfs", "build", "--loader", loader, "--policy", "signed-only.json",
        "--host-config", signed.trim_end(), "--tls-roots", &path("tls/ca.pem"),
        "--modules-dir", modules, "--out", "signed.initramfs",
    ]);
    desk.join("signed.initramfs")
}

#[tokio::test]
async fn a_machine_that_takes_signed_host_configs_alone_boots_by_one() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        initramfs: Some(initramfs(store.desk(), server.port)),
        ..Options::default()
    };
    let machine = Machine::boot_by_itself(options).await;
    let console = machine.runs_the_os().await;
    assert_every_stage_passed(&console);
    assert!(
        console.contains(" host=signed signers=clockwork "),
        "{console}"
    );
    assert!(
        console.contains("host config signed by clockwork"),
        "{console}"
    );
}

#[tokio::test]
async fn a_mirror_on_the_command_line_of_a_machine_that_takes_signed_host_configs_alone() {
    let store = Store::published();
    let server = Server::start(&store).await;
    let options = Options {
        initramfs: Some(initramfs(store.desk(), server.port)),
        ..Options::default()
    };
    // That it is the very mirror which was signed makes no difference.
    let machine = Machine::boot_with(server.port, options).await;
    let console = machine
        .refuses("configure", "CONFIGURE-HOST-UNSIGNED")
        .await;
    assert!(
        console.contains("the kernel command line sets sealboot.mirror="),
        "{console}"
    );
    assert!(
        console.contains("take sealboot.mirror= out of"),
        "{console}"
    );
}
