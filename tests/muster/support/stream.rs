//! A reader of server-sent events (WHATWG HTML 9.2), written without the server's own code.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;

/// What the product promises for changes to show.
const LIVE: Duration = Duration::from_secs(2);

/// The kind of the events that only show that the stream lives.
const HEARTBEAT: &str = "heartbeat";

#[derive(Debug)]
pub struct Stream {
    response: reqwest::Response,
    text: String,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub id: Option<String>,
    pub kind: String,
    pub data: Value,
}

impl Stream {
    /// Listens at `path` from now on.
    pub async fn open(client: &Client, path: &str) -> Self {
        let response = client.request("GET", path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The same, going on after an event.
    pub async fn resume(client: &Client, last: &str) -> Self {
        Self::open(&client.clone().with("last-event-id", last), "/v1/events").await
    }

    /// The next event that says something; `None` when the stream has ended. Fails the test when neither happens in
    /// time.
    pub async fn next(&mut self) -> Option<Event> {
        let next = tokio::time::timeout(LIVE, async {
            loop {
                match self.read().await {
                    Some(event) if event.kind == HEARTBEAT => {}
                    next => return next,
                }
            }
        });
        next.await.unwrap_or_else(|_| panic!("nothing happened on the stream within {LIVE:?}"))
    }

    /// The next sign that the stream lives, within this time.
    pub async fn heartbeat(&mut self, within: Duration) -> Event {
        let next = tokio::time::timeout(within, async {
            loop {
                let event = self.read().await.expect("the stream goes on");
                if event.kind == HEARTBEAT {
                    return event;
                }
            }
        });
        next.await.unwrap_or_else(|_| panic!("no heartbeat within {within:?}"))
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let event = parse(block);
                self.text = rest.to_owned();
                if event.is_some() {
                    return event;
                }
            }
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Reads on until an event of this kind.
    pub async fn wait_for(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before a {kind}"));
            if event.kind == kind {
                return event;
            }
        }
    }

    /// Demands that the stream ends, whatever it still says.
    pub async fn ends(&mut self) {
        while self.next().await.is_some() {}
    }
}

/// One event; `None` for a comment.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    let data = field("data")?;
    let data = serde_json::from_str(&data).unwrap_or_else(|e| panic!("{e}: {block}"));
    Some(Event { id: field("id"), kind: field("event").unwrap(), data })
}
