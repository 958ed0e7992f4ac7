//! Builds the tree of `scan` from text. quick-xml finds the tokens; what it leaves open is checked here: balance,
//! one root, attributes, characters, namespaces, depth and size.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::error::{DomainXmlError, Place, shown};
use super::scan::{Attribute, Document, MAX_BYTES, MAX_DEPTH, MAX_NODES, Node, is_space};
use super::value::{continues_name, is_xml_char, starts_name};

/// quick-xml drops one at the start of what it is given, and does not count it in its positions.
const BYTE_ORDER_MARK: char = '\u{feff}';

impl<'x> Document<'x> {
    /// Reads a document. Whatever is in it, this returns.
    pub fn parse(source: &'x str) -> Result<Self, DomainXmlError> {
        Scanner::new(source)?.run()
    }
}

/// Text between the tags, or between the quotes of an attribute.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Attribute,
}

struct Scanner<'x> {
    source: &'x str,
    /// Bytes of a byte order mark, which quick-xml skips without counting them.
    base: usize,
    nodes: Vec<Node>,
    open: Vec<usize>,
    counted: usize,
    namespaces: Vec<String>,
    /// Prefix to the namespaces it stands for, innermost last (`None`: `xmlns=''`).
    bound: HashMap<String, Vec<Option<usize>>>,
    /// Per open element, the prefixes that it binds.
    binds: Vec<Vec<String>>,
}

