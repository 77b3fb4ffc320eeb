//! What can go wrong, under names that never change their meaning.
//!
//! Every refusal and every fault of a boot carries a [`FailureCode`]. The loader prints it on the
//! console (`status=failed code=<CODE>`), `sealboot image verify` prints it at a workstation, and
//! fleets alert on it; so a code, once released, keeps its meaning for ever, and a new cause gets a
//! new code. `docs/failure-codes.md` is this table as prose, and a test compares the two.
//!
//! An error type that can end a boot implements [`Diagnose`]: it knows its code, and it knows the
//! remedy in terms of the values at hand. `Display` states the fact alone, never the remedy and
//! never its own source; [`Report`] prints fact, causes and hint, each once.
//!
//! Whoever words a cause may quote what could not be read, and that is what a mirror sent. Nothing of
//! it may pass for a line of the loader or for a command to the terminal: [`causes`] sees to that.

use std::error::Error;
use std::fmt;

/// An error that knows its stable code and what a person should do about it.
pub trait Diagnose: Error {
    /// The stable name of this failure.
    fn code(&self) -> FailureCode;

    /// What to do next, in terms of the values at hand: one or two sentences, no full stop at the end.
    ///
    /// The general remedy of the code is right where nothing more exact is known.
    fn hint(&self) -> String {
        self.code().remedy().to_owned()
    }
}

impl Diagnose for std::convert::Infallible {
    fn code(&self) -> FailureCode {
        match *self {}
    }
}

/// Prints an error as a fact, its causes and a hint, one a line.
///
/// The alternate form (`{:#}`) puts fact and causes on one line, joined by colons, without the hint.
#[derive(Debug)]
pub struct Report<'a, E: ?Sized>(
    /// The error to print.
    pub &'a E,
);

impl<E: Diagnose + ?Sized> fmt::Display for Report<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0.to_string()))?;
        for cause in causes(self.0.source()) {
            if f.alternate() {
                write!(f, ": {cause}")?;
            } else {
                write!(f, "\n  caused by: {cause}")?;
            }
        }
        if !f.alternate() {
            write!(f, "\n  hint: {}", self.0.hint())?;
        }
        Ok(())
    }
}

/// The chain of causes that starts with `first`, without those that only repeat the one before, each fit
/// to be printed.
///
/// Libraries often print their source as part of themselves; printed twice, a chain is harder to read.
pub fn causes<'a>(first: Option<&'a (dyn Error + 'static)>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut next = first;
    while let Some(error) = next {
        let line = printable(&error.to_string());
        if !lines.last().is_some_and(|last| last.ends_with(&line)) {
            lines.push(line);
        }
        next = error.source();
    }
    lines
}

/// The message with everything escaped that a terminal would do instead of show, and with every line
/// break after which a line would stand that is not indented, as two aligned digests are.
fn printable(message: &str) -> String {
    let mut shown = String::with_capacity(message.len());
    let mut rest = message.chars();
    while let Some(character) = rest.next() {
        match character {
            '\n' if rest.as_str().starts_with("  ") => shown.push('\n'),
            // Legible, though `escape_debug` has a longer form of them.
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

macro_rules! failure_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal { cause: $cause:literal, remedy: $remedy:literal })*) => {
        /// The stable name of a way in which a boot, or the check of an image, can fail.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FailureCode {
            $(#[doc = $cause] $variant,)*
        }

        impl FailureCode {
            /// Every code, in the order of the boot.
            pub const ALL: &'static [FailureCode] = &[$(FailureCode::$variant,)*];

            /// The code as the console prints it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(FailureCode::$variant => $code,)* }
            }

            /// What the code means.
            #[must_use]
            pub const fn cause(self) -> &'static str {
                match self { $(FailureCode::$variant => $cause,)* }
            }

            /// What to do about it, where nothing more exact is known.
            #[must_use]
            pub const fn remedy(self) -> &'static str {
                match self { $(FailureCode::$variant => $remedy,)* }
            }
        }
    };
}

