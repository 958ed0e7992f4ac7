//! Edits as byte spans over the source: what is not edited is copied, byte for byte. Knows XML, but no element of
//! libvirt's.

use std::collections::BTreeMap;
use std::ops::Range;

use super::scan::{Document, Element, is_space};
use super::value::XmlValue;

/// An element to be written.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    name: &'static str,
    attributes: Vec<(&'static str, XmlValue)>,
    text: Option<XmlValue>,
    children: Vec<Fragment>,
}

impl Fragment {
    pub(super) fn new(name: &'static str) -> Self {
        Fragment {
            name,
            attributes: Vec::new(),
            text: None,
            children: Vec::new(),
        }
    }

    pub(super) fn attribute(mut self, name: &'static str, value: XmlValue) -> Self {
        self.attributes.push((name, value));
        self
    }

    /// An attribute whose value is a word of our own.
    pub(super) fn word(self, name: &'static str, value: &'static str) -> Self {
        self.attribute(name, XmlValue::constant(value))
    }

    pub(super) fn text(mut self, text: XmlValue) -> Self {
        self.text = Some(text);
        self
    }

    pub(super) fn child(mut self, child: Fragment) -> Self {
        self.children.push(child);
        self
    }

    /// Whether the document already says exactly this (order of attributes, spacing and comments aside).
    pub(super) fn says_the_same_as(&self, element: Element<'_>) -> bool {
        let mut children = element.children();
        element.qualified_name() == self.name
            && element.attributes().count() == self.attributes.len()
            && self
                .attributes
                .iter()
                .all(|(name, value)| element.attribute(name) == Some(value.as_str()))
            && element.text().trim() == self.text.as_ref().map_or("", XmlValue::as_str)
            && self
                .children
                .iter()
                .all(|c| children.next().is_some_and(|e| c.says_the_same_as(e)))
            && children.next().is_none()
    }

    fn write(&self, out: &mut String, layout: &Layout<'_>) {
        out.push('<');
        out.push_str(self.name);
        for (name, value) in &self.attributes {
            write_attribute(out, name, value, layout.quote);
        }
        if self.children.is_empty() && self.text.is_none() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        if let Some(text) = &self.text {
            out.push_str(&text.escaped());
        }
        let inner = layout.deeper();
        for child in &self.children {
            inner.break_line(out);
            child.write(out, &inner);
        }
        if !self.children.is_empty() {
            layout.break_line(out);
        }
        out.push_str("</");
        out.push_str(self.name);
        out.push('>');
    }
}

fn write_attribute(out: &mut String, name: &str, value: &XmlValue, quote: char) {
    out.push(' ');
    out.push_str(name);
    out.push('=');
    out.push(quote);
    out.push_str(&value.escaped());
    out.push(quote);
}

/// How new elements are laid out: like their neighbours.
struct Layout<'x> {
    /// The indentation of the element, or none where the document has no lines.
    indent: Option<String>,
    newline: &'x str,
    quote: char,
}

impl Layout<'_> {
    fn break_line(&self, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push_str(self.newline);
            out.push_str(indent);
        }
    }

    fn deeper(&self) -> Self {
        Layout {
            indent: self.indent.as_ref().map(|indent| format!("{indent}  ")),
            ..*self
        }
    }
}

/// Collects edits of one document and applies them at once. An edit inside something that another edit removes or
/// replaces is dropped; of two edits of the same thing the later one wins.
pub(super) struct Editor<'d> {
    document: &'d Document<'d>,
    edits: Vec<Edit>,
    /// New last children, by the number of the element that gets them.
    appended: BTreeMap<usize, (Element<'d>, Vec<Fragment>)>,
}

struct Edit {
    span: Range<usize>,
    text: String,
}

impl<'d> Editor<'d> {
    pub(super) fn new(document: &'d Document<'d>) -> Self {
        Editor {
            document,
            edits: Vec::new(),
            appended: BTreeMap::new(),
        }
    }