impl<'x> Scanner<'x> {
    fn new(source: &'x str) -> Result<Self, DomainXmlError> {
        if source.len() > MAX_BYTES {
            return Err(DomainXmlError::TooLarge {
                size: source.len(),
                limit: MAX_BYTES,
            });
        }
        let scanner = Scanner {
            source,
            base: source.len() - source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source).len(),
            nodes: Vec::new(),
            open: Vec::new(),
            counted: 0,
            namespaces: Vec::new(),
            bound: HashMap::new(),
            binds: Vec::new(),
        };
        if source[scanner.base..].starts_with(BYTE_ORDER_MARK) {
            return Err(scanner.bad(scanner.base, "there is a second byte order mark"));
        }
        match source.char_indices().find(|&(_, c)| !is_xml_char(c)) {
            Some((at, c)) => Err(scanner.bad(at, format!("the character {c:?} is not allowed in XML"))),
            None => Ok(scanner),
        }
    }

    fn bad(&self, at: usize, problem: impl Into<String>) -> DomainXmlError {
        DomainXmlError::NotWellFormed {
            place: Place::of(self.source, at),
            problem: problem.into(),
        }
    }

    fn run(mut self) -> Result<Document<'x>, DomainXmlError> {
        let mut reader = Reader::from_str(&self.source[self.base..]);
        let config = reader.config_mut();
        config.check_comments = true;
        // `end` checks them, and says it more plainly.
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        let base = self.base;
        let position = |offset: u64| base + usize::try_from(offset).unwrap_or(usize::MAX - base);
        let mut start = self.base;
        loop {
            let event = reader.read_event().map_err(|error| {
                self.bad(
                    position(reader.error_position()).max(start),
                    shown(&error.to_string()),
                )
            })?;
            let end = position(reader.buffer_position());
            let span = start..end;
            match event {
                Event::Start(_) => self.start(span, false)?,
                Event::Empty(_) => self.start(span, true)?,
                Event::End(_) => self.end(span)?,
                Event::Text(_) | Event::GeneralRef(_) => self.text(span)?,
                Event::CData(data) => self.cdata(span, &data)?,
                Event::Decl(decl) => self.declaration(span, &decl)?,
                Event::Comment(_) | Event::PI(_) => {}
                Event::DocType(_) => {
                    return Err(DomainXmlError::Doctype {
                        place: Place::of(self.source, start),
                    });
                }
                Event::Eof => break,
            }
            start = end;
        }
        if let Some(&index) = self.open.last() {
            let node = &self.nodes[index];
            let name = shown(&self.source[node.name.clone()]);
            return Err(self.bad(node.start_tag.start, format!("<{name}> is never closed")));
        }
        if self.nodes.is_empty() {
            return Err(self.bad(self.source.len(), "there is no element"));
        }
        Ok(Document {
            source: self.source,
            nodes: self.nodes,
            namespaces: self.namespaces,
        })
    }

    fn declaration(
        &self,
        span: Range<usize>,
        decl: &quick_xml::events::BytesDecl<'_>,
    ) -> Result<(), DomainXmlError> {
        if span.start != self.base {
            return Err(self.bad(span.start, "an XML declaration can only stand at the very start"));
        }
        let version = decl
            .version()
            .map_err(|e| self.bad(span.start, shown(&e.to_string())))?;
        if version != "1.0" {
            return Err(self.bad(span.start, "only XML 1.0 is read"));
        }
        let Some(encoding) = decl.encoding() else {
            return Ok(());
        };
        let encoding = encoding.map_err(|e| self.bad(span.start, shown(&e.to_string())))?;
        if ["utf-8", "utf8", "us-ascii", "ascii"].contains(&encoding.to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        Err(self.bad(
            span.start,
            format!(
                "the encoding {} is not read; convert it to UTF-8",
                shown(&encoding)
            ),
        ))
    }

    fn start(&mut self, span: Range<usize>, empty: bool) -> Result<(), DomainXmlError> {
        if self.open.is_empty() && !self.nodes.is_empty() {
            return Err(self.bad(span.start, "there is a second outermost element"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_complex(span.start, "elements are nested too deep", MAX_DEPTH));
        }
        let (name, attributes) = self.tag(&span, empty)?;
        self.counted += 1 + attributes.len();
        if self.counted > MAX_NODES {
            return Err(self.too_complex(
                span.start,
                "there are too many elements and attributes",
                MAX_NODES,
            ));
        }
        self.bind(&attributes);
        let namespace = self.namespace_of(&name, true)?;
        for attribute in &attributes {
            self.namespace_of(&attribute.name, false)?;
        }
        let index = self.nodes.len();
        let parent = self.open.last().copied();
        if let Some(parent) = parent {
            self.nodes[parent].children.push(index);
        }
        self.nodes.push(Node {
            parent,
            children: Vec::new(),
            name,
            namespace,
            attributes,
            text: String::new(),
            start_tag: span,
            end_tag: None,
        });
        if empty {
            self.unbind();
        } else {
            self.open.push(index);
        }
        Ok(())
    }

    fn too_complex(&self, at: usize, what: &'static str, limit: usize) -> DomainXmlError {
        DomainXmlError::TooComplex {
            place: Place::of(self.source, at),
            what,
            limit,
        }
    }

    fn end(&mut self, span: Range<usize>) -> Result<(), DomainXmlError> {
        let written = &self.source[span.clone()];
        let written = written.strip_prefix("</").unwrap_or(written);
        let written = written
            .strip_suffix('>')
            .unwrap_or(written)
            .trim_end_matches(is_space);
        let Some(index) = self.open.pop() else {
            return Err(self.bad(span.start, format!("</{}> closes nothing", shown(written))));
        };
        let opened = &self.source[self.nodes[index].name.clone()];
        if opened != written {
            let problem = format!("</{}> closes <{}>", shown(written), shown(opened));
            return Err(self.bad(span.start, problem));
        }
        self.nodes[index].end_tag = Some(span);
        self.unbind();
        Ok(())
    }

    fn text(&mut self, span: Range<usize>) -> Result<(), DomainXmlError> {
        let raw = &self.source[span.clone()];
        if let Some(at) = raw.find("]]>") {
            return Err(self.bad(span.start + at, "]]> can only end a CDATA section"));
        }
        let decoded = self.decode(span.clone(), Kind::Text)?;
        match self.open.last() {
            Some(&index) => self.nodes[index].text.push_str(&decoded),
            None if raw.chars().all(is_space) => {}
            None => {
                let at = raw.find(|c| !is_space(c)).unwrap_or(0);
                return Err(self.bad(span.start + at, "there is text outside the outermost element"));
            }
        }
        Ok(())
    }

    fn cdata(&mut self, span: Range<usize>, data: &str) -> Result<(), DomainXmlError> {
        match self.open.last() {
            Some(&index) => self.nodes[index]
                .text
                .push_str(&data.replace("\r\n", "\n").replace('\r', "\n")),
            None => return Err(self.bad(span.start, "there is text outside the outermost element")),
        }
        Ok(())
    }

    /// Splits a start tag. Stricter than quick-xml: white space between attributes, quotes, no `<` in values.
    fn tag(
        &self,
        span: &Range<usize>,
        empty: bool,
    ) -> Result<(Range<usize>, Vec<Attribute>), DomainXmlError> {
        let end = span.end - if empty { 2 } else { 1 };
        let until = |from: usize, stop: &dyn Fn(char) -> bool| {
            self.source[from..end].find(stop).map_or(end, |at| from + at)
        };
        let skip_space = |from: usize| until(from, &|c| !is_space(c));
        let name = span.start + 1..until(span.start + 1, &is_space);
        self.check_name(&name)?;
        let mut attributes = Vec::new();
        let mut seen = HashSet::new();
        let mut at = name.end;
        loop {
            let before = at;
            at = skip_space(at);
            if at == end {
                return Ok((name, attributes));
            }
            if at == before {
                return Err(self.bad(at, "there is no space before this attribute"));
            }
            let key = at..until(at, &|c| c == '=' || is_space(c));
            self.check_name(&key)?;
            at = skip_space(key.end);
            let shown_key = || shown(&self.source[key.clone()]);
            if !self.source[at..end].starts_with('=') {
                return Err(self.bad(key.start, format!("the attribute {} has no value", shown_key())));
            }
            at = skip_space(at + 1);
            let Some(quote) = self.source[at..end]
                .chars()
                .next()
                .filter(|c| matches!(c, '\'' | '"'))
            else {
                return Err(self.bad(
                    at,
                    format!("the value of the attribute {} has no quotes", shown_key()),
                ));
            };
            let raw = at + 1..until(at + 1, &|c| c == quote);
            if raw.end == end {
                return Err(self.bad(
                    at,
                    format!("the value of the attribute {} does not end", shown_key()),
                ));
            }
            if !seen.insert(&self.source[key.clone()]) {
                return Err(self.bad(key.start, format!("the attribute {} is there twice", shown_key())));
            }
            let value = self.decode(raw.clone(), Kind::Attribute)?;
            at = raw.end + 1;
            attributes.push(Attribute {
                whole: before..at,
                name: key,
                raw,
                value,
            });
        }
    }

    fn check_name(&self, span: &Range<usize>) -> Result<(), DomainXmlError> {
        let name = &self.source[span.clone()];
        let (prefix, local) = name.split_once(':').unwrap_or(("_", name));
        let good = |part: &str| {
            part.chars().next().is_some_and(starts_name)
                && part.chars().all(|c| starts_name(c) || continues_name(c))
        };
        if good(prefix) && good(local) {
            return Ok(());
        }
        Err(self.bad(span.start, format!("\"{}\" is not a name", shown(name))))
    }

    /// Resolves references and normalises white space as XML 1.0 asks (2.11, 3.3.3).
    fn decode(&self, span: Range<usize>, kind: Kind) -> Result<String, DomainXmlError> {
        let raw = &self.source[span.clone()];
        let mut decoded = String::with_capacity(raw.len());
        let mut chars = raw.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '&' => {
                    let rest = &raw[at + 1..];
                    let name = rest.find(';').map(|end| &rest[..end]);
                    let Some((name, c)) = name.and_then(|name| Some((name, resolve(name)?))) else {
                        let name = shown(name.unwrap_or(rest));
                        return Err(self.bad(
                            span.start + at,
                            format!("&{name}; is not an entity that is known here"),
                        ));
                    };
                    decoded.push(c);
                    chars.nth(name.chars().count());
                }
                '<' if kind == Kind::Attribute => {
                    return Err(self.bad(
                        span.start + at,
                        "an attribute has a \"<\" that is not written &lt;",
                    ));
                }
                '\r' => {
                    chars.next_if(|&(_, next)| next == '\n');
                    decoded.push(if kind == Kind::Text { '\n' } else { ' ' });
                }
                '\n' | '\t' if kind == Kind::Attribute => decoded.push(' '),
                c => decoded.push(c),
            }
        }
        Ok(decoded)
    }

    fn bind(&mut self, attributes: &[Attribute]) {
        let mut binds = Vec::new();
        for attribute in attributes {
            let name = &self.source[attribute.name.clone()];
            let prefix = match name.split_once(':') {
                Some(("xmlns", prefix)) => prefix,
                None if name == "xmlns" => "",
                _ => continue,
            };
            let namespace = (!attribute.value.is_empty()).then(|| {
                self.namespaces.push(attribute.value.clone());
                self.namespaces.len() - 1
            });
            self.bound.entry(prefix.to_owned()).or_default().push(namespace);
            binds.push(prefix.to_owned());
        }
        self.binds.push(binds);
    }

    fn unbind(&mut self) {
        for prefix in self.binds.pop().unwrap_or_default() {
            if let Some(stack) = self.bound.get_mut(&prefix) {
                stack.pop();
            }
        }
    }

    fn namespace_of(&self, name: &Range<usize>, element: bool) -> Result<Option<usize>, DomainXmlError> {
        let written = &self.source[name.clone()];
        let prefix = match written.split_once(':') {
            Some(("xmlns" | "xml", _)) if !element => return Ok(None),
            Some((prefix, _)) => prefix,
            None if element => "",
            None => return Ok(None),
        };
        let namespace = self
            .bound
            .get(prefix)
            .and_then(|stack| stack.last().copied())
            .flatten();
        if namespace.is_none() && !prefix.is_empty() {
            return Err(self.bad(
                name.start,
                format!("the prefix {} has no namespace", shown(prefix)),
            ));
        }
        Ok(namespace)
    }
}

/// The character that a reference stands for: the five of XML itself and character references.
fn resolve(name: &str) -> Option<char> {
    let number = match name {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "apos" => return Some('\''),
        "quot" => return Some('"'),
        _ => name.strip_prefix('#')?,
    };
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix)
        .ok()
        .and_then(char::from_u32)
        .filter(|&c| is_xml_char(c))
}