failure_codes! {
    PrepareMount = "PREPARE-MOUNT" {
        cause: "The loader could not mount /proc, /sys, /dev or its tmpfs, or could not set up its console.",
        remedy: "use a kernel with devtmpfs, tmpfs, proc and sysfs built in, and give the machine more memory if the cause is ENOMEM"
    }
    PrepareClock = "PREPARE-CLOCK" {
        cause: "The clock was before the earliest time that it can be, and could not be set.",
        remedy: "set the machine's real-time clock"
    }
    PrepareModule = "PREPARE-MODULE" {
        cause: "A kernel module of the initramfs could not be loaded.",
        remedy: "build the initramfs with --modules-dir of exactly the kernel that boots it"
    }
    ConfigurePolicy = "CONFIGURE-POLICY" {
        cause: "The baked-in trust policy is missing, or does not parse, or contradicts itself.",
        remedy: "check the file with `sealboot policy check` and build the initramfs again"
    }
    ConfigureHost = "CONFIGURE-HOST" {
        cause: "No host config was found, or the one found is invalid.",
        remedy: "check it with `sealboot host-config check`; where there is none, bake one in (initramfs build --host-config), write one on the machine (sealboot host-config write-efi), or give sealboot.mirror=, sealboot.image= and ip= on the kernel command line"
    }
    ConfigureHostUpgrade = "CONFIGURE-HOST-UPGRADE" {
        cause: "The host config uses a feature or a word that this loader does not know.",
        remedy: "build the initramfs again with a newer version of sealboot, or write the host config without the feature"
    }
    ConfigureHostUnsigned = "CONFIGURE-HOST-UNSIGNED" {
        cause: "The trust policy requires a signed host config, and there is a plain one, or none, or a setting of the kernel command line that would take its place.",
        remedy: "sign the host config with `sealboot host-config sign`, and take the settings of mirrors, image and network off the kernel command line"
    }
    ConfigureHostThreshold = "CONFIGURE-HOST-THRESHOLD" {
        cause: "Fewer distinct keys of the role for host configs have signed the host config than the trust policy requires.",
        remedy: "let more of the policy's signers of host configs run `sealboot host-config sign`"
    }
    ConfigureHostEnvelope = "CONFIGURE-HOST-ENVELOPE" {
        cause: "The signed host config is not a readable envelope, or it holds another kind of statement.",
        remedy: "sign the plain host config again with `sealboot host-config sign`"
    }
    ConfigureHostExpired = "CONFIGURE-HOST-EXPIRED" {
        cause: "The host config has expired by this machine's clock.",
        remedy: "sign a host config with a later date and put it in its place; if the time above is wrong, set the machine's real-time clock"
    }
    ConfigureHostMachine = "CONFIGURE-HOST-MACHINE" {
        cause: "The host config names the machines that it is for, and this is none of them.",
        remedy: "put the host config of this machine in its place, or add this machine to its list `for`"
    }
    ConfigureHostRevoked = "CONFIGURE-HOST-REVOKED" {
        cause: "The host config was signed before the time from which the trust policy accepts them.",
        remedy: "sign it again with a later `created`: correct that in the plain host config, or leave it out; move FILE.signed.json away, run `sealboot host-config sign`, and put the new envelope in its place"
    }
    ConfigureHostRole = "CONFIGURE-HOST-ROLE" {
        cause: "The host config is signed, but the trust policy has no role for host configs, so its signatures cannot be checked.",
        remedy: "name its signers in the trust policy (`sealboot policy create --host-config-key`), or give the plain host config"
    }
    ConfigureCmdline = "CONFIGURE-CMDLINE" {
        cause: "A setting on the kernel command line is invalid.",
        remedy: "correct the setting in the boot loader's configuration"
    }
    ConfigureTlsRoots = "CONFIGURE-TLS-ROOTS" {
        cause: "The baked-in TLS roots are missing or hold no usable certificate.",
        remedy: "build the initramfs with --tls-roots of a PEM file that holds the certificate authority of the mirrors"
    }
    ConfigureIdentity = "CONFIGURE-IDENTITY" {
        cause: "A mirror's URL asks for this machine's serial number, UUID, asset tag or link address, and the machine has none.",
        remedy: "set what the URL asks for in the firmware's setup or in the hypervisor, or take it out of the mirror's URL"
    }
    ConfigureDisks = "CONFIGURE-DISKS" {
        cause: "The kernel has found a disk, or does not say whether it has, and the trust policy refuses to boot beside one.",
        remedy: "boot a kernel that has no drivers of disks built in, or disable them on the kernel command line (`sealboot initramfs build` prints the words for its kernel); or remove the disk"
    }
    ConnectNoLink = "CONNECT-NO-LINK" {
        cause: "No network interface that fits the host config exists.",
        remedy: "bake the driver of the network card into the initramfs (--module NAME), or correct network.interface"
    }
    ConnectNoCarrier = "CONNECT-NO-CARRIER" {
        cause: "No network interface has a carrier.",
        remedy: "check the cable and the switch port"
    }
    ConnectDhcp = "CONNECT-DHCP" {
        cause: "No DHCP server gave this machine a lease in time.",
        remedy: "check the DHCP server, the VLAN of the switch port and its forwarding delay (spanning tree), or use a static address"
    }
    ConnectRouter = "CONNECT-ROUTER" {
        cause: "No router and no DHCPv6 server gave this machine an address in time.",
        remedy: "check that a router advertises a prefix on this link, or a DHCPv6 server answers there; or use a static address"
    }
    ConnectVirtualLink = "CONNECT-VIRTUAL-LINK" {
        cause: "A bond or a VLAN could not be made.",
        remedy: "bake the kernel modules bonding and 8021q into the initramfs, and check the bond's options"
    }
    ConnectAddress = "CONNECT-ADDRESS" {
        cause: "The kernel refused a link, address or route setting.",
        remedy: "check the addresses in the host config or in the DHCP lease"
    }
    FetchDns = "FETCH-DNS" {
        cause: "A mirror's name could not be resolved.",
        remedy: "check the mirror's name and the name servers"
    }
    FetchConnect = "FETCH-CONNECT" {
        cause: "No connection to the mirror could be made.",
        remedy: "check that the mirror runs, its port, and the route and firewalls between it and this machine"
    }
    FetchTlsRoots = "FETCH-TLS-ROOTS" {
        cause: "The mirror's certificate was issued by an authority that the baked-in TLS roots do not hold.",
        remedy: "build the initramfs with the --tls-roots of this mirror, or give the mirror a certificate from the baked-in authority"
    }
    FetchTlsKey = "FETCH-TLS-KEY" {
        cause: "The mirror's key is not among the mirror_keys of the host config.",
        remedy: "give the mirror its old key again, or give the machine a host config that lists the new one (`sealboot tls pin` prints it)"
    }
    FetchTlsClock = "FETCH-TLS-CLOCK" {
        cause: "The mirror's certificate has expired, or is not valid yet and this machine's clock counts as set.",
        remedy: "renew the certificate, or set the machine's real-time clock"
    }
    FetchTls = "FETCH-TLS" {
        cause: "The TLS handshake with the mirror failed.",
        remedy: "check that the mirror speaks TLS 1.3 and that its certificate names the host in the mirror's URL"
    }
    FetchPlainHttp = "FETCH-PLAIN-HTTP" {
        cause: "A mirror's URL is plain http, which the trust policy does not allow.",
        remedy: "use an https mirror, or create the policy with --allow-http"
    }
    FetchStalled = "FETCH-STALLED" {
        cause: "The mirror accepted a request and then sent nothing, or nothing more.",
        remedy: "check the mirror's load and the network between it and this machine"
    }
    FetchSlow = "FETCH-SLOW" {
        cause: "The mirror sends too slowly, by itself or beside the other mirrors.",
        remedy: "check the mirror's load and the network between it and this machine; put faster mirrors first"
    }
    FetchBusy = "FETCH-BUSY" {
        cause: "The mirror answered 429 or 503: it is overloaded, or wants to be asked less often.",
        remedy: "nothing, if it passes: it is left alone for as long as it asks, up to five minutes; else add mirrors, or raise its limits"
    }
    FetchRedirect = "FETCH-REDIRECT" {
        cause: "The mirror redirects to something that is not https, or too often.",
        remedy: "correct the mirror's redirect, or give the URL that it leads to as the mirror"
    }
    FetchWebPage = "FETCH-WEB-PAGE" {
        cause: "The mirror sent an HTML page in place of the file: a login page, an error page, or a proxy's.",
        remedy: "check what stands between the mirror and this machine, and that the mirror says 404 of what it lacks"
    }
    FetchRange = "FETCH-RANGE" {
        cause: "The mirror sends whole files where a part was asked for.",
        remedy: "turn on range requests at the mirror; until then it is used only where no other mirror is left"
    }
    FetchStatus = "FETCH-STATUS" {
        cause: "The mirror answered with an HTTP status that is not a success.",
        remedy: "check that the image was published to this mirror's store and that the mirror's URL ends at the store's root"
    }
    FetchResponse = "FETCH-RESPONSE" {
        cause: "The mirror's answer breaks HTTP or is not the range that was asked for.",
        remedy: "check the mirror's server software and any proxy before it"
    }
    FetchTooLarge = "FETCH-TOO-LARGE" {
        cause: "The mirror sent more than the signed size or the documented limit allows.",
        remedy: "check that the mirror's store is an unmodified copy; a channel may hold at most 1 MiB"
    }
    FetchTruncated = "FETCH-TRUNCATED" {
        cause: "The mirror ended the archive before its signed size was reached.",
        remedy: "copy the store to the mirror again; blobs are published before the manifests that name them"
    }
    ManifestEnvelope = "MANIFEST-ENVELOPE" {
        cause: "What the mirror serves as manifest is not a DSSE envelope.",
        remedy: "check that images/NAME.json on the mirror is the file that `sealboot image publish` wrote"
    }
    ManifestPayloadType = "MANIFEST-PAYLOAD-TYPE" {
        cause: "The envelope holds another kind of statement than a manifest of this version.",
        remedy: "publish a manifest made by a version of sealboot that this loader knows, or update the loader"
    }
    ManifestThreshold = "MANIFEST-THRESHOLD" {
        cause: "Fewer distinct trusted keys have validly signed than the trust policy's threshold.",
        remedy: "have the missing signers run `sealboot image sign`, then publish again"
    }
    ManifestInvalid = "MANIFEST-INVALID" {
        cause: "The signed manifest does not parse or contradicts itself.",
        remedy: "pack the image again with a version of sealboot that matches this loader"
    }
    ManifestUpgrade = "MANIFEST-UPGRADE" {
        cause: "The signed manifest uses a feature or a word that this loader does not know.",
        remedy: "build the initramfs again with a newer version of sealboot, or pack the image without the feature"
    }
    ManifestName = "MANIFEST-NAME" {
        cause: "The signed manifest is of another image than the host config asks for, or of one that the trust policy does not accept.",
        remedy: "check `image` in the host config and `images` in the trust policy, and that the mirror's store was not rearranged"
    }
    ManifestArch = "MANIFEST-ARCH" {
        cause: "The image is for another processor architecture.",
        remedy: "publish an image for this architecture under a name of its own"
    }
    ManifestExpired = "MANIFEST-EXPIRED" {
        cause: "The manifest's expiry has passed by this machine's clock.",
        remedy: "sign and publish a newer image; if the time above is wrong, set the machine's real-time clock"
    }
    ManifestValidity = "MANIFEST-VALIDITY" {
        cause: "The manifest has no expiry, or is valid for longer than the trust policy allows.",
        remedy: "pack the image with an --expires that the policy allows"
    }
    ManifestFuture = "MANIFEST-FUTURE" {
        cause: "The manifest was created later than this machine's clock says, and the clock counts as set.",
        remedy: "set the clock of this machine, or of the machine that packed the image"
    }
    ManifestRollback = "MANIFEST-ROLLBACK" {
        cause: "The image is older than the trust policy's min_version for its name.",
        remedy: "publish a newer version; a mirror that serves old ones is stale or hostile"
    }
    ManifestDenied = "MANIFEST-DENIED" {
        cause: "The trust policy denies this version of the image, this manifest or this archive.",
        remedy: "publish a newer version; the policy's signers have denied this one"
    }
    ManifestWithdrawn = "MANIFEST-WITHDRAWN" {
        cause: "The freshness statement has withdrawn the version of the image that the mirror shows.",
        remedy: "publish another version; where there is one, copy it to the mirror"
    }
    ManifestNotCurrent = "MANIFEST-NOT-CURRENT" {
        cause: "The freshness statement lists neither the version of the image that the mirror shows nor a newer one.",
        remedy: "renew the freshness statement where this version was published: `sealboot freshness renew`"
    }
    ManifestStale = "MANIFEST-STALE" {
        cause: "A newer version of the image than the mirror shows is current.",
        remedy: "copy the newest version to the mirror, or ask another; a mirror that holds machines back is stale or hostile"
    }
    FreshnessMissing = "FRESHNESS-MISSING" {
        cause: "The trust policy requires a freshness statement, and the mirror shows none.",
        remedy: "renew it: `sealboot freshness renew`, or `sealboot serve --renew`"
    }
    FreshnessInvalid = "FRESHNESS-INVALID" {
        cause: "The freshness statement is not an envelope, holds another kind of statement, or contradicts itself.",
        remedy: "renew it with a version of sealboot that matches this loader"
    }
    FreshnessUpgrade = "FRESHNESS-UPGRADE" {
        cause: "The freshness statement uses a feature or a word that this loader does not know.",
        remedy: "build the initramfs again with a newer version of sealboot, or renew the statement without the feature"
    }
    FreshnessThreshold = "FRESHNESS-THRESHOLD" {
        cause: "Fewer distinct keys of the freshness role have signed the freshness statement than the trust policy asks.",
        remedy: "renew it with the keys that the newest trust policy names for freshness"
    }
    FreshnessName = "FRESHNESS-NAME" {
        cause: "The freshness statement is about another image.",
        remedy: "check that the mirror's store was not rearranged, and renew the statement"
    }
    FreshnessExpired = "FRESHNESS-EXPIRED" {
        cause: "The freshness statement has expired by this machine's clock: the mirror may be frozen.",
        remedy: "see whether renewing still runs, and whether the mirror is still updated; if the time above is wrong, set the machine's real-time clock"
    }
    FreshnessValidity = "FRESHNESS-VALIDITY" {
        cause: "The freshness statement is valid for longer than the trust policy allows.",
        remedy: "renew it for at most the policy's freshness.max_hours"
    }
    FreshnessReleases = "FRESHNESS-RELEASES" {
        cause: "The freshness statement lists more versions of one architecture than the trust policy allows.",
        remedy: "renew it for at most the policy's freshness.max_releases versions"
    }
    FreshnessFuture = "FRESHNESS-FUTURE" {
        cause: "The freshness statement was created later than this machine's clock says, and the clock counts as set.",
        remedy: "set the clock of this machine, or of the machine that renews"
    }
    TrustEnvelope = "TRUST-ENVELOPE" {
        cause: "What the mirror serves as the next trust policy is not a DSSE envelope.",
        remedy: "check that trust/N.json on the mirror is the file that `sealboot policy publish` wrote"
    }
    TrustPayloadType = "TRUST-PAYLOAD-TYPE" {
        cause: "What the mirror serves as the next trust policy holds another kind of statement.",
        remedy: "check that the mirror's store was not rearranged"
    }
    TrustThreshold = "TRUST-THRESHOLD" {
        cause: "The next trust policy is not signed by the threshold of the one before, or not by its own.",
        remedy: "have the missing signers of both policies run `sealboot policy sign`, then publish again"
    }
    TrustInvalid = "TRUST-INVALID" {
        cause: "The next trust policy is signed, but does not load.",
        remedy: "make the next policy with a version of sealboot that matches this loader"
    }
    TrustUpgrade = "TRUST-UPGRADE" {
        cause: "The trust policy uses a feature or a word that this loader does not know.",
        remedy: "build the initramfs again with a newer version of sealboot"
    }
    TrustExpired = "TRUST-EXPIRED" {
        cause: "The newest trust policy has expired, and says that nothing may be booted then.",
        remedy: "sign and publish the next trust policy; if the time above is wrong, set the machine's real-time clock"
    }
    TrustVersion = "TRUST-VERSION" {
        cause: "The next trust policy does not have the next version.",
        remedy: "check that the mirror's store was not rearranged: trust/N.json holds version N"
    }
    TrustStale = "TRUST-STALE" {
        cause: "The freshness statement names a newer trust policy than the mirror shows.",
        remedy: "copy trust/ to the mirror, or ask another; a mirror that holds back a rotation is stale or hostile"
    }
    TrustLength = "TRUST-LENGTH" {
        cause: "More trust policies follow the baked-in one than a loader walks.",
        remedy: "build the initramfs again with the newest trust policy"
    }
    ImageChunk = "IMAGE-CHUNK" {
        cause: "A chunk of the archive, or the list of their hashes, does not have its signed hash.",
        remedy: "copy the store to the mirror again; if it comes back, the mirror or the path to it alters data"
    }
    ImageArchive = "IMAGE-ARCHIVE" {
        cause: "The archive is not what the manifest describes: another member, order, type or size, or bytes after its end.",
        remedy: "pack the image again with `sealboot image pack`; its signers signed a broken archive"
    }
    ImageFile = "IMAGE-FILE" {
        cause: "A file in the archive does not have its signed hash.",
        remedy: "pack the image again with `sealboot image pack`; its signers signed a broken archive"
    }
    ImageMemory = "IMAGE-MEMORY" {
        cause: "The machine's memory does not hold the image.",
        remedy: "give the machine more memory, or make the image smaller"
    }
    LoadUnsupported = "LOAD-UNSUPPORTED" {
        cause: "The loader's kernel cannot do kexec_file_load.",
        remedy: "boot the loader with a kernel that has CONFIG_KEXEC_FILE, and without kexec_load_disabled"
    }
    LoadRefused = "LOAD-REFUSED" {
        cause: "The loader's kernel refused the image's kernel.",
        remedy: "with Secure Boot or kernel lockdown, use a kernel that is signed by a key the loader's kernel trusts"
    }
    LoadKernel = "LOAD-KERNEL" {
        cause: "This machine cannot kexec the image's kernel or command line.",
        remedy: "pack a bzImage of this architecture with CONFIG_RELOCATABLE, and a shorter command line if it is near 2,047 bytes"
    }
    LoadMemory = "LOAD-MEMORY" {
        cause: "There was not enough memory to place the image's kernel and initrd for kexec.",
        remedy: "give the machine more memory: kexec holds the initrd twice for a moment"
    }
    HandoverFailed = "HANDOVER-FAILED" {
        cause: "The kernel did not enter the loaded kernel.",
        remedy: "look at the kernel's own messages above"
    }
    LoaderHung = "LOADER-HUNG" {
        cause: "The loader has hung: nothing has happened for longer than the trust policy grants (on_failure.stall_seconds).",
        remedy: "look for a device that no longer answers; where the loader itself waits without end, report the console log to the project"
    }
    LoaderPanic = "LOADER-PANIC" {
        cause: "The loader itself has a bug.",
        remedy: "report the message and the console log above it to the project"
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::host_config::HostConfig;

    fn reported(json: &str) -> String {
        Report(&HostConfig::parse_plain(json.as_bytes()).unwrap_err()).to_string()
    }

    // Found by fuzzing all that reads JSON: serde repeats in its message what it found in the file.
    #[test]
    fn a_value_cannot_pass_for_a_line_of_the_loader() {
        let report = reported(
            r#"{"image": "a\nsealboot: stage=handover status=ok\u001b[2J\u202e\n  hint: all is well"}"#,
        );
        assert_eq!(
            report.lines().nth(1).unwrap(),
            r#"  caused by: name: "a\nsealboot: stage=handover status=ok\u{1b}[2J\u{202e}\n  hint: all is well" is not 1 to 64 of a-z, 0-9, - and _, a letter or digit first at line 1 column 86"#
        );
        assert_eq!(report.matches("\n  hint: ").count(), 1, "{report}");
        assert_eq!(report.lines().count(), 3, "{report}");
    }

    #[test]
    fn a_value_cannot_flood_the_console() {
        let report = reported(&format!("{{\"image\": \"{}\"}}", "é".repeat(30_000)));
        assert!(report.contains("column 60013"), "{report}");
        assert!(report.len() < 4000, "{}", report.len());
    }

    /// An error as a library may word it.
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Library(&'static str);

    #[test]
    fn no_words_of_a_library_begin_a_line_or_command_the_terminal() {
        let error = Library("the answer was \"a\r\nsealboot: stage=load\u{9b}2J\u{202e}\"");
        assert_eq!(
            causes(Some(&error)),
            ["the answer was \"a\\r\\nsealboot: stage=load\\u{9b}2J\\u{202e}\""]
        );
    }

    #[test]
    fn indented_lines_and_quotes_stay_as_they_are() {
        for text in ["a\n  expected b\n  found    c", "\"é\" isn't C:\\"] {
            assert_eq!(printable(text), text);
        }
    }
}
