//! A real lighttpd on a free loopback port, ended by its own process id. When a
//! test fails, what the server logged is shown.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, User};

const PATIENCE: Duration = Duration::from_secs(10);
const PORTS: usize = 5;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Child,
    logs: [PathBuf; 2],
}

impl Server {
    pub(crate) fn start(place: &Place, user: Option<&User>) -> Server {
        // A port that was free a moment ago may be somebody else's by now.
        for _ in 0..PORTS {
            let mut server = Server::launch(place, user);
            if server.answers() {
                let user = user.map_or_else(|| rustix::process::geteuid().as_raw(), |u| u.uid);
                assert_eq!(server.runs_as(), user, "the server runs as somebody else");
                return server;
            }
            eprintln!("{}", server.logged());
        }
        panic!("lighttpd does not start");
    }

    fn launch(place: &Place, user: Option<&User>) -> Server {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        let config = place.path("lighttpd.conf");
        fs::write(&config, configuration(place, user, address.port())).unwrap();
        let logs = [place.path("log/start.log"), place.path("log/error.log")];
        let start_log = fs::File::create(&logs[0]).unwrap();
        drop(free);
        let process = Command::new(lighttpd())
            .arg("-D")
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(start_log.try_clone().unwrap())
            .stderr(start_log)
            .spawn()
            .unwrap();
        Server { address, process, logs }
    }

    /// True once it takes connections; false if it ended.
    fn answers(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn runs_as(&self) -> u32 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn logged(&self) -> String {
        let logs = self.logs.iter().filter_map(|log| fs::read_to_string(log).ok());
        logs.collect::<Vec<_>>().join("\n")
    }

    /// Ends the server, as `drop` does.
    pub(crate) fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < PATIENCE && matches!(self.process.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("what lighttpd logged:\n{}", self.logged());
        }
    }
}

fn configuration(place: &Place, user: Option<&User>, port: u16) -> String {
    let path = |name| place.path(name).to_str().unwrap().to_owned();
    let user = match user {
        Some(user) => format!("server.username = \"{}\"\n", user.name),
        None => String::new(),
    };
    format!(
        "server.port = {port}\n\
         server.bind = \"127.0.0.1\"\n\
         server.document-root = \"{www}\"\n\
         server.errorlog = \"{log}\"\n\
         server.breakagelog = \"{log}\"\n\
         server.max-keep-alive-requests = 1000\n\
         server.modules = (\"mod_setenv\", \"mod_cgi\")\n\
         setenv.set-environment = (\"CLOAKROOM_FILE\" => \"{file}\")\n\
         cgi.assign = (\".cgi\" => \"\")\n\
         {user}",
        www = path("www"),
        log = path("log/error.log"),
        file = place.container.to_str().unwrap(),
    )
}

/// Debian keeps servers where a plain user's PATH does not look.
fn lighttpd() -> &'static str {
    let places = ["/usr/sbin/lighttpd", "/usr/local/sbin/lighttpd", "/usr/bin/lighttpd"];
    let found = places.into_iter().find(|place| fs::exists(place).unwrap_or(false));
    found.expect("lighttpd is installed (`make setup` does it)")
}
