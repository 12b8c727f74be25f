//! The manager whose sessions are in a container: this project's own file.
//!
//! It adds nothing to what [`Container`] does but the names of its options.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::super::{Capabilities, Capability, SessionGuard, SessionManager, Settings, Walked};
use crate::json;
use crate::{
    Change, Container, DamageKind, Durability, Error, ErrorKind, IdForm, NotAContainer, Options,
    Outcome, Properties, Result, Rotated, Session, SweepPolicy, Swept, Updated, Version,
};

/// Keeps sessions in a [`Container`].
///
/// Options of `"sessionDriver": "container"` (or `whio_ht`, `whio_epfs`):
///
/// | option | value |
/// |---|---|
/// | `file` | its name; needed |
/// | `create` | whether a file that is missing or blank is made into one; `true` |
/// | `durability` | `"durable"`, `"interval"` or `"never"`, see [`Durability`]; `"interval"` |
/// | `intervalMs` | of `"interval"`; 1000 |
/// | `ids` | `"sha256"` or `"plain"`; else what the file has, `"sha256"` for a new one |
/// | `idleMinutes`, `absoluteMinutes` | the ends of sessions; none, or the cookie's lifetime |
/// | `touchPercent` | share of the idle time below which a touch is written; 80 |
/// | `maxBytes` | longest value; 4 MiB |
/// | `lockDeadlineMs` | longest wait for another writer; 5000 |
/// | `sweep` | `"changes"`: each change removes some who have expired; `"request"` |
///
/// ```
/// use cloakroom::session::{ContainerManager, SessionManager};
/// use cloakroom::{Container, Options};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// let manager = ContainerManager::new(Container::create(path, Options::new())?);
/// manager.save("ticket-17", &serde_json::json!(["a coat"]), None)?;
/// assert_eq!(manager.len()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ContainerManager {
    container: Container,
}

impl ContainerManager {
    /// A manager of this container's sessions.
    pub fn new(container: Container) -> ContainerManager {
        ContainerManager { container }
    }
}

pub(super) fn open(mut settings: Settings<'_>) -> Result<Box<dyn SessionManager>> {
    let file = settings.required_text("file")?;
    let create = settings.switch("create")?.unwrap_or(true);
    let options = options(&mut settings)?;
    settings.finish()?;
    let container = open_or_create(Path::new(file), create, options)?;
    Ok(Box::new(ContainerManager { container }))
}

fn options(settings: &mut Settings<'_>) -> Result<Options> {
    let ms = |ms: u64| Duration::from_millis(ms);
    let day_ms = 24 * 60 * 60 * 1000;
    let interval = settings.number("intervalMs", 0..=day_ms)?.map_or(Duration::from_secs(1), ms);
    let durabilities = [
        ("durable", Durability::Durable),
        ("interval", Durability::Interval(interval)),
        ("never", Durability::Never),
    ];
    let mut options = Options::new().timeouts(settings.timeouts()?);
    if let Some(durability) = settings.choice("durability", &durabilities)? {
        options = options.durability(durability);
    } else {
        options = options.durability(Durability::Interval(interval));
    }
    let forms = [("sha256", IdForm::Sha256), ("plain", IdForm::Plain)];
    if let Some(form) = settings.choice("ids", &forms)? {
        options = options.ids(form);
    }
    if let Some(percent) = settings.number("touchPercent", 0..=100)? {
        options = options.touch_percent(percent as u8);
    }
    if let Some(bytes) = settings.number("maxBytes", 1..=4 << 20)? {
        options = options.value_len_max(bytes as usize);
    }
    if let Some(deadline) = settings.number("lockDeadlineMs", 0..=day_ms)? {
        options = options.lock_deadline(ms(deadline));
    }
    let policies = [("changes", SweepPolicy::WithChanges), ("request", SweepPolicy::OnRequest)];
    if let Some(policy) = settings.choice("sweep", &policies)? {
        options = options.sweep(policy);
    }
    Ok(options)
}

/// Many processes may be at it at once: who loses the race to make the file opens it.
fn open_or_create(path: &Path, create: bool, options: Options) -> Result<Container> {
    match open_settled(path, options.clone()) {
        Err(error) if create && is_to_be_made(&error) => {}
        opened => return opened,
    }
    match Container::create(path, options.clone()) {
        Err(error) if matches!(error.kind(), ErrorKind::Exists) => Container::open(path, options),
        made => made,
    }
}

/// A look at a file that somebody is just making may fall between two of the maker's steps, and
/// find no header, half of one or the length from before it. A second look sees what was made.
fn open_settled(path: &Path, options: Options) -> Result<Container> {
    match Container::open(path, options.clone()) {
        Err(error) if is_perhaps_made(&error) => Container::open(path, options),
        opened => opened,
    }
}

