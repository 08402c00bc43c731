//! `muster docs`: the manual, which is in the program and needs no internet.

use clap::Args;
use serde::Serialize;

use crate::cli::command::Global;
use crate::cli::output::error::CliError;
use crate::cli::output::stdout::print;

/// A page of `docs/`.
#[derive(Debug, Clone, Copy, Serialize)]
struct Page {
    /// The file's path below `docs/`, without its ending.
    topic: &'static str,
    title: &'static str,
    /// Markdown.
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'static str,
}

/// In the order of the manual's index.
const PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/manual.rs"));

/// Read the manual, which is in the program
///
/// Without a topic it lists what there is to read about. A topic may be cut short where only one page is meant: 'nginx' is
/// 'use/nginx'. A word that is no topic is looked for in the titles, and then in the pages.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muster docs\n  muster docs operating | less\n  muster docs nginx\n  muster docs 'disk is full'"
)]
pub struct DocsCommand {
    /// What to read about
    topic: Option<String>,
}

impl DocsCommand {
    pub(crate) fn run(&self, global: &Global) -> Result<(), CliError> {
        let found = match &self.topic {
            None => PAGES.iter().collect(),
            Some(topic) => found(topic),
        };
        match (&self.topic, &found[..]) {
            (Some(topic), []) => Err(CliError::new(format!("the manual says nothing of {topic:?}"))
                .hint("muster docs lists its pages")),
            (Some(_), [page]) if global.json => print(&json(page)?),
            (Some(_), [page]) => print(page.text),
            (_, pages) if global.json => {
                let without_texts: Vec<_> = pages.iter().map(|page| Page { text: "", ..**page }).collect();
                print(&json(&without_texts)?)
            }
            (_, pages) => {
                let width = pages.iter().map(|page| page.topic.len()).max().unwrap_or(0);
                let lines = pages.iter().map(|page| format!("{:width$}  {}\n", page.topic, page.title));
                print(&lines.collect::<String>())
            }
        }
    }
}

fn json(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::caused(&error))?;
    Ok(text + "\n")
}

/// The page of a topic, else those that a word leads to.
fn found(topic: &str) -> Vec<&'static Page> {
    let wanted = topic.trim().trim_end_matches(".md").to_lowercase();
    let all =
        |is_meant: &dyn Fn(&Page) -> bool| PAGES.iter().filter(|page| is_meant(page)).collect::<Vec<_>>();
    let ways: [&dyn Fn(&Page) -> bool; 4] = [
        &|page| page.topic == wanted,
        &|page| page.topic.rsplit('/').next() == Some(&wanted),
        &|page| page.title.to_lowercase().contains(&wanted) || page.topic.contains(&wanted),
        &|page| page.text.to_lowercase().contains(&wanted),
    ];
    ways.into_iter().map(all).find(|pages| !pages.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_leads_to_the_page_that_is_meant() {
        let topics = |word: &str| found(word).iter().map(|page| page.topic).collect::<Vec<_>>();
        assert_eq!(topics("operating"), ["operating"]);
        assert_eq!(topics("nginx"), ["use/nginx"]);
        assert_eq!(topics("Use/NGINX.md"), ["use/nginx"]);
        assert_eq!(topics("levitation"), Vec::<&str>::new());
        assert_eq!(topics("disk is full"), ["runbooks/disk-full"]);
        assert!(topics("$ssl_client_escaped_cert").contains(&"use/nginx"), "it stands in the page");
        assert!(PAGES.iter().all(|page| !page.title.is_empty() && page.text.contains(page.title)));
    }
}
