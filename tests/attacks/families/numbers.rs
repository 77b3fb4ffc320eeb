//! Numbers at their bounds and past them, in statements that are validly signed.

use sealboot_core::failure::FailureCode::{ConfigurePolicy, ManifestInvalid, TrustInvalid};
use sealboot_core::format::limits::LIMITS;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::TrustPolicy;
use sealboot_core::trust::policy::AcceptedImage;

use support::world::trust::versioned;

use super::{Case, edited, good, keys, manifest, policy, sealed};
use support::world;

vectors! {
    /// The smallest version.
    version_one => Ok(()), from_one().manifest(&sealed(&manifest(1), &["alice", "bob"])).archive();

    /// The largest version, 2^53 - 1.
    version_of_the_largest_number => Ok(()),
        from_one().manifest(&sealed(&manifest(LIMITS.number_max), &["alice", "bob"])).archive();

    /// Version 0.
    version_zero => Err(ManifestInvalid), version("0");

    /// Version 2^53, which some readers of JSON take for another number.
    version_past_the_largest_number => Err(ManifestInvalid), version("9007199254740992");

    /// Version 2^64, which wraps to 0 where nobody looks.
    version_past_64_bits => Err(ManifestInvalid), version("18446744073709551616");

    /// A version of a thousand digits.
    version_of_a_thousand_digits => Err(ManifestInvalid), version(&"9".repeat(1000));

    /// A negative version.
    version_below_zero => Err(ManifestInvalid), version("-1");

    /// Zero with a sign.
    version_minus_zero => Err(ManifestInvalid), version("-0");

    /// A version with a fraction.
    version_with_a_fraction => Err(ManifestInvalid), version("42.0");

    /// A version with an exponent.
    version_with_an_exponent => Err(ManifestInvalid), version("42e0");

    /// A version past what any float holds.
    version_past_floats => Err(ManifestInvalid), version("1e999");

    /// A version that is no number, as some writers of JSON spell it.
    version_nan => Err(ManifestInvalid), version("NaN");

    /// A version with a leading zero, which some read as octal.
    version_with_a_leading_zero => Err(ManifestInvalid), version("042");

    /// A version in hexadecimal.
    version_in_hexadecimal => Err(ManifestInvalid), version("0x2a");

    /// A version as text.
    version_as_text => Err(ManifestInvalid), version("\"42\"");

    /// A version of null.
    version_null => Err(ManifestInvalid), version("null");

    /// A file of 2^64 - 1 bytes, which with its header and padding wraps around.
    file_size_that_overflows => Err(ManifestInvalid), of_kernel("\"size\":18446744073709551615");

    /// A kernel of no bytes.
    kernel_of_no_bytes => Err(ManifestInvalid), of_kernel("\"size\":0");

    /// A file of a negative number of bytes.
    file_size_below_zero => Err(ManifestInvalid), of_kernel("\"size\":-9");

    /// An archive of one byte more than is ever read.
    archive_past_the_largest => Err(ManifestInvalid),
        replaced("\"size\":3072", "\"size\":68719476737");

    /// An archive of no bytes.
    archive_of_no_bytes => Err(ManifestInvalid), replaced("\"size\":3072", "\"size\":0");

    /// Chunks of no bytes, by which somebody would divide.
    chunk_size_zero => Err(ManifestInvalid), replaced("\"chunk_size\":65536", "\"chunk_size\":0");

    /// Chunks of 2^63 bytes, one of which would be held in memory.
    chunk_size_that_overflows => Err(ManifestInvalid),
        replaced("\"chunk_size\":65536", "\"chunk_size\":9223372036854775808");

    /// Chunks of a size that is no power of two.
    chunk_size_no_power_of_two => Err(ManifestInvalid),
        replaced("\"chunk_size\":65536", "\"chunk_size\":65537");

    /// The day after the last on which a calendar has days.
    date_past_the_calendar => Err(ManifestInvalid),
        replaced("2026-01-01T12:00:00Z", "10000-01-01T00:00:00Z");

    /// The thirtieth of February.
    date_that_is_none => Err(ManifestInvalid),
        replaced("2026-01-01T12:00:00Z", "2026-02-30T12:00:00Z");

    /// The next trust policy has version 0.
    policy_version_zero => Err(TrustInvalid), next("\"version\": 2", "\"version\": 0");

    /// The next trust policy has version 2^53.
    policy_version_past_the_largest_number => Err(TrustInvalid),
        next("\"version\": 2", "\"version\": 9007199254740992");

    /// The next trust policy has version 2.0.
    policy_version_with_a_fraction => Err(TrustInvalid), next("\"version\": 2", "\"version\": 2.0");

    /// The next trust policy asks for -1 signatures.
    policy_threshold_below_zero => Err(TrustInvalid), next("\"threshold\": 2", "\"threshold\": -1");

    /// The next trust policy asks for 2^64 + 2 signatures, which is 2 where nobody looks.
    policy_threshold_past_64_bits => Err(TrustInvalid),
        next("\"threshold\": 2", "\"threshold\": 18446744073709551618");

    /// The next trust policy tolerates clocks that are 2^32 seconds off.
    policy_tolerance_past_32_bits => Err(TrustInvalid),
        next("\"clock_tolerance_seconds\": 300", "\"clock_tolerance_seconds\": 4294967596");

    /// The baked-in trust policy asks for no signature.
    threshold_zero_baked_in => Err(ConfigurePolicy), {
        let policy = edited(&policy().encode(), "\"threshold\": 2", "\"threshold\": 0");
        Case::of_bytes(policy).manifest(&sealed(&manifest(42), &[]))
    };

    /// The baked-in trust policy starts at version 0 of the image.
    min_version_zero_baked_in => Err(ConfigurePolicy),
        Case::of_bytes(edited(&policy().encode(), "\"min_version\": 41", "\"min_version\": 0"))
            .manifest(&good());
}

/// A machine whose policy takes every version.
fn from_one() -> Case {
    let relay = AcceptedImage::new("relay".parse().unwrap(), 1.try_into().unwrap());
    Case::of(&policy().with(|fields| fields.images = vec![relay]).unwrap())
}

/// A manifest with this for its version.
fn version(number: &str) -> Case {
    replaced("\"version\":42", &format!("\"version\":{number}"))
}

/// A manifest with this for its kernel's size.
fn of_kernel(size: &str) -> Case {
    replaced("\"size\":9", size)
}

fn replaced(from: &str, to: &str) -> Case {
    let payload = edited(&manifest(42).encode(), from, to);
    from_one().manifest(&world::seal(
        Manifest::PAYLOAD_TYPE,
        payload,
        &keys(&["alice", "bob"]),
    ))
}

/// A next trust policy that differs in this alone.
fn next(from: &str, to: &str) -> Case {
    let next = versioned(&policy(), 2);
    let payload = edited(&next.encode(), from, to);
    let envelope = world::seal(TrustPolicy::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"]));
    Case::of(&policy()).policy(2, envelope).manifest(&good())
}
