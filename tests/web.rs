//! The main job, for real: lighttpd starts `examples/visits.rs` afresh for each
//! of 20,000 requests, eight at once, and no visit is lost.
//!
//! Half of all requests go to four of the 64 visitors, so that a session is
//! updated by several processes at the same moment all the time. Each answer
//! carries the count that its process made: over all answers a visitor's counts
//! must be 1, 2, 3, ... with none twice and none left out. Once this runs with
//! a server that may do anything, and once with one that may write the file but
//! not its directory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "web/client.rs"]
mod client;
#[path = "web/place.rs"]
mod place;
#[path = "web/server.rs"]
mod server;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::{Answer, Client};
use cloakroom::{Container, Options};
use place::{Place, User};
use server::Server;

const VISITORS: usize = 64;
const POPULAR: usize = 4;
const CLIENTS: usize = 8;
const REQUESTS: usize = 20_000;
/// How often a request that was refused as busy is sent again.
const TRIES: usize = 10;
const PROGRAM: &str = "/visits.cgi";

#[test]
#[ignore = "needs lighttpd; run by make test"]
fn no_visit_is_lost_behind_a_web_server() {
    campaign(None);
}

#[test]
#[ignore = "needs lighttpd and root; run by make test"]
fn no_visit_is_lost_where_only_the_file_may_be_written() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("\n*** not run: needs root (starts the web server as another user) ***\n");
        return;
    }
    campaign(Some(User::named("nobody")));
}

/// One visitor: the cookie, and every count that answers to it carried.
struct Visitor {
    cookie: String,
    counts: Mutex<Vec<u64>>,
}

fn campaign(user: Option<User>) {
    let place = Place::new(user.as_ref());
    Container::create(&place.container, Options::new()).unwrap();
    if let Some(user) = &user {
        user.gets_only_the_file(&place.container);
    }
    let server = Server::start(&place, user.as_ref());

    let mut client = Client::new(server.address);
    let strangers = strange_cookies_are_not_adopted(&mut client);
    let visitors: Vec<Visitor> = (0..VISITORS).map(|_| introduce(&mut client)).collect();
    words_around_the_cookie_do_not_matter(&mut client, &visitors[0]);

    let busy = AtomicU64::new(0);
    let start = Instant::now();
    let looks = while_watching(&place, || crowd(&server, &visitors, &busy));
    let seconds = start.elapsed().as_secs_f64();
    server.stop();

    every_count_is_exact(&place.container, &visitors, strangers);
    the_tool_finds_nothing(&place.container);
    eprintln!(
        "{REQUESTS} requests by {CLIENTS} clients in {seconds:.1} s, {} refused as busy and sent \
         again; looked at the directory {looks} times",
        busy.into_inner(),
    );
}

/// All clients at once, until all requests are answered.
fn crowd(server: &Server, visitors: &[Visitor], busy: &AtomicU64) {
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS as u64)
            .map(|number| scope.spawn(move || one_client(server, visitors, busy, number)))
            .collect();
        for client in clients {
            client.join().unwrap();
        }
    });
}

fn one_client(server: &Server, visitors: &[Visitor], busy: &AtomicU64, number: u64) {
    let mut client = Client::new(server.address);
    // xorshift: the same order in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (number + 1);
    for request in 0..REQUESTS / CLIENTS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let among = if state >> 63 == 0 { POPULAR } else { VISITORS };
        let visitor = &visitors[(state >> 32) as usize % among];
        let count = visit(&mut client, visitor, request, busy);
        visitor.counts.lock().unwrap().push(count);
    }
}

/// One visit that succeeds, however often it is refused as busy before.
fn visit(client: &mut Client, visitor: &Visitor, page: usize, busy: &AtomicU64) -> u64 {
    for _ in 0..TRIES {
        let path = format!("{PROGRAM}/page/{page}");
        let answer = client.get(&path, Some(&format!("visitor={}", visitor.cookie))).unwrap();
        match answer.status {
            200 => {
                assert_eq!(answer.set_cookie, None, "a known visitor was taken for a new one");
                return count_in(&answer);
            }
            503 => busy.fetch_add(1, Ordering::Relaxed),
            _ => panic!("{answer:?}"),
        };
    }
    panic!("refused as busy {TRIES} times in a row");
}

