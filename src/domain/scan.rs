//! The document as a tree of byte spans over its source text, which `scanner` builds. No meaning of any element
//! lives here.

use std::fmt;
use std::ops::Range;

use super::error::Place;

/// Larger documents are not read. A domain with a hundred disks has about 60 kB.
pub const MAX_BYTES: usize = 4 << 20;
/// Deeper documents are not read. A chain of backing images takes one level per image, and libvirt follows 200.
pub const MAX_DEPTH: usize = 256;
/// Documents with more elements and attributes are not read.
pub const MAX_NODES: usize = 1 << 17;

/// A well-formed document. It borrows its text; spans are byte offsets into that.
pub struct Document<'x> {
    pub(super) source: &'x str,
    pub(super) nodes: Vec<Node>,
    pub(super) namespaces: Vec<String>,
}

pub(super) struct Node {
    pub(super) parent: Option<usize>,
    pub(super) children: Vec<usize>,
    pub(super) name: Range<usize>,
    /// Index into `namespaces`; `None` is "in no namespace".
    pub(super) namespace: Option<usize>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) text: String,
    pub(super) start_tag: Range<usize>,
    /// `None` for `<a/>`.
    pub(super) end_tag: Option<Range<usize>>,
}

pub(super) struct Attribute {
    /// The whole attribute with the white space before it.
    pub(super) whole: Range<usize>,
    pub(super) name: Range<usize>,
    /// Between the quotes.
    pub(super) raw: Range<usize>,
    pub(super) value: String,
}

/// One element of a [`Document`].
#[derive(Clone, Copy)]
pub struct Element<'d> {
    document: &'d Document<'d>,
    index: usize,
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.document, other.document) && self.index == other.index
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}> at {}", self.qualified_name(), self.place())
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({} elements)", self.nodes.len())
    }
}

impl<'x> Document<'x> {
    /// The text that was read.
    pub fn source(&self) -> &'x str {
        self.source
    }

    /// The outermost element.
    pub fn root(&self) -> Element<'_> {
        Element {
            document: self,
            index: 0,
        }
    }

    /// All elements in document order.
    pub(super) fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        (0..self.nodes.len()).map(|index| Element {
            document: self,
            index,
        })
    }
}

impl<'d> Element<'d> {
    fn node(self) -> &'d Node {
        &self.document.nodes[self.index]
    }

    /// Its number in document order.
    pub(super) fn index(self) -> usize {
        self.index
    }

    /// The name as written, with its prefix.
    pub fn qualified_name(self) -> &'d str {
        &self.document.source[self.node().name.clone()]
    }

    /// The name without its prefix.
    pub fn local_name(self) -> &'d str {
        let name = self.qualified_name();
        name.split_once(':').map_or(name, |(_, local)| local)
    }

    /// The namespace it is in, if any. libvirt's own elements are in none.
    pub fn namespace(self) -> Option<&'d str> {
        self.node()
            .namespace
            .map(|index| self.document.namespaces[index].as_str())
    }

    /// Whether this is libvirt's own element of that name, that is one in no namespace.
    pub fn is(self, name: &str) -> bool {
        self.node().namespace.is_none() && self.qualified_name() == name
    }

    /// The decoded value of an attribute, by its name as written.
    pub fn attribute(self, name: &str) -> Option<&'d str> {
        self.raw_attribute(name).map(|attribute| attribute.value.as_str())
    }

    /// All attributes as (name as written, decoded value).
    pub fn attributes(self) -> impl Iterator<Item = (&'d str, &'d str)> {
        let source: &'d str = self.document.source;
        self.node()
            .attributes
            .iter()
            .map(move |a| (&source[a.name.clone()], a.value.as_str()))
    }

    pub(super) fn raw_attribute(self, name: &str) -> Option<&'d Attribute> {
        self.node()
            .attributes
            .iter()
            .find(|a| &self.document.source[a.name.clone()] == name)
    }

    /// The decoded text directly in this element (not in its children), as written, white space included.
    pub fn text(self) -> &'d str {
        &self.node().text
    }

    /// Its text without the white space around it; none if that is all there is.
    pub(super) fn trimmed_text(self) -> Option<String> {
        let text = self.text().trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The element around it.
    pub fn parent(self) -> Option<Element<'d>> {
        self.node().parent.map(|index| Element {
            document: self.document,
            index,
        })
    }

    /// All elements directly in it.
    pub fn children(self) -> impl DoubleEndedIterator<Item = Element<'d>> {
        let document = self.document;
        self.node()
            .children
            .iter()
            .map(move |&index| Element { document, index })
    }

    /// libvirt's own elements of that name directly in it.
    pub fn children_named<'n>(self, name: &'n str) -> impl Iterator<Item = Element<'d>> + use<'d, 'n> {
        self.children().filter(move |child| child.is(name))
    }

    /// The first of libvirt's own elements of that name directly in it, which is the one that libvirt reads.
    pub fn child(self, name: &str) -> Option<Element<'d>> {
        self.children().find(|child| child.is(name))
    }

    /// Follows first children by name.
    pub fn at(self, path: &[&str]) -> Option<Element<'d>> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// Where it starts.
    pub fn place(self) -> Place {
        Place::of(self.document.source, self.node().start_tag.start)
    }

    /// From `<` of the start tag to after `>` of the end tag.
    pub fn span(self) -> Range<usize> {
        let node = self.node();
        node.start_tag.start..node.end_tag.as_ref().unwrap_or(&node.start_tag).end
    }

    /// The whole element as it is written.
    pub(super) fn source(self) -> &'d str {
        &self.document.source[self.span()]
    }

    /// An attribute as it is written, with the white space before it; nothing if it is not there.
    pub(super) fn attribute_source(self, name: &str) -> &'d str {
        self.raw_attribute(name)
            .map_or("", |attribute| &self.document.source[attribute.whole.clone()])
    }

    /// The start tag, or the whole of `<a/>`.
    pub(super) fn start_tag(self) -> Range<usize> {
        self.node().start_tag.clone()
    }

    /// The end tag, if it is not `<a/>`.
    pub(super) fn end_tag(self) -> Option<Range<usize>> {
        self.node().end_tag.clone()
    }

    /// Where one more attribute can be written.
    pub(super) fn attributes_end(self) -> usize {
        self.node()
            .attributes
            .last()
            .map_or(self.node().name.end, |last| last.whole.end)
    }
}

/// White space as XML sees it.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}
