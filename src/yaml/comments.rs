//! The comments of a YAML file, which mean nothing to its readers but a lot to its writers.

use granit_parser::{Event, Parser, Placement};

/// A comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its line, counted from 1.
    pub line: usize,
    /// What follows the `#`.
    pub text: String,
    /// True if nothing else stands on its line.
    pub own_line: bool,
}

/// The comments of `text`, as far as it is YAML.
pub fn comments(text: &str) -> Vec<Comment> {
    Parser::new_from_str(text)
        .map_while(Result::ok)
        .filter_map(|(event, span)| match event {
            Event::Comment(text, placement) => Some(Comment {
                line: span.start.line(),
                text: text.into_owned(),
                own_line: placement != Placement::Right,
            }),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_values_that_look_like_them() {
        let text = "# head\na: 'x # y' # why\n\n  # below\nb: |\n  # no comment\n# last\n";
        let found: Vec<_> = comments(text)
            .into_iter()
            .map(|c| (c.line, c.text, c.own_line))
            .collect();
        let expected = [
            (1, " head", true),
            (2, " why", false),
            (4, " below", true),
            (7, " last", true),
        ];
        assert_eq!(
            found,
            expected.map(|(line, text, own)| (line, text.to_owned(), own))
        );
    }
}