fn introduce(client: &mut Client) -> Visitor {
    let answer = client.get(PROGRAM, None).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.cache_control.as_deref(), Some("no-store"));
    let counts = Mutex::new(vec![count_in(&answer)]);
    Visitor { cookie: new_cookie(&answer), counts }
}

/// Sends what no visitor of ours would send. Returns how many sessions came of it.
fn strange_cookies_are_not_adopted(client: &mut Client) -> u64 {
    let made_up = "0123456789abcdef0123456789abcdef";
    let cookies = [
        format!("visitor={made_up}"),
        format!("visitor={made_up}; visitor={made_up}"),
        format!("visitor=\"{made_up}\""),
        format!("visitor={}", made_up.to_uppercase()),
        "visitor=../../etc/passwd".to_owned(),
        "visitor=".to_owned(),
        "visitor".to_owned(),
        ";;==;".to_owned(),
        "x".repeat(4000),
    ];
    for cookie in &cookies {
        let answer = client.get(PROGRAM, Some(cookie)).unwrap();
        assert_eq!(count_in(&answer), 1, "{cookie}: {answer:?}");
        assert_ne!(new_cookie(&answer), made_up);
    }
    cookies.len() as u64
}

fn words_around_the_cookie_do_not_matter(client: &mut Client, visitor: &Visitor) {
    let cookies = format!("theme=dark; visitor={}; xvisitor=1", visitor.cookie);
    let answer = client.get(PROGRAM, Some(&cookies)).unwrap();
    assert_eq!(answer.set_cookie, None);
    visitor.counts.lock().unwrap().push(count_in(&answer));
}

fn new_cookie(answer: &Answer) -> String {
    let cookie = answer.set_cookie.as_deref().expect("a new visitor gets a cookie");
    let (value, attributes) = cookie.split_once(';').expect("a cookie with attributes");
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
    value.strip_prefix("visitor=").expect("the cookie is named visitor").to_owned()
}

fn count_in(answer: &Answer) -> u64 {
    let line = answer.body.lines().next().and_then(|line| line.strip_prefix("visits: "));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count: {answer:?}"))
}

/// Looks at the container's directory again and again while `work` is done, and
/// fails if it ever holds anything else. Returns how often it looked.
fn while_watching(place: &Place, work: impl FnOnce()) -> u64 {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(Ordering::Relaxed) {
                place.holds_nothing_but_the_container();
                looks += 1;
                thread::sleep(Duration::from_millis(1));
            }
            looks
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // Before anything that panics: the scope waits for the watcher.
        done.store(true, Ordering::Relaxed);
        let looks = watcher.join().unwrap();
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        place.holds_nothing_but_the_container();
        looks
    })
}

fn every_count_is_exact(file: &Path, visitors: &[Visitor], strangers: u64) {
    let container = Container::open_read_only(file, Options::new()).unwrap();
    let mut answered = 0;
    for visitor in visitors {
        let mut counts = visitor.counts.lock().unwrap().clone();
        counts.sort_unstable();
        let visits = counts.len() as u64;
        assert_eq!(counts, (1..=visits).collect::<Vec<_>>(), "two visits counted as one");

        let session = container.load::<serde_json::Value>(&visitor.cookie).unwrap();
        let kept = session.expect("the session is there").value;
        assert_eq!(kept["count"], visits);
        assert_eq!(kept["pages"].as_array().unwrap().len() as u64, visits.min(5));
        answered += visits;
    }
    assert!(answered >= REQUESTS as u64 + VISITORS as u64);
    assert_eq!(container.len().unwrap(), visitors.len() as u64 + strangers);
}

fn the_tool_finds_nothing(file: &Path) {
    let container = Container::open_read_only(file, Options::new()).unwrap();
    let report = container.check().unwrap();
    assert!(report.is_sound() && report.notes.is_empty(), "{report:?}");

    match option_env!("CARGO_BIN_EXE_cloakroom") {
        Some(tool) => {
            let output = Command::new(tool).arg("check").arg(file).output().unwrap();
            assert!(output.status.success(), "cloakroom check: {output:?}");
        }
        None => eprintln!("*** `cloakroom check` not run: built without the feature cli ***"),
    }
}
