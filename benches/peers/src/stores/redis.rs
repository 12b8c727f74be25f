//! Redis on a unix socket: without a log (fast) or with one synced at each command
//! (durable). The server is started for the bench and ended with it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, Connection};

use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Server, Store};

pub(crate) const PEER: Peer = Peer {
    name: "redis",
    fast: "no log: the end of the server takes everything; a server to run",
    durable: Some("append-only log, appendfsync always"),
    processes: Processes::Many,
    version,
    open,
    serve: Some(serve),
};

/// How long the server has to answer first.
const PATIENCE: Duration = Duration::from_secs(20);

struct Socket(Connection);

fn version() -> Option<String> {
    let output = Command::new("redis-server").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some(version.to_owned())
}

fn socket(place: &Place) -> PathBuf {
    place.file("redis.sock")
}

fn serve(place: &Place, mode: Mode) -> Outcome<Server> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(socket(place));
    command.arg("--dir").arg(&place.directory);
    if mode == Mode::Durable {
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    }
    let server = Server(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
    let begun = Instant::now();
    while let Err(error) = connect(place) {
        if begun.elapsed() > PATIENCE {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}

fn connect(place: &Place) -> Outcome<Connection> {
    let client = Client::open(format!("redis+unix://{}", socket(place).display()))?;
    Ok(client.get_connection()?)
}

fn open(place: &Place, _: Mode) -> Outcome<Box<dyn Store>> {
    Ok(Box::new(Socket(connect(place)?)))
}

impl Store for Socket {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        let found: Option<Vec<u8>> = redis::cmd("GET").arg(id).query(&mut self.0)?;
        let there = found.is_some();
        *value = found.unwrap_or_default();
        Ok(there)
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        Ok(redis::cmd("SET").arg(id).arg(value).query(&mut self.0)?)
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        // The change is made anew when somebody else was faster.
        redis::transaction(&mut self.0, &[id], |connection, pipe| {
            let found: Option<Vec<u8>> = redis::cmd("GET").arg(id).query(connection)?;
            let mut value = found.unwrap_or_default();
            change(&mut value);
            pipe.set(id, value).ignore().query::<Option<()>>(connection)
        })?;
        Ok(())
    }
}
