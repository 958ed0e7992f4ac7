//! Three-way merge of domain XML: what the package said, what it says now, and what the domain has become here.
//! Parts that nobody here has changed follow the package; parts that were changed here stay, and are listed.
//!
//! Elements are matched by what identifies them to people (a disk's target, an interface's hardware address, …), not
//! by their places; see `identity`. What is taken from one side is copied as it is written there. Which documents
//! are merged, and when, is the caller's business.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::error::{DomainXmlError, shown};
use super::identity::{Key, is_whole, keyed};
use super::scan::{Document, Element};

/// A merged domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The text.
    pub xml: String,
    /// What was changed here and stays.
    pub kept: Vec<Edit>,
}

/// One part of a domain that differs from what it is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Where, like `devices/interface[52:54:00:01:00:10]/model@type`; printable.
    pub place: String,
    /// What happened to it.
    pub change: Change,
    /// True if the package has changed the same part, which is not followed.
    #[serde(default)]
    pub conflict: bool,
}

/// What happened to a part of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Added,
    /// It has another value.
    Changed,
    /// It is gone.
    Removed,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = match self.change {
            Change::Added => "added",
            Change::Changed => "changed",
            Change::Removed => "removed",
        };
        write!(f, "{} ({change}", self.place)?;
        f.write_str(if self.conflict {
            "; the package has changed it too)"
        } else {
            ")"
        })
    }
}

/// Merges: what differs between `old` and `new` is done to `current`, except where `current` was edited. A part is
/// unedited if it is as in `old`, or as in `defined`, which is how libvirt writes what it was given.
pub fn merge(old: &str, new: &str, current: &str, defined: Option<&str>) -> Result<Merged, DomainXmlError> {
    let (old, new, current) = (
        Document::parse(old)?,
        Document::parse(new)?,
        Document::parse(current)?,
    );
    let defined = defined.map(Document::parse).transpose()?;
    refuse_prefix_clash(&new, &current)?;
    let mut merger = Merger {
        conflicts: BTreeSet::new(),
    };
    let sides = Sides {
        old: Some(old.root()),
        new: new.root(),
        current: current.root(),
        defined: defined.as_ref().map(Document::root),
        compares: defined.is_some(),
    };
    let mut xml = String::with_capacity(current.source().len() + 256);
    merger.element(&sides, &mut Path::root(), 0, &mut xml);
    xml.push('\n');
    // A mistake of the merge must not reach libvirt.
    Document::parse(&xml)?;
    let base = defined.as_ref().unwrap_or(&old);
    let mut kept = Vec::new();
    differences_of(base.root(), current.root(), &mut Path::root(), &mut kept);
    for edit in &mut kept {
        edit.conflict = merger.conflicts.remove(&edit.place);
    }
    // What libvirt and the user have made together is no difference to either, but still not the package's.
    kept.extend(merger.conflicts.into_iter().map(|place| Edit {
        place,
        change: Change::Changed,
        conflict: true,
    }));
    Ok(Merged { xml, kept })
}

/// What is different in `current` from what is in `base`, element by element.
pub fn differences(base: &str, current: &str) -> Result<Vec<Edit>, DomainXmlError> {
    let (base, current) = (Document::parse(base)?, Document::parse(current)?);
    let mut all = Vec::new();
    differences_of(base.root(), current.root(), &mut Path::root(), &mut all);
    Ok(all)
}

/// A prefix that stands for two namespaces would give one side's elements another meaning.
fn refuse_prefix_clash(new: &Document<'_>, current: &Document<'_>) -> Result<(), DomainXmlError> {
    let mut known: HashMap<&str, &str> = HashMap::new();
    for element in new.elements().chain(current.elements()) {
        for (name, uri) in element.attributes() {
            if let Some(prefix) = name.strip_prefix("xmlns:")
                && known.insert(prefix, uri).is_some_and(|other| other != uri)
            {
                return Err(DomainXmlError::PrefixClash {
                    prefix: shown(prefix),
                });
            }
        }
    }
    Ok(())
}

