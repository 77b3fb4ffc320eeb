//! What the lexical profile of signed JSON accepts and refuses, each as an edit of any statement.
//!
//! An edit puts its JSON beside the statement's own fields, under names that no format has: without the profile a reader
//! would ignore them.

/// An edit of a statement, and whether the profile accepts it.
#[derive(Debug)]
pub struct Row {
    /// What it is, in words that `_` joins.
    pub name: &'static str,
    /// Whether the edited statement is inside the profile.
    pub is_inside: bool,
    edit: Edit,
}

#[derive(Debug)]
enum Edit {
    /// Fields before the statement's own.
    Fields(String),
    /// Bytes before and after the statement.
    Around(&'static str, &'static str),
    /// Fields behind the statement's own, and the end of the object, as it is.
    End(&'static str),
    /// Something in the statement's place.
    Instead(&'static str),
}

impl Row {
    /// Returns the statement with the edit.
    pub fn apply(&self, statement: &[u8]) -> Vec<u8> {
        let inner = statement.trim_ascii().strip_prefix(b"{").unwrap();
        let fields = inner.strip_suffix(b"}").unwrap();
        match &self.edit {
            Edit::Fields(added) => [b"{", added.as_bytes(), b",", inner].concat(),
            Edit::Around(before, after) => {
                [before.as_bytes(), statement, after.as_bytes()].concat()
            }
            Edit::End(end) => [b"{", fields, end.as_bytes()].concat(),
            Edit::Instead(bytes) => bytes.as_bytes().to_vec(),
        }
    }
}

/// Nested arrays as the value of a field, the innermost at this depth: the statement is at depth 1.
fn nested(depth: usize) -> String {
    let levels = depth - 1;
    format!("\"a\":{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Every row: those of the reference checker of the profile, and one for each rule's other side.
pub fn rows() -> Vec<Row> {
    let row = |is_inside, name, edit| Row {
        name,
        is_inside,
        edit,
    };
    let good = |name, fields: &str| row(true, name, Edit::Fields(fields.to_owned()));
    let bad = |name, fields: &str| row(false, name, Edit::Fields(fields.to_owned()));
    let around = |name, before, after| row(false, name, Edit::Around(before, after));
    let end = |name, end| row(false, name, Edit::End(end));
    let instead = |name, bytes| row(false, name, Edit::Instead(bytes));
    vec![
        row(true, "statement_alone", Edit::Around("", "")),
        row(
            true,
            "space_around_the_statement",
            Edit::Around("\n ", " \n"),
        ),
        good("number_zero", r#""a":0"#),
        good("number_of_2_to_the_53_less_1", r#""a":9007199254740991"#),
        good("escaped_quote_and_backslash", r#""a":"x \" \\""#),
        good(
            "spaces_and_line_feeds",
            "\n \"a\" : [ 1 , { \"b\": true } ],\n \"c\": { } , \"d\" :[ ]",
        ),
        good("words_true_and_false", r#""a":[true,false]"#),
        good(
            "every_printable_character",
            &format!("\"a\":\"{}\"", printable()),
        ),
        good(
            "one_name_in_two_objects",
            r#""a":{"b":1},"c":{"b":2},"b":3"#,
        ),
        good(
            "name_of_64_characters",
            &format!("\"a{}\":1", "b".repeat(63)),
        ),
        good("name_of_a_letter_a_digit_and_a_line", r#""a0_":1"#),
        good("value_16_deep", &nested(16)),
        instead("array_for_an_object", "[]"),
        instead("fields_without_names", r#"["relay",43]"#),
        instead("string_for_an_object", r#""relay""#),
        instead("no_bytes", ""),
        instead("space_alone", " \n"),
        bad("name_twice", r#""a":1,"a":2"#),
        bad("name_twice_with_one_value", r#""a":1,"b":0,"a":1"#),
        bad("name_twice_in_an_unknown_object", r#""f":{"a":1,"a":2}"#),
        bad(
            "name_twice_in_an_object_of_a_list",
            r#""f":[{"a":1},{"a":1,"a":1}]"#,
        ),
        bad("name_in_capitals", r#""A":1"#),
        bad("name_with_a_capital", r#""aB":1"#),
        bad("name_of_nothing", r#""":1"#),
        bad("name_that_begins_with_a_digit", r#""1a":1"#),
        bad("name_that_begins_with_a_line", r#""__proto__":1"#),
        bad("name_with_a_hyphen", r#""a-b":1"#),
        bad("name_with_a_space", r#""a b":1"#),
        bad("name_with_an_escaped_quote", r#""a\"b":1"#),
        bad("name_with_an_escape", r#""v":1,"\u0076":2"#),
        bad(
            "name_of_65_characters",
            &format!("\"a{}\":1", "b".repeat(64)),
        ),
        bad("name_without_quotes", "a:1"),
        bad("null", r#""a":null"#),
        bad("null_in_a_list", r#""a":[null]"#),
        bad("number_minus_zero", r#""a":-0"#),
        bad("number_below_zero", r#""a":-1"#),
        bad("number_with_a_plus", r#""a":+1"#),
        bad("number_with_a_fraction", r#""a":1.0"#),
        bad("number_without_its_whole", r#""a":.5"#),
        bad("number_with_a_point_alone", r#""a":1."#),
        bad("number_with_an_exponent", r#""a":1e0"#),
        bad("number_with_a_capital_exponent", r#""a":1E0"#),
        bad("number_with_a_leading_zero", r#""a":01"#),
        bad("number_in_hexadecimal", r#""a":0x1"#),
        bad("number_of_2_to_the_53", r#""a":9007199254740992"#),
        bad("number_of_2_to_the_64", r#""a":18446744073709551616"#),
        bad("number_that_is_none", r#""a":NaN"#),
        bad("number_without_an_end", r#""a":Infinity"#),
        bad("escape_of_a_letter", r#""a":"\u0041""#),
        bad("escape_of_half_a_pair", r#""a":"\ud800""#),
        bad("escape_of_a_slash", r#""a":"\/""#),
        bad("escape_of_a_line_feed", r#""a":"\n""#),
        bad("escape_of_nothing_known", r#""a":"\x41""#),
        bad("letter_that_turns_the_text", "\"a\":\"\u{202e}\""),
        bad("letter_outside_ascii", "\"a\":\"\u{e9}\""),
        bad("nul_in_a_string", "\"a\":\"\0\""),
        bad("line_feed_in_a_string", "\"a\":\"\n\""),
        bad("tab_in_a_string", "\"a\":\"\t\""),
        bad("delete_in_a_string", "\"a\":\"\u{7f}\""),
        bad("tab", "\"a\":\t1"),
        bad("carriage_return", "\"a\":1\r\n"),
        bad("space_outside_ascii", "\"a\":\u{a0}1"),
        bad("comment", r#"/* a */"a":1"#),
        bad("string_in_single_quotes", r#""a":'x'"#),
        bad("word_in_capitals", r#""a":True"#),
        bad("word_cut_short", r#""a":tru"#),
        bad("comma_in_an_empty_place", r#""a":1,"#),
        bad("comma_missing_in_a_list", r#""a":[1 2]"#),
        bad("comma_behind_a_list", r#""a":[1,]"#),
        bad("colon_missing", r#""a" 1"#),
        bad("value_17_deep", &nested(17)),
        bad("value_21_deep", &nested(21)),
        around("byte_order_mark", "\u{feff}", ""),
        around("word_behind_the_statement", "", "x"),
        around("statement_behind_the_statement", "", "{}"),
        around("nul_behind_the_statement", "", "\0"),
        around("comma_before_the_statement", ",", ""),
        end("comma_behind_the_last_field", ",}"),
        end("string_that_does_not_end", ",\"a\":\""),
        end("escape_that_does_not_end", ",\"a\":\"\\"),
        end("object_that_does_not_end", ""),
        end("value_that_is_missing", ",\"a\":}"),
    ]
}

/// Every character that a string may hold without an escape.
fn printable() -> String {
    let plain = |byte: &u8| !b"\"\\".contains(byte);
    (b' '..=b'~').filter(plain).map(char::from).collect()
}

/// Returns the row of this name.
pub fn row(name: &str) -> Row {
    let found = rows().into_iter().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("there is no row {name}"))
}
