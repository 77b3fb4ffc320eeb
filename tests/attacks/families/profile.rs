//! The lexical profile of signed JSON, row by row, in statements that are validly signed.
//!
//! The rows are those of `support::world::profile`; `tests/formats` tries each in every kind of statement.

use sealboot_core::failure::FailureCode::{
    ConfigureHost, ConfigurePolicy, FreshnessInvalid, ManifestInvalid, TrustInvalid,
};
use sealboot_core::format::freshness::Freshness;
use sealboot_core::format::host_config::HostConfig;
use sealboot_core::format::manifest::Manifest;
use sealboot_core::trust::TrustPolicy;

use support::world::profile::{row, rows};
use support::world::trust::{group, versioned};

use super::{CHANNEL, Case, fresh, freshness, good, keys, manifest, policy, put_keys, shown};
use support::world;

const HOST: &str = r#"{
  "created": "2026-01-10T12:00:00Z",
  "image": "relay",
  "mirrors": ["https://boot.example/"],
  "network": {"mode": "dhcp"}
}
"#;

vectors! {
    /// The manifest as the packer writes it.
    inside_statement_alone => Ok(()), of("statement_alone").archive();

    /// Spaces and line feeds before and after the manifest.
    inside_space_around_the_statement => Ok(()), of("space_around_the_statement").archive();

    /// The smallest number, in a field that this reader does not know.
    inside_number_zero => Ok(()), of("number_zero").archive();

    /// The largest number that every reader of JSON reads alike.
    inside_number_of_2_to_the_53_less_1 => Ok(()), of("number_of_2_to_the_53_less_1").archive();

    /// Both escapes that the profile has.
    inside_escaped_quote_and_backslash => Ok(()), of("escaped_quote_and_backslash").archive();

    /// White space between all tokens.
    inside_spaces_and_line_feeds => Ok(()), of("spaces_and_line_feeds").archive();

    /// Both words that are values.
    inside_words_true_and_false => Ok(()), of("words_true_and_false").archive();

    /// A string of every printable character of ASCII.
    inside_every_printable_character => Ok(()), of("every_printable_character").archive();

    /// One name in three objects, once in each.
    inside_one_name_in_two_objects => Ok(()), of("one_name_in_two_objects").archive();

    /// The longest name of a field.
    inside_name_of_64_characters => Ok(()), of("name_of_64_characters").archive();

    /// A name of every kind of character that one may have.
    inside_name_of_a_letter_a_digit_and_a_line => Ok(()), of("name_of_a_letter_a_digit_and_a_line").archive();

    /// A value as deep as the profile allows.
    inside_value_16_deep => Ok(()), of("value_16_deep").archive();

    /// An empty array is signed as a manifest.
    outside_array_for_an_object => Err(ManifestInvalid), of("array_for_an_object");

    /// A name and a version in an array, which some libraries read as an object's fields in order.
    outside_fields_without_names => Err(ManifestInvalid), of("fields_without_names");

    /// A string is signed as a manifest.
    outside_string_for_an_object => Err(ManifestInvalid), of("string_for_an_object");

    /// Nothing is signed as a manifest.
    outside_no_bytes => Err(ManifestInvalid), of("no_bytes");

    /// White space is signed as a manifest.
    outside_space_alone => Err(ManifestInvalid), of("space_alone");

    /// An unknown field is given twice: whichever a later reader takes, another takes the other.
    outside_name_twice => Err(ManifestInvalid), of("name_twice");

    /// An unknown field is given twice with one value.
    outside_name_twice_with_one_value => Err(ManifestInvalid), of("name_twice_with_one_value");

    /// A field is given twice within an object that this reader does not know.
    outside_name_twice_in_an_unknown_object => Err(ManifestInvalid), of("name_twice_in_an_unknown_object");

    /// A field is given twice in the second object of a list that this reader does not know.
    outside_name_twice_in_an_object_of_a_list => Err(ManifestInvalid), of("name_twice_in_an_object_of_a_list");

    /// A name in capitals, which some readers match without regard to case.
    outside_name_in_capitals => Err(ManifestInvalid), of("name_in_capitals");

    /// A name with one capital letter.
    outside_name_with_a_capital => Err(ManifestInvalid), of("name_with_a_capital");

    /// A field without a name.
    outside_name_of_nothing => Err(ManifestInvalid), of("name_of_nothing");

    /// A name that begins with a digit.
    outside_name_that_begins_with_a_digit => Err(ManifestInvalid), of("name_that_begins_with_a_digit");

    /// The name by which JavaScript reaches an object's prototype.
    outside_name_that_begins_with_a_line => Err(ManifestInvalid), of("name_that_begins_with_a_line");

    /// A name with a hyphen.
    outside_name_with_a_hyphen => Err(ManifestInvalid), of("name_with_a_hyphen");

    /// A name with a space.
    outside_name_with_a_space => Err(ManifestInvalid), of("name_with_a_space");

    /// A name with a quote in it, by an escape that strings may have.
    outside_name_with_an_escaped_quote => Err(ManifestInvalid), of("name_with_an_escaped_quote");

    /// Two names that differ in their bytes and are one once their escapes are read.
    outside_name_with_an_escape => Err(ManifestInvalid), of("name_with_an_escape");

    /// A name of one character too many.
    outside_name_of_65_characters => Err(ManifestInvalid), of("name_of_65_characters");

    /// A name without quotes, as lenient readers allow.
    outside_name_without_quotes => Err(ManifestInvalid), of("name_without_quotes");

    /// A field of null, which some readers take for absent.
    outside_null => Err(ManifestInvalid), of("null");

    /// Null in a list.
    outside_null_in_a_list => Err(ManifestInvalid), of("null_in_a_list");

    /// Zero with a sign, which readers take for an integer or a float.
    outside_number_minus_zero => Err(ManifestInvalid), of("number_minus_zero");

    /// A negative number.
    outside_number_below_zero => Err(ManifestInvalid), of("number_below_zero");

    /// A number with a plus.
    outside_number_with_a_plus => Err(ManifestInvalid), of("number_with_a_plus");

    /// A fraction of nothing: an integer to some readers.
    outside_number_with_a_fraction => Err(ManifestInvalid), of("number_with_a_fraction");

    /// A fraction without a whole part.
    outside_number_without_its_whole => Err(ManifestInvalid), of("number_without_its_whole");

    /// A point with no digit after it.
    outside_number_with_a_point_alone => Err(ManifestInvalid), of("number_with_a_point_alone");

    /// An exponent of nothing.
    outside_number_with_an_exponent => Err(ManifestInvalid), of("number_with_an_exponent");

    /// An exponent, by a capital letter.
    outside_number_with_a_capital_exponent => Err(ManifestInvalid), of("number_with_a_capital_exponent");

    /// A leading zero, which some readers take for octal.
    outside_number_with_a_leading_zero => Err(ManifestInvalid), of("number_with_a_leading_zero");

    /// A number in hexadecimal.
    outside_number_in_hexadecimal => Err(ManifestInvalid), of("number_in_hexadecimal");

    /// The first integer that a float does not tell from the next.
    outside_number_of_2_to_the_53 => Err(ManifestInvalid), of("number_of_2_to_the_53");

    /// A number that wraps to zero in 64 bits.
    outside_number_of_2_to_the_64 => Err(ManifestInvalid), of("number_of_2_to_the_64");

    /// NaN, as some writers of JSON spell it.
    outside_number_that_is_none => Err(ManifestInvalid), of("number_that_is_none");

    /// Infinity, as some writers of JSON spell it.
    outside_number_without_an_end => Err(ManifestInvalid), of("number_without_an_end");

    /// A letter as an escape: a second spelling of it.
    outside_escape_of_a_letter => Err(ManifestInvalid), of("escape_of_a_letter");

    /// Half of a surrogate pair, which is no character.
    outside_escape_of_half_a_pair => Err(ManifestInvalid), of("escape_of_half_a_pair");

    /// An escaped slash, as some writers of JSON have it.
    outside_escape_of_a_slash => Err(ManifestInvalid), of("escape_of_a_slash");

    /// A line feed as an escape.
    outside_escape_of_a_line_feed => Err(ManifestInvalid), of("escape_of_a_line_feed");

    /// An escape that JSON does not have.
    outside_escape_of_nothing_known => Err(ManifestInvalid), of("escape_of_nothing_known");

    /// The character that shows all that follows from right to left.
    outside_letter_that_turns_the_text => Err(ManifestInvalid), of("letter_that_turns_the_text");

    /// A letter outside ASCII, which has two spellings in Unicode.
    outside_letter_outside_ascii => Err(ManifestInvalid), of("letter_outside_ascii");

    /// A NUL in a string, where a reader in C would stop.
    outside_nul_in_a_string => Err(ManifestInvalid), of("nul_in_a_string");

    /// A raw line feed in a string.
    outside_line_feed_in_a_string => Err(ManifestInvalid), of("line_feed_in_a_string");

    /// A raw tab in a string.
    outside_tab_in_a_string => Err(ManifestInvalid), of("tab_in_a_string");

    /// The character DEL in a string, which JSON allows and a terminal may obey.
    outside_delete_in_a_string => Err(ManifestInvalid), of("delete_in_a_string");

    /// A tab between tokens, which JSON allows.
    outside_tab => Err(ManifestInvalid), of("tab");

    /// A carriage return between tokens, which JSON allows.
    outside_carriage_return => Err(ManifestInvalid), of("carriage_return");

    /// A space that is not that of ASCII.
    outside_space_outside_ascii => Err(ManifestInvalid), of("space_outside_ascii");

    /// A comment.
    outside_comment => Err(ManifestInvalid), of("comment");

    /// A string in single quotes.
    outside_string_in_single_quotes => Err(ManifestInvalid), of("string_in_single_quotes");

    /// The word for true as Python writes it.
    outside_word_in_capitals => Err(ManifestInvalid), of("word_in_capitals");

    /// The word for true without its last letter.
    outside_word_cut_short => Err(ManifestInvalid), of("word_cut_short");

    /// Two commas in a row.
    outside_comma_in_an_empty_place => Err(ManifestInvalid), of("comma_in_an_empty_place");

    /// Two values of a list without a comma.
    outside_comma_missing_in_a_list => Err(ManifestInvalid), of("comma_missing_in_a_list");

    /// A comma after the last value of a list.
    outside_comma_behind_a_list => Err(ManifestInvalid), of("comma_behind_a_list");

    /// A field without a colon.
    outside_colon_missing => Err(ManifestInvalid), of("colon_missing");

    /// A value one level deeper than the profile allows.
    outside_value_17_deep => Err(ManifestInvalid), of("value_17_deep");

    /// A value that is far too deep, in a field that a reader might skip by recursing.
    outside_value_21_deep => Err(ManifestInvalid), of("value_21_deep");

    /// A byte order mark before the manifest.
    outside_byte_order_mark => Err(ManifestInvalid), of("byte_order_mark");

    /// A letter after the manifest.
    outside_word_behind_the_statement => Err(ManifestInvalid), of("word_behind_the_statement");

    /// A second object after the manifest.
    outside_statement_behind_the_statement => Err(ManifestInvalid), of("statement_behind_the_statement");

    /// A NUL after the manifest.
    outside_nul_behind_the_statement => Err(ManifestInvalid), of("nul_behind_the_statement");

    /// A comma before the manifest.
    outside_comma_before_the_statement => Err(ManifestInvalid), of("comma_before_the_statement");

    /// A comma after the last field.
    outside_comma_behind_the_last_field => Err(ManifestInvalid), of("comma_behind_the_last_field");

    /// The manifest ends within a string.
    outside_string_that_does_not_end => Err(ManifestInvalid), of("string_that_does_not_end");

    /// The manifest ends within an escape.
    outside_escape_that_does_not_end => Err(ManifestInvalid), of("escape_that_does_not_end");

    /// The manifest ends before its object does.
    outside_object_that_does_not_end => Err(ManifestInvalid), of("object_that_does_not_end");

    /// A field without a value.
    outside_value_that_is_missing => Err(ManifestInvalid), of("value_that_is_missing");

    /// The next trust policy has an unknown field of null.
    outside_null_in_the_next_policy => Err(TrustInvalid), next("null");

    /// The next trust policy has an unknown object with one name twice.
    outside_name_twice_in_the_next_policy => Err(TrustInvalid), next("name_twice_in_an_unknown_object");

    /// The next trust policy has a value one level too deep.
    outside_value_17_deep_in_the_next_policy => Err(TrustInvalid), next("value_17_deep");

    /// The next trust policy has a value as deep as the profile allows.
    inside_value_16_deep_in_the_next_policy => Ok(()), next("value_16_deep").archive();

    /// The baked-in trust policy has an unknown field of null.
    outside_null_in_the_baked_in_policy => Err(ConfigurePolicy), baked_in("null");

    /// The baked-in trust policy has a tab in it, as an editor may leave one.
    outside_tab_in_the_baked_in_policy => Err(ConfigurePolicy), baked_in("tab");

    /// The baked-in trust policy has both escapes that the profile has.
    inside_escapes_in_the_baked_in_policy => Ok(()), baked_in("escaped_quote_and_backslash").archive();

    /// The freshness statement has an unknown field of null.
    outside_null_in_a_freshness => Err(FreshnessInvalid), fresh_by("null");

    /// The freshness statement has an unknown number that readers take for two.
    outside_number_of_2_to_the_53_in_a_freshness => Err(FreshnessInvalid), fresh_by("number_of_2_to_the_53");

    /// The freshness statement has the largest number in an unknown field.
    inside_number_of_2_to_the_53_less_1_in_a_freshness => Ok(()),
        fresh_by("number_of_2_to_the_53_less_1").archive();

    /// The signed host config has an unknown field of null.
    outside_null_in_a_signed_host_config => Err(ConfigureHost), host("null");

    /// The signed host config has a letter as an escape.
    outside_escape_in_a_signed_host_config => Err(ConfigureHost), host("escape_of_a_letter");

    /// The signed host config has the longest name of a field.
    inside_name_of_64_characters_in_a_signed_host_config => Ok(()),
        host("name_of_64_characters").archive();

    /// A plain host config is for people to write: any JSON will do, a letter as an escape and tabs included.
    escape_and_tabs_in_a_plain_host_config => Ok(()),
        with_host(HOST.replace("relay", r"r\u0065lay").replace("  ", "\t").into_bytes()).archive();
}