    fn edit(&mut self, span: Range<usize>, text: String) {
        if let Some(edit) = self
            .edits
            .iter_mut()
            .find(|edit| edit.span == span && !span.is_empty())
        {
            edit.text = text;
        } else {
            self.edits.push(Edit { span, text });
        }
    }

    /// Removes an element, and its lines if it has them for itself.
    pub(super) fn remove(&mut self, element: Element<'d>) {
        let source = self.document.source();
        let span = element.span();
        let span = match (
            self.line_start(span.start),
            source[span.end..].find(|c| !matches!(c, ' ' | '\t' | '\r')),
        ) {
            (Some(start), Some(blank)) if source[span.end + blank..].starts_with('\n') => {
                start..span.end + blank + 1
            }
            _ => span,
        };
        self.edit(span, String::new());
    }

    /// Removes an attribute and the white space before it, if it is there.
    pub(super) fn remove_attribute(&mut self, element: Element<'d>, name: &str) {
        if let Some(attribute) = element.raw_attribute(name) {
            self.edit(attribute.whole.clone(), String::new());
        }
    }

    /// Gives an attribute a value. One that it has already stays as it is written.
    pub(super) fn set_attribute(&mut self, element: Element<'d>, name: &str, value: &XmlValue) {
        match element.raw_attribute(name) {
            Some(attribute) if attribute.value == value.as_str() => {}
            Some(attribute) => self.edit(attribute.raw.clone(), value.escaped()),
            None => {
                let at = element.attributes_end();
                let mut text = String::new();
                write_attribute(&mut text, name, value, self.quote_of(element));
                self.edit(at..at, text);
            }
        }
    }

    /// Gives an element text as its only content. Text that it has already stays as it is written.
    pub(super) fn set_text(&mut self, element: Element<'d>, value: &XmlValue) {
        if element.text().trim() == value.as_str() && element.children().next().is_none() {
            return;
        }
        if let Some(end_tag) = element.end_tag() {
            self.edit(element.start_tag().end..end_tag.start, value.escaped());
        } else {
            self.open_up(element, &value.escaped());
        }
    }

    /// Empties an element and keeps its tags.
    pub(super) fn remove_content(&mut self, element: Element<'d>) {
        if let Some(end_tag) = element
            .end_tag()
            .filter(|end| end.start > element.start_tag().end)
        {
            self.edit(element.start_tag().end..end_tag.start, String::new());
        }
    }

    /// Puts another element in the place of this one, unless it says the same.
    pub(super) fn replace(&mut self, element: Element<'d>, by: &Fragment) {
        if !by.says_the_same_as(element) {
            let layout = self.layout_like(element);
            let mut text = String::new();
            by.write(&mut text, &layout);
            self.edit(element.span(), text);
        }
    }

    /// Puts a new element right behind this one.
    pub(super) fn insert_after(&mut self, element: Element<'d>, new: &Fragment) {
        let layout = self.layout_like(element);
        let mut text = String::new();
        layout.break_line(&mut text);
        new.write(&mut text, &layout);
        let end = element.span().end;
        self.edit(end..end, text);
    }

    /// Puts a new element at the end of the content of this one.
    pub(super) fn append(&mut self, parent: Element<'d>, new: Fragment) {
        self.appended
            .entry(parent.index())
            .or_insert_with(|| (parent, Vec::new()))
            .1
            .push(new);
    }

