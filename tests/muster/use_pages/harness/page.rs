//! A page of `docs/use/`, taken apart: its parts by their headings, their blocks by what they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/use")
}

/// A page, with an account of what was run of it.
#[derive(Debug)]
pub struct Page {
    pub name: String,
    pub text: String,
    pub blocks: Vec<Block>,
    run: Mutex<BTreeSet<usize>>,
}

/// A fenced block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its place on the page.
    pub number: usize,
    /// The headings above it, the nearest last.
    pub headings: Vec<String>,
    pub kind: Kind,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A whole file.
    File(String),
    /// Lines for a file that is there.
    AddTo(String),
    /// Commands for a shell.
    Commands,
    /// Anything else, by its info string.
    Other(String),
}

impl Page {
    pub fn open(name: &str) -> Self {
        let path = folder().join(format!("{name}.md"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let blocks = blocks(&text);
        Self { name: name.to_owned(), text, blocks, run: Mutex::default() }
    }

    /// `docs/outputs.md`, which pages link for what is done once on a machine.
    pub fn of_outputs() -> Self {
        Self::open("../outputs")
    }

    /// The blocks below a heading, those of its subheadings too.
    #[track_caller]
    pub fn part(&self, heading: &str) -> Vec<Block> {
        let below = |block: &&Block| block.headings.iter().any(|above| above == heading);
        let found: Vec<_> = self.blocks.iter().filter(below).cloned().collect();
        assert!(!found.is_empty(), "{}: there are no blocks below {heading:?}", self.name);
        found
    }

    /// The blocks above the first part: what all parts build on.
    pub fn preface(&self) -> Vec<Block> {
        self.blocks.iter().filter(|block| block.headings.len() < 2).cloned().collect()
    }

    pub fn was_run(&self, block: &Block) {
        self.run.lock().insert(block.number);
    }

    pub fn not_run(&self) -> Vec<&Block> {
        let run = self.run.lock();
        self.blocks.iter().filter(|block| !run.contains(&block.number)).collect()
    }
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut headings: Vec<(usize, String)> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        // A block in a list is indented as far as its fence.
        let indent = line.len() - line.trim_start().len();
        if let Some(info) = line.trim_start().strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            let inside: Vec<&str> = inside.iter().map(|line| line.get(indent..).unwrap_or("")).collect();
            let text = inside.join("\n") + "\n";
            let headings = headings.iter().map(|(_, title)| title.clone()).collect();
            let (kind, text) = kind(info, text);
            blocks.push(Block { number: blocks.len(), headings, kind, text });
        } else if line.starts_with('#') {
            let title = line.trim_start_matches('#');
            let level = line.len() - title.len();
            headings.retain(|(above, _)| *above < level);
            headings.push((level, title.trim().to_owned()));
        }
    }
    blocks
}

/// What a block is; of lines to add, the one that says where they go is no part.
fn kind(info: &str, text: String) -> (Kind, String) {
    let first = text.lines().next().unwrap_or_default();
    let comment = ["# ", "// ", "-- ", "%% ", "; ", "<!-- "].iter().find_map(|mark| first.strip_prefix(mark));
    let comment = comment.map(|comment| comment.trim_end_matches("-->").trim()).unwrap_or_default();
    let is_file = |name: &str| !name.contains(' ') && name.contains(['.', '/']);
    if let Some(name) = comment.strip_prefix("add to ").filter(|name| is_file(name)) {
        let (_, rest) = text.split_once('\n').unwrap();
        return (Kind::AddTo(name.to_owned()), rest.to_owned());
    }
    match info.split_whitespace().next().unwrap_or_default() {
        _ if is_file(comment) => (Kind::File(comment.to_owned()), text),
        "sh" => (Kind::Commands, text),
        _ => (Kind::Other(info.to_owned()), text),
    }
}

#[test]
fn pages_are_taken_apart() {
    let page = "# One\n```sh\necho # hi\n```\n## Two\n```nginx\n# /etc/a.conf\nb;\n```\n- c\n\n  ```yaml\n  # add to /etc/c.yml\n  d:\n    e: 1\n  ```\n## Three\n```text\n# not a file\n```\n";
    let found: Vec<_> = blocks(page).into_iter().map(|b| (b.headings.join(">"), b.kind, b.text)).collect();
    let expected = [
        ("One", Kind::Commands, "echo # hi\n"),
        ("One>Two", Kind::File("/etc/a.conf".into()), "# /etc/a.conf\nb;\n"),
        ("One>Two", Kind::AddTo("/etc/c.yml".into()), "d:\n  e: 1\n"),
        ("One>Three", Kind::Other("text".into()), "# not a file\n"),
    ];
    assert_eq!(found, expected.map(|(heading, kind, text)| (heading.to_owned(), kind, text.to_owned())));
}
