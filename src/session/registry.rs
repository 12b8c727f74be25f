//! Managers by name: which driver stores an application's sessions is said by a JSON
//! configuration, in the form that cson's CGI layer published.
//!
//! The whole configuration is read, and refused if anything in it is not understood, before
//! a manager is opened. No password or other value of it gets into an error.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use super::managers;
use super::{SessionManager, Settings};
use crate::{Error, ErrorKind, Result};

/// Longest name of a driver, in bytes.
const NAME_LEN_MAX: usize = 31;
const COOKIE_NAME: &str = "CSONSESSID";
/// What a session's configuration may have.
const SESSION_KEYS: [&str; 4] = ["manager", "managers", "cookieName", "cookieLifetimeMinutes"];
/// Some 1900 years.
const COOKIE_MINUTES_MAX: u64 = 1_000_000_000;

type Factory = dyn Fn(Settings<'_>) -> Result<Box<dyn SessionManager>> + Send + Sync;

/// The drivers that a configuration may name.
///
/// ```
/// use cloakroom::session::Registry;
///
/// let mut registry = Registry::new();
/// assert!(registry.names().any(|name| name == "container"));
/// // One more: `register(name, factory)`. A name is taken once.
/// let taken = registry.register("container", |settings| {
///     settings.finish()?;
///     Err(cloakroom::ErrorKind::Unsupported { what: "sessions" }.into())
/// });
/// assert!(taken.is_err());
/// # Ok::<(), cloakroom::Error>(())
/// ```
pub struct Registry {
    factories: BTreeMap<String, Box<Factory>>,
}

/// What a configuration came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The manager that it chose.
    pub manager: Box<dyn SessionManager>,
    /// What it says of the cookie that carries a session's id.
    pub cookie: Cookie,
}

/// The cookie that a configuration asks for. Nothing here sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cookie {
    /// Its name: `cookieName`, or `CSONSESSID`.
    pub name: String,
    /// How long a browser shall keep it; `None`: until it is closed.
    pub lifetime: Option<Duration>,
}

/// Opens what a configuration names, of the drivers that come along:
/// [`Registry::new`] and [`Registry::open`].
///
/// # Errors
/// As [`Registry::open`].
///
/// ```
/// let nothing = serde_json::json!({ "session": { "manager": "none", "managers": {} } });
/// let error = cloakroom::session::open(&nothing).unwrap_err();
/// assert!(error.to_string().contains("no manager \"none\""));
/// ```
pub fn open(configuration: &Value) -> Result<Opened> {
    Registry::new().open(configuration)
}

impl Default for Registry {
    fn default() -> Registry {
        Registry::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}

impl Registry {
    /// The drivers that come along.
    pub fn new() -> Registry {
        let mut registry = Registry { factories: BTreeMap::new() };
        for (names, factory) in managers::DRIVERS {
            for name in *names {
                registry.factories.insert((*name).to_owned(), Box::new(factory));
            }
        }
        registry
    }

    /// One driver more. `factory` reads its options, calls [`Settings::finish`], and opens.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the name is taken, empty or longer than 31 bytes.
    pub fn register(
        &mut self,
        name: &str,
        factory: impl Fn(Settings<'_>) -> Result<Box<dyn SessionManager>> + Send + Sync + 'static,
    ) -> Result<()> {
        if !(1..=NAME_LEN_MAX).contains(&name.len()) {
            return Err(refused(format!("a driver's name has 1 to {NAME_LEN_MAX} bytes")));
        }
        if self.factories.contains_key(name) {
            return Err(refused(format!("there is a driver {name:?} already")));
        }
        self.factories.insert(name.to_owned(), Box::new(factory));
        Ok(())
    }

    /// The names of all drivers, in the order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// Opens the manager that a configuration chooses: an object whose member `session` has
    /// `manager`, a name among its `managers`. Each of these names its `sessionDriver` (or
    /// has that for a name), and has the options of that driver. `cookieName` and
    /// `cookieLifetimeMinutes` are about the cookie; the latter is the idle time of sessions
    /// where the manager names none. Whatever else is beside `session` is the application's.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for what is not understood; then nothing was opened. Else
    /// what opening came to.
    pub fn open(&self, configuration: &Value) -> Result<Opened> {
        let session = member(configuration, "session", "the configuration")?;
        if let Some(unknown) = session.keys().find(|key| !SESSION_KEYS.contains(&key.as_str())) {
            let known = SESSION_KEYS.join(", ");
            return Err(refused(format!("\"session\" has no member {unknown:?}; it has {known}")));
        }
        let cookie = cookie(session)?;
        let managers = match session.get("managers") {
            Some(Value::Object(managers)) => managers,
            _ => return Err(refused("\"session\" needs \"managers\", an object".to_owned())),
        };
        let Some(Value::String(name)) = session.get("manager") else {
            return Err(refused("\"session\" needs \"manager\", a name".to_owned()));
        };
        let Some(options) = managers.get(name) else {
            let names = managers.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(refused(format!(
                "there is no manager {name:?} among \"managers\": {names}"
            )));
        };
        let Value::Object(options) = options else {
            return Err(refused(format!("manager {name:?} has to be an object")));
        };
        let driver = match options.get("sessionDriver") {
            None | Some(Value::Null) => name,
            Some(Value::String(driver)) => driver,
            Some(_) => {
                return Err(refused(format!(
                    "manager {name:?}: \"sessionDriver\" has to be a name"
                )));
            }
        };
        let Some(factory) = self.factories.get(driver) else {
            let names = self.names().collect::<Vec<_>>().join(", ");
            return Err(refused(format!(
                "manager {name:?}: this build has no driver {driver:?}; it has {names}"
            )));
        };
        let manager = factory(Settings::new(name, options).with_idle(cookie.lifetime))?;
        Ok(Opened { manager, cookie })
    }
}

fn cookie(session: &Map<String, Value>) -> Result<Cookie> {
    let mut settings = Settings::new("session", session);
    let name = settings.text("cookieName")?.unwrap_or(COOKIE_NAME).to_owned();
    let minutes = settings.number("cookieLifetimeMinutes", 0..=COOKIE_MINUTES_MAX)?;
    let lifetime = minutes.filter(|minutes| *minutes != 0);
    Ok(Cookie { name, lifetime: lifetime.map(|minutes| Duration::from_secs(minutes * 60)) })
}

fn member<'a>(value: &'a Value, name: &str, of: &str) -> Result<&'a Map<String, Value>> {
    match value.get(name) {
        Some(Value::Object(member)) => Ok(member),
        _ => Err(refused(format!("{of} needs \"{name}\", an object"))),
    }
}

fn refused(message: String) -> Error {
    ErrorKind::Configuration(message).into()
}