    /// The edited text.
    pub(super) fn finish(mut self) -> String {
        for (parent, fragments) in std::mem::take(&mut self.appended).into_values() {
            self.write_appended(parent, &fragments);
        }
        // Outer before inner; the sort is stable, so insertions at one place keep their order.
        self.edits
            .sort_by_key(|edit| (edit.span.start, std::cmp::Reverse(edit.span.end)));
        // An insertion where a longer edit starts goes before it and must not count as inside it.
        let source = self.document.source();
        let mut out = String::with_capacity(source.len() + 1024);
        let mut done = 0;
        let mut insertions = self.edits.iter().filter(|edit| edit.span.is_empty()).peekable();
        let changes = self.edits.iter().filter(|edit| !edit.span.is_empty());
        for change in changes {
            if change.span.start < done {
                debug_assert!(
                    change.span.end <= done,
                    "edits overlap only if one contains the other"
                );
                continue;
            }
            while let Some(insertion) = insertions.next_if(|i| i.span.start <= change.span.start) {
                out.push_str(&source[done..insertion.span.start]);
                out.push_str(&insertion.text);
                done = insertion.span.start;
            }
            out.push_str(&source[done..change.span.start]);
            out.push_str(&change.text);
            done = change.span.end;
            while insertions.next_if(|i| i.span.start < done).is_some() {}
        }
        for insertion in insertions {
            out.push_str(&source[done..insertion.span.start]);
            out.push_str(&insertion.text);
            done = insertion.span.start;
        }
        out.push_str(&source[done..]);
        out
    }

    fn write_appended(&mut self, parent: Element<'d>, fragments: &[Fragment]) {
        let outer = self.layout_like(parent);
        let sibling = parent
            .children()
            .find(|child| self.line_start(child.span().start).is_some());
        let inner = sibling.map_or_else(|| outer.deeper(), |sibling| self.layout_like(sibling));
        let mut text = String::new();
        let Some(end_tag) = parent.end_tag() else {
            for fragment in fragments {
                inner.break_line(&mut text);
                fragment.write(&mut text, &inner);
            }
            outer.break_line(&mut text);
            return self.open_up(parent, &text);
        };
        if let Some(line) = self.line_start(end_tag.start).filter(|_| inner.indent.is_some()) {
            for fragment in fragments {
                text.push_str(inner.indent.as_deref().unwrap_or_default());
                fragment.write(&mut text, &inner);
                text.push_str(inner.newline);
            }
            return self.edit(line..line, text);
        }
        let compact = Layout {
            indent: None,
            ..inner
        };
        for fragment in fragments {
            fragment.write(&mut text, &compact);
        }
        self.edit(end_tag.start..end_tag.start, text);
    }

    /// Turns `<a/>` into `<a>content</a>`.
    fn open_up(&mut self, element: Element<'d>, content: &str) {
        let end = element.start_tag().end;
        let start = self.document.source()[..end - 2]
            .trim_end_matches(is_space)
            .len()
            .max(element.attributes_end());
        self.edit(start..end, format!(">{content}</{}>", element.qualified_name()));
    }

    /// The start of the line on which only white space stands before `at`. None on the first line, where an
    /// element's line cannot be told from a document without lines.
    fn line_start(&self, at: usize) -> Option<usize> {
        let before = &self.document.source()[..at];
        let line = before.rfind('\n')? + 1;
        before[line..]
            .chars()
            .all(|c| matches!(c, ' ' | '\t'))
            .then_some(line)
    }

    fn layout_like(&self, element: Element<'d>) -> Layout<'d> {
        let source = self.document.source();
        let start = element.span().start;
        let first_with_lines = start == self.document.root().span().start && source.contains('\n');
        let indent = match self.line_start(start) {
            Some(line) => Some(source[line..start].to_owned()),
            None if first_with_lines => Some(String::new()),
            None => None,
        };
        let crlf = source.find('\n').is_some_and(|at| source[..at].ends_with('\r'));
        Layout {
            indent,
            newline: if crlf { "\r\n" } else { "\n" },
            quote: self.quote_of(element),
        }
    }

    /// The quotes that the element's last attribute has, or the document's first, or libvirt's.
    fn quote_of(&self, element: Element<'d>) -> char {
        let source = self.document.source();
        let any = || self.document.elements().find_map(Element::attributes_quote);
        match element
            .attributes_quote()
            .or_else(any)
            .map(|at| source.as_bytes()[at])
        {
            Some(b'"') => '"',
            _ => '\'',
        }
    }
}

impl Element<'_> {
    /// The place of the opening quote of the last attribute.
    fn attributes_quote(self) -> Option<usize> {
        let (name, _) = self.attributes().last()?;
        self.raw_attribute(name).map(|attribute| attribute.raw.start - 1)
    }
}