fn is_perhaps_made(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::NotAContainer(why) => {
            matches!(why, NotAContainer::NoHeader | NotAContainer::CutShort)
        }
        ErrorKind::Damaged(damage) => damage.kind == DamageKind::Headers,
        _ => false,
    }
}

/// Whether there is nothing yet, or what somebody is just making.
fn is_to_be_made(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        ErrorKind::NotAContainer(why) => {
            matches!(why, NotAContainer::Empty | NotAContainer::Unfinished)
        }
        _ => false,
    }
}

impl SessionManager for ContainerManager {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of(&Capability::ALL)
    }

    fn load(&self, id: &str) -> Result<Option<Session<Value>>> {
        self.container.load(id)
    }

    fn save(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Version> {
        match properties {
            Some(properties) => self.container.save_with(id, value, properties),
            None => self.container.save(id, value),
        }
    }

    fn create(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Outcome> {
        match properties {
            Some(properties) => self.container.create_session_with(id, value, properties),
            None => self.container.create_session(id, value),
        }
    }

    fn replace(&self, id: &str, value: &Value) -> Result<Outcome> {
        self.container.replace(id, value)
    }

    fn save_if(&self, id: &str, version: Version, value: &Value) -> Result<Outcome> {
        self.container.save_if(id, version, value)
    }

    fn update(
        &self,
        id: &str,
        change: &mut dyn FnMut(Option<Session<Value>>) -> Change<Value>,
    ) -> Result<Updated> {
        self.container.update(id, change)
    }

    fn remove(&self, id: &str) -> Result<bool> {
        self.container.remove(id)
    }

    fn touch(&self, id: &str) -> Result<bool> {
        self.container.touch(id)
    }

    fn guard(&self, id: &str, patience: Duration) -> Result<SessionGuard> {
        Ok(SessionGuard::new(Box::new(self.container.guard(id, patience)?)))
    }

    fn rotate(&self, old_id: &str, new_id: &str, grace: Duration) -> Result<Outcome> {
        self.container.rotate(old_id, new_id, grace)
    }

    fn rotated(&self, id: &str) -> Result<Option<Rotated>> {
        self.container.rotated(id)
    }

    fn sweep(
        &self,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        let mut failed = None;
        let swept = self.container.bytes().sweep_with(limit, |kept_id, session| {
            match text_of(kept_id).and_then(|kept_id| Ok((kept_id, json::value_of(session.value)?)))
            {
                Ok((kept_id, value)) => on_expired(kept_id, session.map(|_| value)),
                Err(error) => {
                    // It stays, so that nothing goes that nobody has seen.
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(swept), Err)
    }

    fn walk(&self, visit: &mut dyn FnMut(Walked) -> ControlFlow<()>) -> Result<()> {
        for item in self.container.iter() {
            let walked =
                item.and_then(|(kept_id, session)| Ok((text_of(&kept_id)?.to_owned(), session)));
            if visit(walked).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn restore(&self, kept_id: &str, session: &Session<Value>) -> Result<()> {
        let Session { value, times, properties, .. } = session;
        let (kept_id, text) = (kept_id.as_bytes(), json::text_of(value)?);
        self.container.bytes().restore_kept(kept_id, text.as_bytes(), *times, properties)?;
        Ok(())
    }

    fn kept_id(&self, id: &str) -> Result<String> {
        Ok(text_of(&self.container.bytes().kept_id(id)?)?.to_owned())
    }

    fn id_form(&self) -> IdForm {
        self.container.bytes().id_form()
    }

    fn load_kept(&self, kept_id: &str) -> Result<Option<Session<Value>>> {
        let Some(session) = self.container.bytes().load_kept(kept_id.as_bytes())? else {
            return Ok(None);
        };
        let value = json::value_of(&session.value)?;
        Ok(Some(session.map(|_| value)))
    }

    fn misses(&self) -> u64 {
        self.container.misses()
    }

    fn len(&self) -> Result<u64> {
        self.container.len()
    }

    fn sync(&self) -> Result<()> {
        self.container.sync()
    }

    fn close(self: Box<Self>) -> Result<()> {
        // A handle that promises nothing syncs nothing.
        Ok(())
    }
}

/// Who saved bytes through another face of the container may have chosen an id that is no
/// text.
fn text_of(kept_id: &[u8]) -> Result<&str> {
    std::str::from_utf8(kept_id).map_err(|_| ErrorKind::InvalidId { len: kept_id.len() }.into())
}
