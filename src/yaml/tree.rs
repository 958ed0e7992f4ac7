//! The tree of a YAML document, built from the parser's events.
//!
//! One document per file; duplicate keys, tags and merge keys are errors; anchors and aliases are followed within a
//! budget, so that a small file cannot become a large tree.

use super::{At, Fault, Place, Report};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span};
use std::borrow::Cow;
use std::collections::HashMap;

/// How many values a document may have, aliases expanded.
const MAX_NODES: usize = 1_000_000;

/// How deep lists and mappings may be nested.
const MAX_DEPTH: usize = 32;

/// From how many keys on a mapping is searched through an index.
const INDEXED: usize = 16;

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node<'a> {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value<'a>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// A single value.
    Scalar {
        /// The text, escapes resolved.
        text: Cow<'a, str>,
        /// True when it was written without quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node<'a>>),
    /// A mapping, in the order of the file; keys are different from each other.
    Map(Vec<(At<Cow<'a, str>>, Node<'a>)>),
}

impl Node<'_> {
    /// How many nodes it holds, itself and keys included.
    fn size(&self) -> usize {
        match &self.value {
            Value::Scalar { .. } => 1,
            Value::List(items) => items.iter().map(Node::size).sum::<usize>() + 1,
            Value::Map(entries) => entries.iter().map(|(_, v)| v.size() + 1).sum::<usize>() + 1,
        }
    }
}

/// The source's only document, or `None` after reporting why there is none. Duplicate keys are reported, and their
/// first value stays.
pub fn parse<'a>(report: &mut Report<'a>) -> Option<Node<'a>> {
    let root = parse_any(report)?;
    if root.is_none() {
        let start = Place {
            file: report.source().1,
            line: 1,
            column: 1,
            length: 1,
        };
        report.error(Fault::new(start, "the file is empty").help("a definition begins with `network:`"));
    }
    root
}

/// As [`parse`], for a file that may be empty: `Some(None)` if it has no content beside comments.
pub fn parse_any<'a>(report: &mut Report<'a>) -> Option<Option<Node<'a>>> {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    let (source, file) = report.source();
    let mut builder = Builder {
        file,
        ..Builder::default()
    };
    for item in Parser::new_from_str_with_options(source.text(), options) {
        let step = match item {
            Ok((event, span)) => builder.event(event, &span, report),
            Err(error) => Err(syntax_fault(&error, file)),
        };
        if let Err(fault) = step {
            report.error(fault);
            return None;
        }
    }
    Some(builder.root)
}

fn syntax_fault(error: &granit_parser::ScanError, file: u16) -> Fault {
    let marker = error.marker();
    let place = Place {
        file,
        line: narrow(marker.line()),
        column: narrow(marker.col() + 1),
        length: 1,
    };
    let fault = Fault::new(place, format!("not valid YAML: {}", error.kind()));
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => Fault::new(
            place,
            format!("lists and mappings are nested deeper than {MAX_DEPTH} levels"),
        ),
        ErrorKind::UnknownAnchor => Fault::new(place, "an alias to an anchor that is not there")
            .help("`*name` needs an `&name` further up; put quotes around text that begins with `*`"),
        ErrorKind::DirectiveDisallowed => fault.help("remove the line that begins with `%`"),
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            Fault::new(place, "YAML is indented with spaces, not tabs").help("replace the tab by spaces")
        }
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            Fault::new(place, "a control character in the file").help("remove it")
        }
        ErrorKind::InvalidColonPlacement
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::UnclosedFlowCollection { .. } => {
            fault.help("is a bracket open further up, or a comma missing?")
        }
        ErrorKind::InvalidTrailingSingleQuotedScalar | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            fault.help("is there a quote too many before this?")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => {
            fault.help("is a quote open further up?")
        }
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::MappingValueNotAllowed
        | ErrorKind::InvalidIndentation
        | ErrorKind::SimpleKeyExpected => fault.help(
            "a key is followed by a colon and a space, and keys of one mapping begin in the same column",
        ),
        _ => fault,
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn place_of(span: &Span, file: u16) -> Place {
    let length = if span.start.line() == span.end.line() {
        narrow(span.end.col().saturating_sub(span.start.col()).max(1))
    } else {
        u32::MAX
    };
    Place {
        file,
        line: narrow(span.start.line()),
        column: narrow(span.start.col() + 1),
        length,
    }
}

/// A list or mapping that is not complete.
struct Open<'a> {
    place: Place,
    anchor: usize,
    content: Content<'a>,
}

