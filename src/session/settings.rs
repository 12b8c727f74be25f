//! The options of one manager, as a JSON configuration has them.
//!
//! Whoever makes a manager asks for each option that there is, and then calls
//! [`Settings::finish`], before anything is opened: an option that nobody asked for is an
//! error that lists those that there are. An error names an option, never its value, which
//! may be a password.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result, Timeouts};

/// A minute in milliseconds, and the longest time in minutes: some 1900 years.
const MINUTE_MS: u64 = 60_000;
const MINUTES_MAX: u64 = 1_000_000_000;

/// Options of a manager. One that is `null` counts as not given.
///
/// ```
/// use cloakroom::session::Settings;
///
/// let options = serde_json::json!({ "dir": "SESSIONS", "suffix": ".json", "perfix": "s-" });
/// let mut settings = Settings::new("mine", options.as_object().unwrap());
/// assert_eq!(settings.text("dir")?, Some("SESSIONS"));
/// let _ = (settings.text("prefix")?, settings.text("suffix")?);
/// let error = settings.finish().unwrap_err().to_string();
/// assert!(error.contains("no option \"perfix\"") && error.contains("dir, prefix, suffix"));
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Debug)]
pub struct Settings<'a> {
    manager: &'a str,
    options: &'a Map<String, Value>,
    /// Those that were asked for.
    known: Vec<&'static str>,
    /// Idle time where no option names one.
    idle: Option<Duration>,
}

impl<'a> Settings<'a> {
    /// The options of the manager with this name.
    pub fn new(manager: &'a str, options: &'a Map<String, Value>) -> Settings<'a> {
        // The registry has used it already.
        Settings { manager, options, known: vec!["sessionDriver"], idle: None }
    }

    /// For sessions whose cookie lives as long.
    pub(super) fn with_idle(self, idle: Option<Duration>) -> Settings<'a> {
        Settings { idle, ..self }
    }

    /// The manager's name, for errors that come later.
    #[cfg(feature = "sqlite")]
    pub(super) fn manager(&self) -> &'a str {
        self.manager
    }

    fn option(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.options.get(name).filter(|value| !value.is_null())
    }

    /// A text.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if it is something else.
    pub fn text(&mut self, name: &'static str) -> Result<Option<&'a str>> {
        match self.option(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "has to be a text")),
        }
    }

    /// A text that has to be there and must not be empty.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if it is not.
    pub fn required_text(&mut self, name: &'static str) -> Result<&'a str> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(self.wrong(name, "is needed, as a text that is not empty")),
        }
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if it is something else.
    ///
    /// ```
    /// # use cloakroom::session::Settings;
    /// let options = serde_json::json!({ "level": 12 });
    /// let mut settings = Settings::new("mine", options.as_object().unwrap());
    /// assert_eq!(settings.number("level", 0..=20).unwrap(), Some(12));
    /// assert!(settings.number("level", 0..=10).is_err());
    /// ```
    pub fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>> {
        let Some(value) = self.option(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = range.into_inner();
                Err(self.wrong(name, &format!("has to be a whole number from {least} to {most}")))
            }
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if it is something else.
    pub fn switch(&mut self, name: &'static str) -> Result<Option<bool>> {
        match self.option(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(*on)),
            Some(_) => Err(self.wrong(name, "has to be true or false")),
        }
    }

    /// One of some words.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if it is something else.
    ///
    /// ```
    /// # use cloakroom::session::Settings;
    /// let options = serde_json::json!({ "colour": "blue" });
    /// let mut settings = Settings::new("mine", options.as_object().unwrap());
    /// let colours = [("red", 1), ("blue", 2)];
    /// assert_eq!(settings.choice("colour", &colours).unwrap(), Some(2));
    /// assert!(settings.choice("colour", &[("red", 1)]).is_err());
    /// ```
    pub fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>> {
        let Some(value) = self.option(name) else { return Ok(None) };
        match choices.iter().find(|(word, _)| value.as_str() == Some(word)) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let words: Vec<String> =
                    choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                Err(self.wrong(name, &format!("has to be one of {}", words.join(", "))))
            }
        }
    }

    /// When sessions end: `idleMinutes`, or else the lifetime of the cookie, and
    /// `absoluteMinutes`. 0 is no end.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if one is no number.
    pub fn timeouts(&mut self) -> Result<Timeouts> {
        let minutes = |minutes: u64| Duration::from_millis(minutes * MINUTE_MS);
        let idle = self.number("idleMinutes", 0..=MINUTES_MAX)?.map(minutes).or(self.idle);
        let absolute = self.number("absoluteMinutes", 0..=MINUTES_MAX)?.map(minutes);
        let mut timeouts = Timeouts::NONE;
        if let Some(idle) = idle.filter(|idle| !idle.is_zero()) {
            timeouts = timeouts.idle(idle);
        }
        if let Some(absolute) = absolute.filter(|absolute| !absolute.is_zero()) {
            timeouts = timeouts.absolute(absolute);
        }
        Ok(timeouts)
    }

    /// The error of an option: `what` it has to be.
    pub fn wrong(&self, name: &str, what: &str) -> Error {
        ErrorKind::Configuration(format!("manager \"{}\": option \"{name}\" {what}", self.manager))
            .into()
    }

    /// Says that these are all options that there are.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if another was given.
    pub fn finish(mut self) -> Result<()> {
        let Some(unknown) = self.options.keys().find(|name| !self.known.contains(&name.as_str()))
        else {
            return Ok(());
        };
        self.known.sort_unstable();
        self.known.dedup();
        let known = self.known.iter().filter(|name| **name != "sessionDriver").copied();
        let known = known.collect::<Vec<_>>().join(", ");
        Err(ErrorKind::Configuration(format!(
            "manager \"{}\": there is no option {:?}; there are {known}",
            self.manager, unknown
        ))
        .into())
    }
}
