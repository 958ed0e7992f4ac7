//! Writes a document again in another style that means the same: quotes, white space, entities, CDATA, comments,
//! processing instructions, order of attributes, line ends, prolog.

use super::super::scan::{Document, Element};
use super::Dice;

/// What the white space between elements looks like.
#[derive(Clone, Copy)]
enum Spacing {
    None,
    Lines { indent: &'static str, end: &'static str },
    Wild,
}

/// `xml` in a style that `dice` choose.
pub(super) fn restyled(xml: &str, dice: &mut Dice) -> String {
    let document = Document::parse(xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
    let spacing = match dice.below(5) {
        0 => Spacing::None,
        1 => Spacing::Lines {
            indent: "  ",
            end: "\n",
        },
        2 => Spacing::Lines {
            indent: "\t",
            end: "\r\n",
        },
        3 => Spacing::Lines {
            indent: "",
            end: "\n",
        },
        _ => Spacing::Wild,
    };
    let mut writer = Writer {
        out: String::new(),
        dice,
        spacing,
    };
    writer.prolog();
    writer.element(document.root(), 0);
    writer.epilog();
    writer.out
}

struct Writer<'a> {
    out: String,
    dice: &'a mut Dice,
    spacing: Spacing,
}

impl Writer<'_> {
    fn prolog(&mut self) {
        if self.dice.one_in(8) {
            self.out.push('\u{feff}');
        }
        self.out.push_str(self.dice.pick(&[
            "",
            "",
            "<?xml version='1.0' encoding='UTF-8'?>\n",
            "<?xml version=\"1.0\" encoding=\"utf-8\" standalone='yes' ?>\r\n\r\n",
            "<?xml version=\"1.0\"?>",
        ]));
        self.remark();
    }

    fn epilog(&mut self) {
        self.remark();
        self.out
            .push_str(self.dice.pick(&["", "\n", "\r\n\r\n", "  \n<!--KEEP-->\n"]));
    }

    /// Something that means nothing, or nothing at all.
    fn remark(&mut self) {
        let remark = self.dice.pick(&[
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "<!-- KEEP <uuid> &amp; -->",
            "<!---->",
            "<?KEEP a='b'?>",
            "\n<!--KEEP\n-->\n",
        ]);
        self.out.push_str(remark);
    }

    fn gap(&mut self, depth: usize) {
        match self.spacing {
            Spacing::None => {}
            Spacing::Lines { indent, end } => {
                self.out.push_str(end);
                self.out.push_str(&indent.repeat(depth));
            }
            Spacing::Wild => {
                let gap = self
                    .dice
                    .pick(&["", " ", "\n", "\n\n   ", "\t", " \r\n ", "\n      "]);
                self.out.push_str(gap);
            }
        }
    }

    /// White space inside a tag; at least one character where `needed`.
    fn inner(&mut self, needed: bool) {
        let choice = if needed {
            self.dice
                .pick(&[" ", " ", " ", "  ", "\n", "\t", "\r\n  ", "\n\n"])
        } else {
            self.dice.pick(&["", "", "", "", "", " ", "\n", "\t "])
        };
        self.out.push_str(choice);
    }

    fn element(&mut self, element: Element<'_>, depth: usize) {
        let name = element.qualified_name();
        self.out.push('<');
        self.out.push_str(name);
        let mut attributes: Vec<(&str, &str)> = element.attributes().collect();
        for last in (1..attributes.len()).rev() {
            attributes.swap(last, self.dice.below(last + 1));
        }
        for (name, value) in attributes {
            self.inner(true);
            self.out.push_str(name);
            self.inner(false);
            self.out.push('=');
            self.inner(false);
            let quote = if self.dice.one_in(3) { '"' } else { '\'' };
            self.out.push(quote);
            self.characters(value, Some(quote));
            self.out.push(quote);
        }
        self.inner(false);
        let children: Vec<Element<'_>> = element.children().collect();
        if children.is_empty() && element.text().is_empty() && !self.dice.one_in(4) {
            self.out.push_str("/>");
            return;
        }
        self.out.push('>');
        if children.is_empty() {
            self.text(element.text());
        }
        for child in &children {
            self.gap(depth + 1);
            self.remark();
            if self.dice.one_in(8) {
                self.gap(depth + 1);
            }
            self.element(*child, depth + 1);
        }
        if !children.is_empty() {
            self.remark();
            self.gap(depth);
        }
        self.out.push_str("</");
        self.out.push_str(name);
        self.inner(false);
        self.out.push('>');
    }

    fn text(&mut self, text: &str) {
        if !text.contains("]]>") && !text.is_empty() && self.dice.one_in(5) {
            self.out.extend(["<![CDATA[", text, "]]>"]);
        } else {
            self.characters(text, None);
        }
    }

    fn reference(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.push_str(&text.to_string());
    }

    fn characters(&mut self, text: &str, quote: Option<char>) {
        for c in text.chars() {
            match c {
                '&' => self.out.push_str(self.dice.pick(&["&amp;", "&#38;", "&#x26;"])),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '\'' | '"' if Some(c) == quote => {
                    self.out.push_str(if c == '"' { "&quot;" } else { "&apos;" });
                }
                '\n' | '\t' if quote.is_some() => self.reference(format_args!("&#{};", u32::from(c))),
                c if !c.is_whitespace() && self.dice.one_in(60) => {
                    self.reference(format_args!("&#x{:x};", u32::from(c)));
                }
                c => self.out.push(c),
            }
        }
    }
}
