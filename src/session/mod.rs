//! Sessions without a word about what stores them: an application holds a
//! [`SessionManager`], and a JSON configuration says by name which one that is.
//!
//! The idea is that of cson's session managers: load, save, remove and an end, behind
//! one pointer. What came to be expected since is here too: conditions, an update that
//! loses nothing, timeouts, guards, a sweep. Every manager means the same by each of
//! these; what one cannot do at all its [`Capability`] set says, and nothing is pretended.
//! [`Registry`] opens them by name; `testing` (a feature) tells whether one keeps its word.
//!
//! Nothing here sets a cookie or speaks to a browser.

mod capability;
mod life;
mod managers;
mod registry;
mod settings;

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::Value;

use crate::{
    Change, Error, ErrorKind, IdForm, Outcome, Properties, Result, Rotated, Session, Swept,
    Updated, Version,
};

pub use capability::{Capabilities, Capability};
pub use managers::container::ContainerManager;
pub use managers::directory::DirectoryManager;
pub use managers::memory::MemoryManager;
#[cfg(feature = "sqlite")]
pub use managers::sqlite::SqliteManager;
pub use registry::{Cookie, Opened, Registry, open};
pub use settings::Settings;

/// What a walk shows: the id as it is kept, and the session.
pub type Walked = Result<(String, Session<Value>)>;

