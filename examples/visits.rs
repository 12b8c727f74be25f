//! A CGI program that counts a visitor's visits and remembers the last pages
//! seen: a new process for every request, and one file for all of them.
//!
//! What is kept is found by a cookie. Ids are made here, of 128 random bits; one
//! that a visitor brings along is used only if it is in the container already,
//! so nobody can make others use an id that he knows.
//!
//!     cloakroom create visits.cloakroom
//!     CLOAKROOM_FILE=visits.cloakroom PATH_INFO=/home target/debug/examples/visits
//!
//! The web server's user must be able to write the file, not its directory.

use std::collections::VecDeque;
use std::env;
use std::io::{self, Write};

use cloakroom::{Change, Container, ErrorKind, Options, Outcome, Session};
use serde::{Deserialize, Serialize};

const COOKIE: &str = "visitor";
const ID_DIGITS: usize = 32;
const PAGES: usize = 5;
const PAGE_CHARS: usize = 120;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Visits {
    count: u64,
    pages: VecDeque<String>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl Visits {
    fn see(mut self, page: &str) -> Visits {
        self.count += 1;
        self.pages.push_front(page.to_owned());
        self.pages.truncate(PAGES);
        self
    }
}

fn main() -> io::Result<()> {
    let answer = visit().unwrap_or_else(|error| {
        // For the web server's log; what a visitor gets names no file.
        eprintln!("visits: {error}");
        match error.downcast_ref().map(cloakroom::Error::kind) {
            Some(ErrorKind::Busy { .. }) => {
                let later = "Retry-After: 1\r\n";
                respond("503 Service Unavailable", later, "busy, try again\n")
            }
            _ => respond("500 Internal Server Error", "", "this went wrong\n"),
        }
    });
    io::stdout().write_all(answer.as_bytes())
}

fn visit() -> Result<String> {
    let file = env::var_os("CLOAKROOM_FILE").ok_or("CLOAKROOM_FILE is not set")?;
    let container = Container::open(file, Options::new())?;
    let page: String = variable("PATH_INFO").chars().take(PAGE_CHARS).collect();
    let known = match visitor(&variable("HTTP_COOKIE")) {
        Some(id) => count(&container, id, &page)?,
        None => None,
    };
    let (visits, set_cookie) = match known {
        Some(visits) => (visits, String::new()),
        None => welcome(&container, &page)?,
    };
    let mut body = format!("visits: {}\nlast pages:\n", visits.count);
    for page in &visits.pages {
        body.push_str(&format!("  {page}\n"));
    }
    Ok(respond("200 OK", &set_cookie, &body))
}

/// Counts a visit of a session that exists. Everything between reading it and
/// saving it happens under the container's lock, so no other request is lost.
fn count(container: &Container, id: &str, page: &str) -> Result<Option<Visits>> {
    let mut counted = None;
    container.update(id, |session: Option<Session<Visits>>| {
        counted = session.map(|session| session.value.see(page));
        counted.clone().map_or(Change::Keep, Change::Save)
    })?;
    Ok(counted)
}

/// Makes a session of a new visitor, and the header that tells him its id. A
/// site that is reached by HTTPS adds `; Secure`.
fn welcome(container: &Container, page: &str) -> Result<(Visits, String)> {
    let mut random = [0; ID_DIGITS / 2];
    getrandom::fill(&mut random)?;
    let id = format!("{:0ID_DIGITS$x}", u128::from_le_bytes(random));
    let visits = Visits::default().see(page);
    let Outcome::Saved(_) = container.create_session(&id, &visits)? else {
        return Err("the random id is taken".into());
    };
    let cookie = format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Lax");
    Ok((visits, format!("Set-Cookie: {cookie}\r\n")))
}

/// The visitor's id, if there is exactly one cookie of our name and it looks as
/// ours do.
fn visitor(cookies: &str) -> Option<&str> {
    let pairs = cookies.split(';').filter_map(|pair| pair.split_once('='));
    let mut ours = pairs.filter(|(name, _)| name.trim_matches(' ') == COOKIE);
    let (_, id) = ours.next().filter(|_| ours.next().is_none())?;
    let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == ID_DIGITS && id.bytes().all(digit)).then_some(id)
}

fn respond(status: &str, headers: &str, body: &str) -> String {
    format!(
        "Status: {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// A variable of the request, fit to be shown: no line ends and the like.
fn variable(name: &str) -> String {
    let value = env::var_os(name).unwrap_or_default();
    let value = value.to_string_lossy();
    value.replace(char::is_control, "?")
}
