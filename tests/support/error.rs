//! The one error of the lab: what could not be done, and what would make it possible.
//!
//! Tests mostly panic (a failed lab step is a failed test); this type is for what a program that uses
//! the lab wants to tell its user: a missing program, namespaces that are refused.

use std::fmt;

/// A lab step that failed.
#[derive(Debug, Clone)]
pub(crate) struct LabError {
    /// What happened, and to what.
    what: String,
    /// A command (or a sentence) that would make it possible.
    remedy: Option<String>,
}

/// Shorthand for results of the lab.
pub(crate) type Result<T, E = LabError> = std::result::Result<T, E>;

impl LabError {
    /// An error without known remedy.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: None,
        }
    }

    /// What happened.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// What would make the step possible, if that is known.
    pub(crate) fn remedy_text(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    /// Adds the command or sentence that would make the step possible.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  to make it possible: {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LabError {}

/// Turns any error into a [`LabError`] that names the step.
pub(crate) trait Context<T> {
    /// Names the step that failed.
    fn context(self, step: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, step: impl fmt::Display) -> Result<T> {
        self.map_err(|error| LabError::new(format!("{step}: {error}")))
    }
}