/// Keeps an application's sessions, wherever that is.
///
/// An id is any text of 1 to 255 bytes, a value is JSON of at most 4 MiB (or fewer, where
/// the manager was told so) and at most 127 levels; other ids and values are refused before
/// any storage is touched. All operations may come from several threads at once, and, where
/// the manager has [`Capability::Processes`], from several processes. No load gives a session
/// that is past its deadline, to the millisecond, whether it was swept or not.
///
/// # Errors
///
/// Every operation may fail with what [`ErrorKind`] says of the storage: `Io`, `Full`,
/// `Busy`, `Damaged`, `ReadOnly`; those that take an id with `InvalidId`, those that take a
/// value with `TooLarge` and `NotJson`. What a manager cannot do is `Unsupported`.
///
/// ```
/// use cloakroom::Outcome;
/// use cloakroom::session::{self, SessionManager};
/// use serde_json::json;
///
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("sessions.room");
/// let configuration = json!({ "session": {
///     "manager": "here",
///     "managers": { "here": { "sessionDriver": "container", "file": file } },
/// } });
/// let sessions = session::open(&configuration)?.manager;
/// let made = sessions.create("ticket-17", &json!({ "coats": 1 }), None)?;
/// assert!(matches!(made, Outcome::Saved(_)));
/// let session = sessions.load("ticket-17")?.expect("it was just made");
/// assert_eq!(session.value["coats"], 1);
/// sessions.remove("ticket-17")?;
/// assert_eq!(sessions.replace("ticket-17", &json!({ "coats": 2 }))?, Outcome::Conflict);
/// sessions.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SessionManager: Send + Sync + fmt::Debug {
    /// What this manager can do beyond the operations that every one has.
    fn capabilities(&self) -> Capabilities;

    /// The session of this id, if there is one and its deadline has not passed.
    fn load(&self, id: &str) -> Result<Option<Session<Value>>>;

    /// Saves a session, whether there is one of this id or not. One that lives keeps the time
    /// it was created at, and its properties where none are given; its deadline is reckoned
    /// anew from its timeouts, or else from the manager's.
    fn save(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Version>;

    /// Saves a session if there is none of this id; else [`Outcome::Conflict`], and nothing
    /// is changed.
    fn create(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Outcome>;

    /// Saves a session if there is one of this id: one that was removed, or has expired,
    /// stays gone ([`Outcome::Conflict`]).
    fn replace(&self, id: &str, value: &Value) -> Result<Outcome>;

    /// Saves a session if it still is of this version.
    fn save_if(&self, id: &str, version: Version, value: &Value) -> Result<Outcome>;

    /// Reads a session, lets `change` decide, and does what it says, with nobody else
    /// changing that session in between. `change` may be called again; what it said last
    /// counts. It must not use the manager.
    fn update(
        &self,
        id: &str,
        change: &mut dyn FnMut(Option<Session<Value>>) -> Change<Value>,
    ) -> Result<Updated>;

    /// Removes a session; false if none lived.
    fn remove(&self, id: &str) -> Result<bool>;

    /// Moves a session's deadline as a save would, without its value, and only where less
    /// than a share of its idle time is left (`touchPercent`). Whether the session lives.
    fn touch(&self, id: &str) -> Result<bool>;

    /// Holds a session for a whole request, off from others who guard it, and from nobody
    /// else. It ends when it is dropped or its process does. Waits no longer than
    /// `patience` ([`ErrorKind::Busy`]). Needs [`Capability::Guards`].
    fn guard(&self, id: &str, patience: Duration) -> Result<SessionGuard> {
        let _ = (id, patience);
        Err(unsupported(Capability::Guards))
    }

    /// Lets a session go on under another id, as at a login, with its value, times and
    /// properties. For `grace` the old id leads to it, for every operation, and so does whoever
    /// knew it: at a login let that be nothing or seconds. After that there is no session of the
    /// old id, [`SessionManager::rotated`] says why, and as long as it does none can be made
    /// ([`ErrorKind::Rotated`]).
    /// [`Outcome::Conflict`] where there is no session of the old id itself, or the new one has
    /// one or was given up. Needs [`Capability::Rotation`].
    fn rotate(&self, old_id: &str, new_id: &str, grace: Duration) -> Result<Outcome> {
        let _ = (old_id, new_id, grace);
        Err(unsupported(Capability::Rotation))
    }

    /// What an id says that a session was rotated from, as long as that session would have
    /// lasted, and at most a day after its grace. Needs [`Capability::Rotation`].
    fn rotated(&self, id: &str) -> Result<Option<Rotated>> {
        let _ = id;
        Err(unsupported(Capability::Rotation))
    }

    /// A member of a session's object, which is taken out of it: a *flash value*, such as a
    /// message that the next page shows. Of several requests at once one has it. `None` where
    /// there is no session, its value is no object, or has no such member.
    fn take(&self, id: &str, member: &str) -> Result<Option<Value>> {
        let mut taken = None;
        self.update(id, &mut |session| {
            let mut value = session.map(|session| session.value).unwrap_or_default();
            taken = value.as_object_mut().and_then(|object| object.remove(member));
            if taken.is_some() { Change::Save(value) } else { Change::Keep }
        })?;
        Ok(taken)
    }

    /// Removes up to `limit` sessions whose deadline has passed, each after `on_expired` has
    /// seen it, with its id as it is kept; `Break` ends the sweep before that one goes.
    /// Nobody goes who was refreshed meanwhile. Who has expired within the last second may be
    /// left to a later sweep. What old ids say of sessions that were rotated goes with it, is
    /// not shown, and may be counted.
    fn sweep(
        &self,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<Swept>;

    /// Shows all sessions that live, with their ids as they are kept, in no order that means
    /// anything. Who lives throughout comes exactly once, others at most once. One that
    /// cannot be read comes as an error, and the walk goes on.
    fn walk(&self, visit: &mut dyn FnMut(Walked) -> ControlFlow<()>) -> Result<()>;

    /// Saves a session as it was elsewhere, with its times and properties, under an id as
    /// it is kept ([`SessionManager::kept_id`]); what there is of this id is replaced.
    fn restore(&self, kept_id: &str, session: &Session<Value>) -> Result<()>;

    /// What the manager keeps of an id: the id itself or the 64 digits of its SHA-256.
    fn kept_id(&self, id: &str) -> Result<String>;

    /// The form in which the manager keeps ids.
    fn id_form(&self) -> IdForm;

    /// The session of an id as it is kept, as [`SessionManager::load`] gives it: what a walk
    /// has shown, for whom does not know the id itself.
    fn load_kept(&self, kept_id: &str) -> Result<Option<Session<Value>>>;

    /// How often this manager was asked by a load for a session that there is not, since it was
    /// opened: where that rises fast, somebody may be guessing ids. Touches may count, too.
    fn misses(&self) -> u64;

    /// Number of sessions, expired ones included until they are removed.
    fn len(&self) -> Result<u64>;

    /// Whether there is no session. Costs what [`SessionManager::len`] does.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Returns when everything that was saved before is as safe as the manager can make it
    /// ([`Capability::PowerCuts`]).
    fn sync(&self) -> Result<()>;

    /// Ends the manager, and says whether what it still had to do was done. Dropping it does
    /// the same and cannot say so.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A session held for a whole request; released when it is dropped.
///
/// ```
/// # use cloakroom::session::{self, SessionManager};
/// # use std::time::Duration;
/// # let dir = tempfile::tempdir()?;
/// # let file = dir.path().join("sessions.room");
/// # let managers = serde_json::json!({ "container": { "file": file } });
/// # let session = serde_json::json!({ "manager": "container", "managers": managers });
/// # let configuration = serde_json::json!({ "session": session });
/// let sessions = session::open(&configuration)?.manager;
/// let request = sessions.guard("ticket-17", Duration::from_secs(10))?;
/// assert!(sessions.guard("ticket-17", Duration::ZERO).is_err());
/// drop(request);
/// assert!(sessions.guard("ticket-17", Duration::ZERO).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the session is guarded as long as this lives"]
pub struct SessionGuard {
    _held: Box<dyn Send>,
}

impl SessionGuard {
    /// A guard that lasts until `held` is dropped. For managers.
    ///
    /// ```
    /// # use std::sync::{Arc, Mutex};
    /// let lock = Arc::new(Mutex::new(()));
    /// let guard = cloakroom::session::SessionGuard::new(Box::new(Arc::clone(&lock)));
    /// assert_eq!(Arc::strong_count(&lock), 2);
    /// drop(guard);
    /// assert_eq!(Arc::strong_count(&lock), 1);
    /// ```
    pub fn new(held: Box<dyn Send>) -> SessionGuard {
        SessionGuard { _held: held }
    }
}

impl fmt::Debug for SessionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionGuard")
    }
}

fn unsupported(what: Capability) -> Error {
    ErrorKind::Unsupported { what: what.name() }.into()
}