/// Whether two elements say the same: order of attributes, spacing and comments aside.
pub(super) fn same(a: Element<'_>, b: Element<'_>) -> bool {
    let mut others = b.children();
    a.qualified_name() == b.qualified_name()
        && a.namespace() == b.namespace()
        && attributes(a) == attributes(b)
        && a.text().trim() == b.text().trim()
        && a.children()
            .all(|child| others.next().is_some_and(|other| same(child, other)))
        && others.next().is_none()
}

fn attributes(element: Element<'_>) -> BTreeMap<&str, &str> {
    element.attributes().collect()
}

/// One element as the documents have it.
struct Sides<'d> {
    old: Option<Element<'d>>,
    new: Element<'d>,
    current: Element<'d>,
    defined: Option<Element<'d>>,
    /// Whether there is a document `defined`, in which this element may yet be missing.
    compares: bool,
}

impl Sides<'_> {
    fn is_untouched(&self) -> bool {
        [self.old, self.defined]
            .into_iter()
            .flatten()
            .any(|base| same(base, self.current))
    }
}

/// The way to an element, for people.
struct Path(Vec<String>);

impl Path {
    const fn root() -> Self {
        Self(Vec::new())
    }

    fn within<T>(&mut self, key: &Key<'_>, act: impl FnOnce(&mut Self) -> T) -> T {
        self.0.push(shown(&key.to_string()));
        let result = act(self);
        self.0.pop();
        result
    }

    fn shown(&self) -> String {
        if self.0.is_empty() {
            "domain".to_owned()
        } else {
            self.0.join("/")
        }
    }

    fn attribute(&self, name: &str) -> String {
        format!("{}@{}", self.shown(), shown(name))
    }
}

struct Merger {
    /// The places of parts that package and user have both changed.
    conflicts: BTreeSet<String>,
}

impl Merger {
    fn element(&mut self, sides: &Sides<'_>, path: &mut Path, depth: usize, out: &mut String) {
        let &Sides {
            old, new, current, ..
        } = sides;
        if old.is_some_and(|old| same(old, new)) || same(current, new) {
            return out.push_str(current.source());
        }
        if sides.is_untouched() {
            return out.push_str(new.source());
        }
        // One that both sides have made on their own is two things of one name.
        let unrelated = old.is_none() && sides.defined.is_none() && !path.0.is_empty();
        if unrelated || is_whole(new) || is_whole(current) || new.qualified_name() != current.qualified_name()
        {
            self.conflicts.insert(path.shown());
            return out.push_str(current.source());
        }
        out.push('<');
        out.push_str(current.qualified_name());
        self.attributes(sides, path, out);
        let mut inner = String::new();
        self.children(sides, path, depth + 1, &mut inner);
        if inner.is_empty() {
            return out.push_str("/>");
        }
        out.push('>');
        out.push_str(&inner);
        break_line(out, depth);
        out.push_str("</");
        out.push_str(current.qualified_name());
        out.push('>');
    }

