//! An HTTP/1.1 client, just enough for the tests: GET, one connection kept
//! alive, everything bounded in time.
//!
//! A request that was sent is never sent again by itself: its visit may have
//! counted, and the tests count to the last one. What fails then is an error.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
const CONNECT_TRIES: usize = 50;
const LONGEST_BODY: usize = 1 << 20;

/// What the tests look at in a response.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) set_cookie: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) body: String,
}

pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Client {
        Client { address, stream: None }
    }

    pub(crate) fn get(&mut self, path: &str, cookie: Option<&str>) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let cookie = cookie.map(|cookie| format!("Cookie: {cookie}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{cookie}\r\n", self.address);
        stream.get_mut().write_all(request.as_bytes())?;
        let (answer, close) = read_answer(&mut stream)?;
        if !close {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    /// Connects, trying again for a while: nothing was sent yet.
    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let mut tries = 1;
        let stream = loop {
            match TcpStream::connect_timeout(&self.address, PATIENCE) {
                Ok(stream) => break stream,
                Err(error) if tries == CONNECT_TRIES => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
            tries += 1;
        };
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }
}

/// Returns the answer and whether the server closes the connection after it.
fn read_answer(stream: &mut BufReader<TcpStream>) -> io::Result<(Answer, bool)> {
    let mut answer = Answer::default();
    let status = read_line(stream)?;
    answer.status = status
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| unexpected(&status))?;
    let mut length = None;
    let mut close = false;
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| unexpected(&line))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok().filter(|len| *len <= LONGEST_BODY),
            "connection" => close = value.eq_ignore_ascii_case("close"),
            "set-cookie" => answer.set_cookie = Some(value.to_owned()),
            "cache-control" => answer.cache_control = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length.ok_or_else(|| unexpected("no content length"))?];
    stream.read_exact(&mut body)?;
    answer.body = String::from_utf8(body).map_err(|_| unexpected("a body that is not UTF-8"))?;
    Ok((answer, close))
}

fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.take(16 << 10).read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").ok_or_else(|| unexpected("the connection ended"))?;
    Ok(line.to_owned())
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unexpected answer: {what}"))
}
