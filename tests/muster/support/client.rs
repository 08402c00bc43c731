//! Somebody who speaks to the admin API: a browser with its cookie, a program with its token, or a stranger.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::http::{Answer, Http};
use super::server::Server;

/// What every person in these tests signs in with.
pub const PASSWORD: &str = "correct horse battery staple";

/// The session cookie's name.
pub const COOKIE: &str = "__Host-muster";

#[derive(Debug, Clone)]
pub struct Client {
    pub http: Http,
    headers: Vec<(String, String)>,
}

impl Client {
    pub fn nobody(server: &Server) -> Self {
        Self { http: server.http(), headers: Vec::new() }
    }

    /// The same from another address of this machine.
    pub fn at_address(&self, client: IpAddr) -> Self {
        Self { http: self.http.at_address(client), ..self.clone() }
    }

    /// A program with an API token.
    pub fn bearer(server: &Server, token: &str) -> Self {
        Self::nobody(server).with("authorization", &format!("Bearer {token}"))
    }

    /// A browser that has signed in and names its own page with every request.
    pub async fn sign_in(server: &Server, username: &str, password: &str) -> Self {
        let this = Self::nobody(server);
        let answer = this.try_sign_in(username, password).await;
        answer.expect(200);
        this.with_cookie(&session_cookie(&answer))
    }

    /// The first administrator's browser.
    pub async fn admin(server: &Server) -> Self {
        let hello = &server.hello;
        Self::sign_in(server, &hello.admin_user, hello.admin_password.as_deref().unwrap()).await
    }

    pub async fn try_sign_in(&self, username: &str, password: &str) -> Answer {
        self.post("/v1/session", &json!({"username": username, "password": password})).await
    }

    /// A browser of the server's own page with this cookie value.
    pub fn with_cookie(self, value: &str) -> Self {
        let origin = self.http.origin().to_owned();
        self.with("cookie", &format!("{COOKIE}={value}")).with("origin", &origin)
    }

    /// The same with another header, or another value of one.
    pub fn with(self, name: &str, value: &str) -> Self {
        let mut this = self.without(name);
        this.headers.push((name.to_owned(), value.to_owned()));
        this
    }

    /// What this client sends under a header's name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        match body {
            Some(body) => self.send_text(method, path, "application/json", &body.to_string()).await,
            None => self.exchange(method, path, &self.headers, String::new()).await,
        }
    }

    pub async fn send_text(&self, method: &str, path: &str, kind: &str, body: &str) -> Answer {
        let headers = self.clone().with("content-type", kind).headers;
        self.exchange(method, path, &headers, body.to_owned()).await
    }

    async fn exchange(&self, method: &str, path: &str, headers: &[(String, String)], body: String) -> Answer {
        let outcome = self.http.exchange(method, path, headers, body.into_bytes()).await;
        outcome.unwrap_or_else(|e| panic!("{method} {path}: {e:?}"))
    }

    /// A request whose answer is read piece by piece.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, path, &self.headers, Vec::new())
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }

    /// `None` when the server is gone before its answer is complete.
    pub async fn try_post(&self, path: &str, body: Option<&Value>) -> Option<Answer> {
        let headers = self.clone().with("content-type", "application/json").headers;
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.http.exchange("POST", path, &headers, body).await.ok()
    }

    /// A request that says everything by its address.
    pub async fn act(&self, path: &str) -> Answer {
        self.send("POST", path, None).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    /// The items of a list that fits on one page.
    pub async fn items(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.expect(200);
        assert_eq!(list["next_cursor"], Value::Null, "{path}");
        list["items"].as_array().unwrap().clone()
    }
}

/// The value of the session cookie that an answer sets.
#[track_caller]
pub fn session_cookie(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {answer}"));
    let pair = cookie.split(';').next().unwrap();
    pair.strip_prefix(&format!("{COOKIE}=")).unwrap_or_else(|| panic!("{cookie}")).to_owned()
}
