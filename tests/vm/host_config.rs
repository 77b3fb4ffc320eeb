//! Where a machine's host config comes from: each source by itself, on a machine whose initramfs has none baked in.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sealboot::cpio::Tree;
use sealboot::vm::{Firmware, HOST_ADDRESS, StageLine};
use sealboot_init::net::provider::tls_provider;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::boots::assert_every_stage_passed;
use crate::lab::{IMAGE, Lab};
use crate::machine::{Machine, Options};
use crate::server::Server;
use crate::store::Store;

/// In MiB: the OS of the lab is small.
const MEMORY: u32 = 512;

/// A server of the lab's image, and a machine that knows nothing of it yet.
struct World {
    directory: TempDir,
    store: Store,
    server: Server,
}

impl World {
    async fn new() -> Self {
        let store = Store::published();
        Self {
            directory: tempfile::tempdir().unwrap(),
            server: Server::start(&store).await,
            store,
        }
    }

    fn mirror(&self) -> String {
        format!("https://{HOST_ADDRESS}:{}/", self.server.port)
    }

    /// A host config that leads to the server.
    fn host_config(&self) -> String {
        format!(
            r#"{{"image": "{IMAGE}", "mirrors": ["{}"], "network": {{"mode": "dhcp"}}}}"#,
            self.mirror()
        )
    }