    fn attributes(&mut self, sides: &Sides<'_>, path: &Path, out: &mut String) {
        let mut names: Vec<&str> = sides.current.attributes().map(|(name, _)| name).collect();
        for (name, _) in sides.new.attributes() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let of =
                |element: Option<Element<'_>>| element.and_then(|e| e.attribute(name).map(str::to_owned));
            let (old, new, current) = (of(sides.old), of(Some(sides.new)), of(Some(sides.current)));
            let untouched = current == old || (sides.defined.is_some() && current == of(sides.defined));
            let taken = if old == new || current == new {
                sides.current
            } else if untouched {
                sides.new
            } else {
                self.conflicts.insert(path.attribute(name));
                sides.current
            };
            out.push_str(taken.attribute_source(name));
        }
    }

    fn children(&mut self, sides: &Sides<'_>, path: &mut Path, depth: usize, out: &mut String) {
        fn list(element: Option<Element<'_>>) -> Vec<(Key<'_>, Element<'_>)> {
            element.map(keyed).unwrap_or_default()
        }
        let (old, new) = (list(sides.old), list(Some(sides.new)));
        let (current, defined) = (list(Some(sides.current)), list(sides.defined));
        let [old_by, new_by, current_by, defined_by] = [&old, &new, &current, &defined]
            .map(|list| list.iter().cloned().collect::<HashMap<Key<'_>, Element<'_>>>());
        for key in order(&old, &new, &current) {
            let (o, n) = (old_by.get(key).copied(), new_by.get(key).copied());
            let (c, d) = (current_by.get(key).copied(), defined_by.get(key).copied());
            let mut text = String::new();
            path.within(key, |path| match (n, c) {
                (None, None) => {}
                (Some(n), Some(c)) => {
                    let sides = Sides {
                        old: o,
                        new: n,
                        current: c,
                        defined: d,
                        compares: sides.compares,
                    };
                    self.element(&sides, path, depth, &mut text);
                }
                (None, Some(c)) => {
                    let untouched = [o, d].into_iter().flatten().any(|base| same(base, c));
                    if o.is_none() || !untouched {
                        if o.is_some() {
                            self.conflicts.insert(path.shown());
                        }
                        text.push_str(c.source());
                    }
                }
                (Some(n), None) => {
                    let removed_here = match (o, d) {
                        (Some(o), _) if same(o, n) => true,
                        // libvirt keeps no such thing: that is nobody's edit.
                        (Some(_), None) if sides.compares => false,
                        (None, None) => false,
                        _ => {
                            self.conflicts.insert(path.shown());
                            true
                        }
                    };
                    if !removed_here {
                        text.push_str(n.source());
                    }
                }
            });
            if !text.is_empty() {
                break_line(out, depth);
                out.push_str(&text);
            }
        }
    }
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// The keys of all children in the order of the result: that of `current`, with what only `new` has behind its
/// predecessor there; the other way round if the package has changed the order.
fn order<'k, 'd>(
    old: &'k [(Key<'d>, Element<'d>)],
    new: &'k [(Key<'d>, Element<'d>)],
    current: &'k [(Key<'d>, Element<'d>)],
) -> Vec<&'k Key<'d>> {
    let in_order_of = |list: &'k [(Key<'d>, Element<'d>)], other: &[(Key<'d>, Element<'d>)]| {
        let there: BTreeSet<&Key<'_>> = other.iter().map(|(key, _)| key).collect();
        let keys = list.iter().map(|(key, _)| key);
        keys.filter(|key| there.contains(key)).collect::<Vec<_>>()
    };
    let reordered = in_order_of(old, new) != in_order_of(new, old);
    let (first, second) = if reordered { (new, current) } else { (current, new) };
    let mut next: BTreeMap<Option<&Key<'_>>, Vec<&'k Key<'d>>> = BTreeMap::new();
    let known: BTreeSet<&Key<'_>> = first.iter().map(|(key, _)| key).collect();
    let mut before = None;
    for (key, _) in second {
        if known.contains(key) {
            before = Some(key);
        } else {
            next.entry(before).or_default().push(key);
        }
    }
    let mut all = next.remove(&None).unwrap_or_default();
    for (key, _) in first {
        all.push(key);
        all.extend(next.remove(&Some(key)).unwrap_or_default());
    }
    all
}

fn differences_of(base: Element<'_>, current: Element<'_>, path: &mut Path, all: &mut Vec<Edit>) {
    if same(base, current) {
        return;
    }
    let edit = |place, change| Edit {
        place,
        change,
        conflict: false,
    };
    if is_whole(base) || is_whole(current) || base.qualified_name() != current.qualified_name() {
        return all.push(edit(path.shown(), Change::Changed));
    }
    let (old, new) = (attributes(base), attributes(current));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    for name in names {
        let change = match (old.get(name), new.get(name)) {
            (a, b) if a == b => continue,
            (Some(_), None) => Change::Removed,
            (None, _) => Change::Added,
            _ => Change::Changed,
        };
        all.push(edit(path.attribute(name), change));
    }
    let (old, new) = (keyed(base), keyed(current));
    let before: HashMap<Key<'_>, Element<'_>> = old.iter().cloned().collect();
    let after: BTreeSet<&Key<'_>> = new.iter().map(|(key, _)| key).collect();
    for (key, element) in &new {
        path.within(key, |path| match before.get(key) {
            Some(base) => differences_of(*base, *element, path, all),
            None => all.push(edit(path.shown(), Change::Added)),
        });
    }
    for (key, _) in old.iter().filter(|(key, _)| !after.contains(key)) {
        path.within(key, |path| all.push(edit(path.shown(), Change::Removed)));
    }
}