/// The manifest with the edit of this row, validly signed.
fn of(name: &str) -> Case {
    let payload = row(name).apply(&manifest(42).encode());
    shown(&world::seal(
        Manifest::PAYLOAD_TYPE,
        payload,
        &keys(&["alice", "bob"]),
    ))
}

/// The next trust policy with the edit of this row, validly signed.
fn next(name: &str) -> Case {
    let payload = row(name).apply(&versioned(&policy(), 2).encode());
    let envelope = world::seal(TrustPolicy::PAYLOAD_TYPE, payload, &keys(&["alice", "bob"]));
    Case::of(&policy()).policy(2, envelope).manifest(&good())
}

/// The baked-in trust policy with the edit of this row.
fn baked_in(name: &str) -> Case {
    Case::of_bytes(row(name).apply(&policy().encode())).manifest(&good())
}

/// The freshness statement with the edit of this row, validly signed.
fn fresh_by(name: &str) -> Case {
    let payload = row(name).apply(&freshness(42).encode());
    let envelope = world::seal(Freshness::PAYLOAD_TYPE, payload, &keys(&["clockwork"]));
    Case::of(&fresh(policy())).fresh(&good(), &envelope)
}

/// A host config with the edit of this row, signed by dora.
fn host(name: &str) -> Case {
    let json = row(name).apply(HOST.as_bytes());
    with_host(world::seal(
        HostConfig::PAYLOAD_TYPE,
        json,
        &keys(&["dora"]),
    ))
}

/// A machine that finds this host config, which dora may have signed.
fn with_host(stored: Vec<u8>) -> Case {
    let changed = policy().with(|fields| {
        put_keys(fields, &["dora"]);
        fields.roles.host_config = Some(group(1, &["dora"]));
    });
    Case::of(&changed.unwrap()).host(stored).manifest(&good())
}

#[test]
fn every_row_of_the_profile_has_its_vector() {
    for row in rows() {
        let side = if row.is_inside { "inside" } else { "outside" };
        let name = format!("{side}_{}", row.name);
        let vector = ALL.iter().find(|vector| vector.test == name);
        let vector = vector.unwrap_or_else(|| panic!("{name} has no vector"));
        let expected = if row.is_inside {
            Ok(())
        } else {
            Err(ManifestInvalid)
        };
        assert_eq!(vector.verdict, expected, "{name}");
        // It shows this row, and no other one.
        let channel = format!("store/{CHANNEL}");
        let shown = |case: Case| case.files[&channel].clone();
        assert_eq!(shown((vector.make)()), shown(of(row.name)), "{name}");
    }
}
