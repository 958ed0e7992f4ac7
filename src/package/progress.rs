//! How long work tells its caller where it is. The library never prints; the program decides what to show.

/// One step of a longer work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done, as a word for programs: `convert`, `digest`, `rpm`, …
    pub name: &'static str,
    /// What is done, for people: "write the base from /srv/web.qcow2".
    pub title: String,
    /// How many bytes it is about, if that is known.
    pub bytes: Option<u64>,
}

/// Someone who wants to know.
pub trait Progress {
    /// A step begins; the one before it has ended.
    fn step(&self, step: &Step);
    /// That many more bytes of the present step are done.
    fn advance(&self, bytes: u64);
    /// Something that does not stop the work, and that the user should know.
    fn warn(&self, text: &str) {
        let _ = text;
    }
}

/// Nobody wants to know.
impl Progress for () {
    fn step(&self, _: &Step) {}
    fn advance(&self, _: u64) {}
}