    /// The same, with a mistake in its third line.
    fn invalid_host_config(&self) -> String {
        format!(
            "{{\n\"image\": \"{IMAGE}\",\n\"mirrors\": [\"{}\", \"boot.example\"],\n\"network\": {{\"mode\": \"dhcp\"}}}}",
            self.mirror()
        )
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What a machine has where nothing is said of it.
    fn options(&self) -> Options {
        Options {
            initramfs: Some(Lab::get().bare_initramfs(self.directory.path())),
            memory: Some(MEMORY),
            ..Options::default()
        }
    }

    /// With an OEM string of these bytes.
    fn smbios(&self, string: &str) -> Options {
        let path = self.write("oem-string", string);
        Options {
            smbios: vec![format!("type=11,path={}", path.display())],
            ..self.options()
        }
    }

    /// With EFI variables that another machine with these options finds again.
    fn uefi(&self) -> Options {
        Options {
            firmware: Firmware::uefi(self.directory.path().join("variables")).unwrap(),
            ..self.options()
        }
    }
}

/// Boots by this source, and by nothing else.
async fn boots_by(source: &str, options: Options) -> String {
    let console = Machine::boot_by_itself(options).await.runs_the_os().await;
    assert_every_stage_passed(&console);
    let line = console
        .lines()
        .find(|line| StageLine::find(line).is_some_and(|line| line.stage() == "configure"))
        .unwrap();
    assert!(line.contains(&format!(" source={source} ")), "{line}");
    console
}

/// Refuses an invalid one, by its name, with field, line and column.
async fn refuses(name: &str, options: Options) {
    let machine = Machine::boot_by_itself(options).await;
    let console = machine.refuses("configure", "CONFIGURE-HOST").await;
    for sentence in [
        &format!("the host config in {name} does not load"),
        "field mirrors[1] is not what it should be",
        "mirror: \"boot.example\" is not an https://HOST/ or http://HOST/ URL",
        " at line 3 column ",
    ] {
        assert!(console.contains(sentence), "{sentence}\n{console}");
    }
    // Whoever mends it must find the machine; two failures name it once.
    for row in [
        "sealboot: loader   ",
        "sealboot: machine  ",
        "sealboot: cards    ",
    ] {
        assert_eq!(console.matches(row).count(), 1, "{row}\n{console}");
    }
}

#[tokio::test]
async fn a_machine_that_has_none_says_where_it_has_looked() {
    let world = World::new().await;
    let options = Options {
        append: "ip=dhcp".to_owned(),
        ..world.options()
    };
    let machine = Machine::boot_by_itself(options).await;
    let console = machine.refuses("configure", "CONFIGURE-HOST").await;
    for place in [
        "/etc/sealboot/host.json",
        "the EFI variable SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8",
        "the SMBIOS OEM string sealboot.host-config",
        "fw_cfg opt/sealboot/host-config",
    ] {
        assert!(console.contains(&format!("none in {place}")), "{console}");
    }
}

#[tokio::test]
async fn the_command_line_alone() {
    let world = World::new().await;
    let options = Options {
        append: format!(
            "ip=dhcp sealboot.image={IMAGE} sealboot.mirror={}",
            world.mirror()
        ),
        ..world.options()
    };
    boots_by("cmdline", options).await;
}

#[tokio::test]
async fn a_file_that_the_command_line_names() {
    let world = World::new().await;
    let options = world.options();
    let initramfs = options.initramfs.as_ref().unwrap();
    let mut tree = Tree::new();
    let name = "etc/sealboot/lab.json";
    add(&mut tree, name, world.host_config().into());
    append(initramfs, tree);
    let options = Options {
        append: format!("sealboot.config=/{name}"),
        ..options
    };
    boots_by("config", options).await;
}

#[tokio::test]
async fn an_oem_string_of_smbios() {
    let world = World::new().await;
    let string = format!("sealboot.host-config:{}", world.host_config());
    boots_by("smbios", world.smbios(&string)).await;
}

#[tokio::test]
async fn an_invalid_oem_string_is_named_and_nothing_falls_through() {
    let world = World::new().await;
    let string = format!("sealboot.host-config:{}", world.invalid_host_config());
    let options = Options {
        fw_cfg: vec![(
            "opt/sealboot/host-config".to_owned(),
            world.write("host.json", world.host_config()),
        )],
        ..world.smbios(&string)
    };
    refuses("the SMBIOS OEM string sealboot.host-config", options).await;
}

#[tokio::test]
async fn a_file_of_fw_cfg() {
    let world = World::new().await;
    let options = Options {
        fw_cfg: vec![(
            "opt/sealboot/host-config".to_owned(),
            world.write("host.json", world.host_config()),
        )],
        ..world.options()
    };
    boots_by("fw_cfg", options).await;
}

#[tokio::test]
async fn an_efi_variable_that_the_tool_wrote_on_the_machine() {
    let world = World::new().await;
    let json = world.host_config();
    let console = on_the_machine(
        &world,
        &json,
        "sealboot host-config write-efi /host.json && sealboot host-config write-efi /host.json",
    )
    .await;
    for sentence in [
        "this machine keeps /host.json from now on",
        "this machine keeps /host.json already; nothing was written",
        "/sys/firmware/efi/efivars/SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8",
    ] {
        assert!(console.contains(sentence), "{sentence}\n{console}");
    }
    boots_by("efi", world.uefi()).await;
}

#[tokio::test]
async fn an_invalid_efi_variable_is_named_and_the_tool_removes_it() {
    let world = World::new().await;
    let json = world.invalid_host_config();
    let name = "SealbootHostConfig-df55c348-5613-44bd-be79-b44fa251bce8";
    let script = format!(
        "mount -t efivarfs efivarfs /sys/firmware/efi/efivars
sealboot host-config write-efi /host.json || echo refused with $?
printf '\\007\\000\\000\\000' > /value && cat /host.json >> /value
dd if=/value of=/sys/firmware/efi/efivars/{name} bs=64k"
    );
    let console = on_the_machine(&world, &json, &script).await;
    assert!(console.contains("refused with 3"), "{console}");
    refuses(&format!("the EFI variable {name}"), world.uefi()).await;
    let console = on_the_machine(&world, &json, "sealboot host-config remove-efi").await;
    let sentence = format!("the EFI variable {name} is removed");
    assert!(console.contains(&sentence), "{console}");
}

#[tokio::test]
async fn a_mirror_whose_path_names_the_machine() {
    let world = World::new().await;
    let root = "/racks/CZ%201234/52-54-00-12-34-56/";
    let port = serve_below(root, world.store.path()).await;
    let mirror = format!("https://{HOST_ADDRESS}:{port}/racks/$serial/${{mac}}/");
    let options = Options {
        append: format!("ip=dhcp sealboot.image={IMAGE} sealboot.mirror={mirror}"),
        smbios: vec!["type=1,serial=CZ 1234".to_owned()],
        ..world.options()
    };
    let console = boots_by("cmdline", options).await;
    for sentence in [
        "machine  serial number CZ 1234",
        &format!("image    {IMAGE} from {mirror}"),
        &format!("https://{HOST_ADDRESS}:{port}{root}"),
    ] {
        assert!(console.contains(sentence), "{sentence}\n{console}");
    }
}

#[tokio::test]
async fn a_machine_without_the_identity_that_its_mirror_asks_for() {
    let world = World::new().await;
    let options = Options {
        append: format!(
            "ip=dhcp sealboot.image={IMAGE} sealboot.mirror={}$serial/",
            world.mirror()
        ),
        smbios: vec!["type=1,serial=To be filled by O.E.M.".to_owned()],
        ..world.options()
    };
    let machine = Machine::boot_by_itself(options).await;
    let console = machine.refuses("configure", "CONFIGURE-IDENTITY").await;
    let sentence = "its firmware says \"To be filled by O.E.M.\", as on many machines";
    assert!(console.contains(sentence), "{console}");
}

/// Serves a store below this path alone, as any web server could, and gives the port.
async fn serve_below(root: &'static str, store: PathBuf) -> u16 {
    let lab = Lab::get();
    let pem = fs::read(lab.path("tls/server.pem")).unwrap();
    let chain = CertificateDer::pem_slice_iter(&pem).map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_file(lab.path("tls/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(tls_provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((machine, _)) = listener.accept().await {
            let (acceptor, store) = (acceptor.clone(), store.clone());
            tokio::spawn(async move {
                // One that only sees whether somebody listens goes away.
                if let Ok(stream) = acceptor.accept(machine).await {
                    let _ = answer(stream, root, &store).await;
                }
            });
        }
    });
    port
}

