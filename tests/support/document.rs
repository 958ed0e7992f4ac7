//! Documents as tests see them: fenced blocks, the marks before them, and the commands in them.
//!
//! ` ```sh ` holds commands; ` ```console ` holds commands behind `$ ` with what they print; ` ```yaml ` holds a
//! network definition, a drop-in, settings, or an indented part of a definition; ` ```text ` holds anything else.
//! A comment right before a block says that it is a file, `<!-- file: PATH -->`, or why it is not run,
//! `<!-- not run: REASON -->`. In what a command prints, `…` stands for anything: in a line of its own for any
//! number of lines. `$ echo $?` tells how the command before ends, `^C` that it is interrupted.
//!
//! Nothing is run here.

/// Why a block is not run. There are no other reasons.
const REASONS: [&str; 3] = ["installation", "make test", "make demo"];

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Commands,
    Session,
    Yaml,
    Text,
}

/// What the comment before a block says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    NotRun,
    File(String),
}

/// A fenced block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// The line of the first line in it, from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) mark: Mark,
    pub(crate) text: String,
}

/// A command of a block, and what is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) command: String,
    /// What it prints, if the block says so.
    pub(crate) printed: Vec<String>,
    pub(crate) status: i32,
    /// It runs until it is interrupted.
    pub(crate) interrupted: bool,
}

/// All blocks of a document, or all that is wrong with them, with lines.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, Vec<String>> {
    let (mut blocks, mut wrong) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    let mut mark = Mark::None;
    let mut after_blank = true;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(block) = &mut open {
            if line == "```" {
                let block = open.take().expect("it is open");
                wrong.extend(complaint(&block).map(|what| format!("line {}: {what}", block.line)));
                blocks.push(block);
            } else {
                block.text += line;
                block.text.push('\n');
            }
            continue;
        }
        if let Some(word) = line.strip_prefix("```") {
            let kind = match word {
                "sh" => Some(Kind::Commands),
                "console" => Some(Kind::Session),
                "yaml" => Some(Kind::Yaml),
                "text" => Some(Kind::Text),
                _ => None,
            };
            if kind.is_none() {
                wrong.push(format!("line {number}: {word:?} is no kind of block"));
            }
            open = Some(Block {
                line: number + 1,
                kind: kind.unwrap_or(Kind::Text),
                mark: std::mem::replace(&mut mark, Mark::None),
                text: String::new(),
            });
        } else if let Some(comment) = line.strip_prefix("<!--") {
            match read_mark(comment) {
                Some(read) => mark = read,
                None => wrong.push(format!("line {number}: {line} is no mark")),
            }
            continue;
        } else if line.trim_start().starts_with("```") || after_blank && line.starts_with("    ") {
            wrong.push(format!(
                "line {number}: a block has to be fenced, from the line's start"
            ));
        }
        if mark != Mark::None && open.is_none() {
            wrong.push(format!("line {number}: no block follows the mark"));
            mark = Mark::None;
        }
        after_blank = line.trim().is_empty();
    }
    if let Some(block) = open {
        wrong.push(format!("line {}: the block has no end", block.line));
    }
    if wrong.is_empty() { Ok(blocks) } else { Err(wrong) }
}

fn read_mark(comment: &str) -> Option<Mark> {
    let words = comment.strip_suffix("-->")?.trim();
    if let Some(reason) = words.strip_prefix("not run: ") {
        return REASONS.contains(&reason).then_some(Mark::NotRun);
    }
    let path = words.strip_prefix("file: ")?;
    path.starts_with('/').then(|| Mark::File(path.to_owned()))
}

/// What is wrong with a block.
fn complaint(block: &Block) -> Option<&'static str> {
    let ours = |line: &str| {
        let line = line.trim_start_matches("$ ").trim_start_matches("sudo ");
        line.starts_with("miniascape ")
    };
    let shell = matches!(block.kind, Kind::Commands | Kind::Session);
    match &block.mark {
        Mark::NotRun if !shell => Some("only commands are run or not run"),
        Mark::NotRun if block.text.lines().any(ours) => Some("a block with miniascape's own commands is run"),
        Mark::File(_) if shell => Some("commands are no file"),
        _ if block.kind == Kind::Text
            && block
                .text
                .lines()
                .any(|line| line.starts_with("$ ") || ours(line)) =>
        {
            Some("commands belong in a block of commands")
        }
        _ if block.kind == Kind::Session && !block.text.starts_with("$ ") => {
            Some("it does not begin with a command")
        }
        _ => None,
    }
}

impl Block {
    /// It holds commands, and they are run.
    pub(crate) fn is_run(&self) -> bool {
        self.mark == Mark::None && matches!(self.kind, Kind::Commands | Kind::Session)
    }

    /// The commands in it, none if it is not run.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        if !self.is_run() {
            return steps;
        }
        let mut goes_on = false;
        for (index, line) in self.text.lines().enumerate() {
            let command = match self.kind {
                Kind::Session => line.strip_prefix("$ "),
                _ => Some(line).filter(|line| !line.trim().is_empty() && !line.starts_with('#')),
            };
            match (steps.last_mut(), command) {
                (Some(step), _) if goes_on => {
                    step.command.push('\n');
                    step.command += line;
                }
                (_, Some(command)) => steps.push(Step {
                    line: self.line + index,
                    command: command.to_owned(),
                    printed: Vec::new(),
                    status: 0,
                    interrupted: false,
                }),
                (Some(step), None) if line == "^C" => step.interrupted = true,
                (Some(step), None) if self.kind == Kind::Session => step.printed.push(line.to_owned()),
                _ => {}
            }
            goes_on = steps.last().is_some_and(|step| step.printed.is_empty()) && line.ends_with('\\');
        }
        // What `echo $?` prints is the status of the command before it.
        let mut index = 1;
        while index < steps.len() {
            if steps[index].command == "echo $?" {
                let told = steps.remove(index);
                steps[index - 1].status = told
                    .printed
                    .first()
                    .and_then(|line| line.parse().ok())
                    .unwrap_or(-1);
            } else {
                index += 1;
            }
        }
        steps
    }
}

/// Lines are what a block says is printed.
pub(crate) fn fits(said: &[String], printed: &[&str]) -> bool {
    match said.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line.trim() == "…" => {
            (0..=printed.len()).any(|skip| fits(rest, &printed[skip..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, more)| line_fits(line, first) && fits(rest, more)),
    }
}

/// Columns may be wider or narrower than the document has them.
fn line_fits(said: &str, printed: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (said, printed) = (words(said), words(printed));
    let mut parts = said.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut left) = printed.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return left.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    true
}
