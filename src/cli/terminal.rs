//! The last look at all that is printed: names and texts come from strangers (packages, domains, DHCP clients, what
//! libvirt says about them), and none of them is to act on a terminal. Whoever prints a value escapes it itself where
//! it matters that it stays on its line; here is what was forgotten.

use std::borrow::Cow;
use std::fmt::Write;

/// Text for people, with control characters escaped. Line ends and tabs stay.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    let acts = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    // Of files with such line ends.
    let plain = text.replace("\r\n", "\n");
    if !plain.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(plain.len() + 16);
    for c in plain.chars() {
        if acts(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// JSON with what acts on a terminal as JSON's own escapes, so that it says the same. serde_json escapes only the
/// control characters of ASCII.
pub(super) fn json(json: String) -> String {
    // Such characters can be in strings only.
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !json.chars().any(acts) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if acts(c) {
            // All of them are in the first plane, where one escape is one character.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{json, text};

    const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\u{9b}31m\u{7f}\u{202e}b\r";

    #[test]
    fn nothing_acts_on_a_terminal() {
        let shown = text(HOSTILE);
        assert_eq!(shown, "a\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{7f}\u{202e}b\\r");
        for plain in ["one\ntwo\tthree\n", "a\r\nb\r\n", "Größe"] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn json_says_the_same_in_plain_characters() {
        let value = serde_json::json!({ "name": HOSTILE, HOSTILE: [1] });
        let made = json(serde_json::to_string_pretty(&value).unwrap());
        assert!(
            made.chars()
                .all(|c| c == '\n' || (c.is_ascii() && !c.is_control())),
            "{made:?}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(&made).unwrap(), value);
    }
}