/// Answers one request: a whole file, or that there is none.
async fn answer(stream: TlsStream<TcpStream>, root: &str, store: &Path) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default();
    let file = path
        .strip_prefix(root)
        .map(|file| fs::read(store.join(file)));
    let (status, body) = match file {
        Some(Ok(body)) => ("200 OK", body),
        _ => ("404 Not Found", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}

/// What a script on the machine says last.
const DONE: &str = "the script has ended with 0";

/// Runs a script on a machine with EFI and the operator's tool, which has this /host.json, and gives its console.
async fn on_the_machine(world: &World, json: &str, script: &str) -> String {
    let lab = Lab::get();
    let init = format!(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
insmod /efivarfs.ko
{{
{script}
}}
echo \"the script has ended with $?\"
poweroff -f
"
    );
    let mut files = libraries(&lab.sealboot);
    for (path, file) in [
        ("bin/busybox", &lab.busybox),
        ("bin/sealboot", &lab.sealboot),
    ] {
        files.push((path.to_owned(), file.clone()));
    }
    let mut tree = Tree::new();
    for (path, file) in files {
        add(&mut tree, &path, fs::read(file).unwrap());
    }
    add(&mut tree, "efivarfs.ko", lab.module("efivarfs"));
    add(&mut tree, "host.json", json.into());
    add(&mut tree, "init", init.into());
    for mount_point in ["dev", "proc", "sys"] {
        tree.directory(mount_point, 0o755).unwrap();
    }
    let initramfs = world.write("userland", tree.write(Vec::new(), 0).unwrap());
    let options = Options {
        initramfs: Some(initramfs),
        ..world.uefi()
    };
    let machine = Machine::boot_by_itself(options).await;
    machine.powers_off_after(DONE).await
}

/// What the dynamic linker loads for a program, and itself: where it looks for each, and where each is.
fn libraries(program: &Path) -> Vec<(String, PathBuf)> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    let libraries: Vec<(String, PathBuf)> = paths
        .map(|path| (path.trim_start_matches('/').to_owned(), PathBuf::from(path)))
        .collect();
    assert!(!libraries.is_empty(), "{text}");
    libraries
}

fn add(tree: &mut Tree<'_>, path: &str, bytes: Vec<u8>) {
    let size = bytes.len() as u64;
    tree.file(path, 0o755, size, Cursor::new(bytes)).unwrap();
}

/// Adds one more archive to an initramfs, as a boot loader may.
fn append(initramfs: &Path, tree: Tree<'_>) {
    let mut bytes = fs::read(initramfs).unwrap();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    fs::write(initramfs, tree.write(bytes, 0).unwrap()).unwrap();
}