enum Content<'a> {
    List(Vec<Node<'a>>),
    Map {
        entries: Vec<(At<Cow<'a, str>>, Node<'a>)>,
        index: HashMap<Cow<'a, str>, Place>,
        key: Pending<'a>,
    },
}

/// What a mapping waits for.
enum Pending<'a> {
    Key,
    ValueOf(At<Cow<'a, str>>),
    ValueOfDuplicate,
}

#[derive(Default)]
struct Builder<'a> {
    open: Vec<Open<'a>>,
    root: Option<Node<'a>>,
    anchors: HashMap<usize, (Node<'a>, usize)>,
    nodes: usize,
    documents: usize,
    file: u16,
}

impl<'a> Builder<'a> {
    fn event(&mut self, event: Event<'a>, span: &Span, report: &mut Report<'a>) -> Result<(), Fault> {
        let place = place_of(span, self.file);
        if let Some(tag) = event.tag() {
            let place = span.tag_span().map_or(place, |span| place_of(&span, self.file));
            let message = format!("the tag `{tag}` has no meaning here");
            return Err(Fault::new(place, message).help("remove it"));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Fault::new(place, "a second document begins here")
                        .help("one file holds one definition: put the second one into a file of its own"));
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let value = Value::Scalar { text, plain };
                self.close(Node { place, value }, anchor, report)?;
            }
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id) else {
                    return Err(Fault::new(
                        place,
                        "an alias stands inside the value that it names",
                    ));
                };
                let (mut node, size) = (node.clone(), *size);
                node.place = place;
                self.count(size, place)?;
                self.close(node, 0, report)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(place, anchor, Content::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    index: HashMap::new(),
                    key: Pending::Key,
                };
                self.open(place, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let value = match open.content {
                        Content::List(items) => Value::List(items),
                        Content::Map { entries, .. } => Value::Map(entries),
                    };
                    let place = open.place;
                    self.close(Node { place, value }, open.anchor, report)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, place: Place, anchor: usize, content: Content<'a>) -> Result<(), Fault> {
        if self.open.len() == MAX_DEPTH {
            return Err(Fault::new(
                place,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.open.push(Open {
            place,
            anchor,
            content,
        });
        Ok(())
    }

    /// Takes a complete node into the list or mapping around it.
    fn close(&mut self, node: Node<'a>, anchor: usize, report: &mut Report<'a>) -> Result<(), Fault> {
        self.count(1, node.place)?;
        if anchor != 0 {
            let size = node.size();
            self.count(size, node.place)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node).filter(|node| !is_nothing(node)),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, index, key }) => match std::mem::replace(key, Pending::Key) {
                Pending::Key => *key = take_key(node, entries, index, report)?,
                Pending::ValueOf(key) => entries.push((key, node)),
                Pending::ValueOfDuplicate => {}
            },
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(
                Fault::new(place, format!("the file comes to more than {MAX_NODES} values"))
                    .help("write fewer values, or fewer anchors and aliases that multiply each other"),
            );
        }
        Ok(())
    }
}

/// True for a document without content, such as a file of comments.
fn is_nothing(node: &Node<'_>) -> bool {
    matches!(&node.value, Value::Scalar { text, plain: true } if text.is_empty())
}

fn take_key<'a>(
    node: Node<'a>,
    entries: &[(At<Cow<'a, str>>, Node<'a>)],
    index: &mut HashMap<Cow<'a, str>, Place>,
    report: &mut Report<'a>,
) -> Result<Pending<'a>, Fault> {
    let Value::Scalar { text, plain } = node.value else {
        return Err(Fault::new(
            node.place,
            "a key must be a word, not a list or mapping",
        ));
    };
    if plain && text == "<<" {
        return Err(Fault::new(node.place, "merge keys (`<<`) are not supported")
            .help("write the keys out; an alias for a whole value (`*name`) is fine"));
    }
    let earlier = if entries.len() < INDEXED {
        entries
            .iter()
            .find(|(k, _)| k.value == text)
            .map(|(k, _)| k.place)
    } else {
        if index.is_empty() {
            index.extend(entries.iter().map(|(k, _)| (k.value.clone(), k.place)));
        }
        match index.entry(text.clone()) {
            std::collections::hash_map::Entry::Occupied(entry) => Some(*entry.get()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(node.place);
                None
            }
        }
    };
    if let Some(first) = earlier {
        report.error(
            Fault::new(node.place, format!("the key `{text}` is given twice"))
                .help("keep one of the two")
                .also(first, "first given here"),
        );
        return Ok(Pending::ValueOfDuplicate);
    }
    Ok(Pending::ValueOf(At::new(text, node.place)))
}
