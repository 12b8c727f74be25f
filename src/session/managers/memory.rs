//! The manager whose sessions are in this process's memory: for tests, and for programs
//! that may forget everybody when they end.
//!
//! It means by every operation what the others mean. One mutex guards all; a guard of a
//! session is a place in a set beside it.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::life::{Customs, Life};
use super::super::{Capabilities, Capability, SessionGuard, SessionManager, Settings, Walked};
use crate::container::Told;
use crate::format::TIME_MS_MAX;
use crate::{
    Awaited, Change, ErrorKind, IdForm, Outcome, Properties, Result, Rotated, Session, SweepEnd,
    Swept, Updated, Version,
};

/// Keeps sessions in memory.
///
/// Options of `"sessionDriver": "memory"`: `ids`, `idleMinutes`, `absoluteMinutes`,
/// `touchPercent` and `maxBytes`, as of the
/// [`ContainerManager`](crate::session::ContainerManager).
///
/// ```
/// use cloakroom::session::{Capability, MemoryManager, SessionManager};
///
/// let manager = MemoryManager::new();
/// manager.save("ticket-17", &serde_json::json!(["a coat"]), None)?;
/// assert_eq!(manager.load("ticket-17")?.map(|s| s.value), Some(serde_json::json!(["a coat"])));
/// assert!(!manager.capabilities().has(Capability::Kills));
/// # Ok::<(), cloakroom::Error>(())
/// ```
#[derive(Debug)]
pub struct MemoryManager {
    customs: Customs,
    sessions: Mutex<Sessions>,
    guards: Arc<Guards>,
}

#[derive(Debug)]
struct Sessions {
    by_kept_id: HashMap<String, Kept>,
    /// Where sessions went that were here before.
    forwards: HashMap<String, Forward>,
    told: Told,
}

/// What is kept of an id that a session was rotated from.
#[derive(Clone, Debug)]
struct Forward {
    rotated: Rotated,
    /// The same as what `rotated` says.
    to_kept_id: String,
    /// When it is forgotten.
    end_ms: u64,
}

impl Forward {
    fn leads(&self, now_ms: u64) -> bool {
        (self.rotated.rotated_ms..self.rotated.until_ms).contains(&now_ms)
    }
}

/// Forwards in a row that lead on, as in a container.
const FORWARDS_MAX: usize = 8;
/// How long a forward is remembered after it leads nowhere, at most.
const FORWARD_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Clone, Debug)]
struct Kept {
    value: Value,
    life: Life,
}

impl Kept {
    fn session(&self) -> Session<Value> {
        self.life.clone().session(self.value.clone())
    }
}

#[derive(Debug, Default)]
struct Guards {
    held: Mutex<HashSet<String>>,
    released: Condvar,
}

/// What a [`SessionGuard`] of this manager holds.
struct Held {
    guards: Arc<Guards>,
    kept_ids: [String; 2],
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = lock(&self.guards.held);
        for kept_id in &self.kept_ids {
            held.remove(kept_id);
        }
        drop(held);
        self.guards.released.notify_all();
    }
}

/// What a thread that panicked leaves is whole: every change is one insertion or removal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn open(mut settings: Settings<'_>) -> Result<Box<dyn SessionManager>> {
    let customs = Customs::read(&mut settings)?;
    settings.finish()?;
    Ok(Box::new(MemoryManager::with(customs)))
}

impl Default for MemoryManager {
    fn default() -> MemoryManager {
        MemoryManager::new()
    }
}

impl MemoryManager {
    /// A manager without any session, and without timeouts.
    pub fn new() -> MemoryManager {
        MemoryManager::with(Customs::new())
    }

    fn with(customs: Customs) -> MemoryManager {
        // What the clock tells at first is what it is compared with.
        let told = Told { seen_ms: (customs.clock)(), doubt_ms: 0 };
        let sessions =
            Mutex::new(Sessions { by_kept_id: HashMap::new(), forwards: HashMap::new(), told });
        MemoryManager { customs, sessions, guards: Arc::default() }
    }

    /// Saves a session where `condition` holds of the one that lives.
    fn save_where(
        &self,
        id: &str,
        value: &Value,
        properties: Option<&Properties>,
        condition: impl FnOnce(Option<&Kept>) -> bool,
    ) -> Result<Outcome> {
        let kept_id = self.customs.kept(id)?;
        self.customs.text(value)?;
        let mut sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let kept_id = sessions.led(kept_id, now_ms);
        let given_up = sessions.forward(&kept_id, now_ms).is_some();
        if given_up || !condition(sessions.living(&kept_id, now_ms)) {
            return Ok(Outcome::Conflict);
        }
        let version = sessions.put(&self.customs, kept_id, value, properties, now_ms)?;
        Ok(Outcome::Saved(version))
    }
}

impl Sessions {
    /// The id of the living session that forwards lead to from this one, or else itself.
    fn led(&self, kept_id: String, now_ms: u64) -> String {
        let mut at = &kept_id;
        for _ in 0..FORWARDS_MAX {
            match self.forward(at, now_ms) {
                Some(forward) if forward.leads(now_ms) => at = &forward.to_kept_id,
                _ => break,
            }
            if self.living(at, now_ms).is_some() {
                return at.clone();
            }
        }
        kept_id
    }

    fn forward(&self, kept_id: &str, now_ms: u64) -> Option<&Forward> {
        self.forwards.get(kept_id).filter(|forward| now_ms < forward.end_ms)
    }

    fn insert(&mut self, kept_id: String, kept: Kept) {
        self.forwards.remove(&kept_id);
        self.by_kept_id.insert(kept_id, kept);
    }

    fn living(&self, kept_id: &str, now_ms: u64) -> Option<&Kept> {
        self.by_kept_id.get(kept_id).filter(|kept| !kept.life.is_over(now_ms))
    }

    fn put(
        &mut self,
        customs: &Customs,
        kept_id: String,
        value: &Value,
        properties: Option<&Properties>,
        now_ms: u64,
    ) -> Result<Version> {
        if self.forward(&kept_id, now_ms).is_some() {
            return Err(ErrorKind::Rotated.into());
        }
        let living = self.living(&kept_id, now_ms).map(|kept| &kept.life);
        let life = customs.saved(living, properties, now_ms)?;
        let version = life.version;
        self.insert(kept_id, Kept { value: value.clone(), life });
        Ok(version)
    }
}

impl SessionManager for MemoryManager {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of(&[Capability::Guards, Capability::Rotation])
    }

    fn load(&self, id: &str) -> Result<Option<Session<Value>>> {
        let kept_id = self.customs.kept(id)?;
        let sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let living = sessions.living(&sessions.led(kept_id, now_ms), now_ms);
        Ok(self.customs.found(living.map(Kept::session)))
    }

    fn save(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Version> {
        let kept_id = self.customs.kept(id)?;
        self.customs.text(value)?;
        let mut sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let kept_id = sessions.led(kept_id, now_ms);
        sessions.put(&self.customs, kept_id, value, properties, now_ms)
    }

    fn create(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Outcome> {
        self.save_where(id, value, properties, |living| living.is_none())
    }

    fn replace(&self, id: &str, value: &Value) -> Result<Outcome> {
        self.save_where(id, value, None, |living| living.is_some())
    }

    fn save_if(&self, id: &str, version: Version, value: &Value) -> Result<Outcome> {
        let same = |kept: &Kept| kept.life.version == version;
        self.save_where(id, value, None, |living| living.is_some_and(same))
    }

    fn update(
        &self,
        id: &str,
        change: &mut dyn FnMut(Option<Session<Value>>) -> Change<Value>,
    ) -> Result<Updated> {
        let kept_id = self.customs.kept(id)?;
        let mut sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let kept_id = sessions.led(kept_id, now_ms);
        let living = sessions.living(&kept_id, now_ms).map(Kept::session);
        match change(living) {
            Change::Keep => Ok(Updated::Kept),
            Change::Remove => {
                sessions.by_kept_id.remove(&kept_id);
                Ok(Updated::Removed)
            }
            Change::Save(value) => {
                self.customs.text(&value)?;
                let version = sessions.put(&self.customs, kept_id, &value, None, now_ms)?;
                Ok(Updated::Saved(version))
            }
        }
    }

    fn remove(&self, id: &str) -> Result<bool> {
        let kept_id = self.customs.kept(id)?;
        let mut sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let kept_id = sessions.led(kept_id, now_ms);
        sessions.forwards.remove(&kept_id);
        let removed = sessions.by_kept_id.remove(&kept_id);
        Ok(removed.is_some_and(|kept| !kept.life.is_over(now_ms)))
    }

    fn touch(&self, id: &str) -> Result<bool> {
        let kept_id = self.customs.kept(id)?;
        let mut sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let kept_id = sessions.led(kept_id, now_ms);
        let kept = sessions.by_kept_id.get_mut(&kept_id);
        let Some(kept) = kept.filter(|kept| !kept.life.is_over(now_ms)) else { return Ok(false) };
        if let Some(life) = self.customs.touched(&kept.life, now_ms) {
            kept.life = life;
        }
        Ok(!kept.life.is_over(now_ms))
    }

    fn guard(&self, id: &str, patience: Duration) -> Result<SessionGuard> {
        let given = self.customs.kept(id)?;
        let led = || lock(&self.sessions).led(given.clone(), (self.customs.clock)());
        let began = Instant::now();
        let mut held = lock(&self.guards.held);
        // Whoever rotated it may still hold the first, and others come by the second.
        let mut kept_ids = [given.clone(), led()];
        while kept_ids.iter().any(|kept_id| held.contains(kept_id)) {
            let waited = began.elapsed();
            let Some(rest) = patience.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
                let waited_ms = waited.as_millis() as u64;
                let awaited = Awaited::Guard;
                return Err(ErrorKind::Busy { awaited, holder: None, waited_ms }.into());
            };
            let woken = self.guards.released.wait_timeout(held, rest);
            held = woken.unwrap_or_else(PoisonError::into_inner).0;
            // Whoever was waited for may have rotated it.
            kept_ids[1] = led();
        }
        held.extend(kept_ids.iter().cloned());
        Ok(SessionGuard::new(Box::new(Held { guards: Arc::clone(&self.guards), kept_ids })))
    }

    fn rotate(&self, old_id: &str, new_id: &str, grace: Duration) -> Result<Outcome> {
        let (old_id, new_id) = (self.customs.kept(old_id)?, self.customs.kept(new_id)?);
        let mut sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let taken = sessions.living(&new_id, now_ms).is_some()
            || sessions.forward(&new_id, now_ms).is_some();
        let living = sessions.living(&old_id, now_ms).filter(|_| !taken).cloned();
        let Some(Kept { value, life }) = living else { return Ok(Outcome::Conflict) };
        let copy = Kept { value, life: life.moved()? };
        let version = copy.life.version;
        let until_ms = now_ms.saturating_add(grace.as_millis().try_into().unwrap_or(u64::MAX));
        let end_ms = copy.life.times.deadline_ms;
        let forward = Forward {
            rotated: Rotated {
                to_kept_id: new_id.clone().into_bytes(),
                rotated_ms: now_ms,
                until_ms: until_ms.min(TIME_MS_MAX),
            },
            to_kept_id: new_id.clone(),
            end_ms: end_ms.unwrap_or(u64::MAX).min(until_ms.saturating_add(FORWARD_KEPT_MS)),
        };
        sessions.forwards.retain(|_, forward| now_ms < forward.end_ms);
        sessions.by_kept_id.remove(&old_id);
        sessions.forwards.insert(old_id, forward);
        sessions.insert(new_id, copy);
        Ok(Outcome::Saved(version))
    }

    fn rotated(&self, id: &str) -> Result<Option<Rotated>> {
        let kept_id = self.customs.kept(id)?;
        let forward = lock(&self.sessions).forward(&kept_id, (self.customs.clock)()).cloned();
        Ok(forward.map(|forward| forward.rotated))
    }

    fn sweep(
        &self,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        let mut sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let (believed, told) = sessions.told.hears(now_ms);
        sessions.told = told;
        let mut removed = 0;
        if !believed {
            return Ok(Swept { removed, end: SweepEnd::ClockInDoubt });
        }
        let over = sessions.by_kept_id.iter().filter(|(_, kept)| kept.life.is_over(now_ms));
        let over: Vec<String> = over.map(|(kept_id, _)| kept_id.clone()).collect();
        drop(sessions);
        for kept_id in over {
            if removed == limit {
                return Ok(Swept { removed, end: SweepEnd::Limit });
            }
            let seen = lock(&self.sessions).by_kept_id.get(&kept_id).cloned();
            let Some(seen) = seen.filter(|kept| kept.life.is_over(now_ms)) else { continue };
            if on_expired(&kept_id, seen.session()).is_break() {
                return Ok(Swept { removed, end: SweepEnd::Broken });
            }
            let mut sessions = lock(&self.sessions);
            let same = |kept: &Kept| kept.life == seen.life;
            if sessions.by_kept_id.get(&kept_id).is_some_and(same) {
                sessions.by_kept_id.remove(&kept_id);
                removed += 1;
            }
        }
        Ok(Swept { removed, end: SweepEnd::Done })
    }

    fn walk(&self, visit: &mut dyn FnMut(Walked) -> ControlFlow<()>) -> Result<()> {
        let now_ms = (self.customs.clock)();
        // Not under the lock: who is shown a session may use the manager.
        let living: Vec<(String, Kept)> = lock(&self.sessions)
            .by_kept_id
            .iter()
            .filter(|(_, kept)| !kept.life.is_over(now_ms))
            .map(|(kept_id, kept)| (kept_id.clone(), kept.clone()))
            .collect();
        for (kept_id, kept) in living {
            if visit(Ok((kept_id, kept.session()))).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn restore(&self, kept_id: &str, session: &Session<Value>) -> Result<()> {
        let kept_id = self.customs.valid_kept(kept_id)?.to_owned();
        self.customs.text(&session.value)?;
        let kept = Kept { value: session.value.clone(), life: Life::restored(session)? };
        lock(&self.sessions).insert(kept_id, kept);
        Ok(())
    }

    fn kept_id(&self, id: &str) -> Result<String> {
        self.customs.kept(id)
    }

    fn id_form(&self) -> IdForm {
        self.customs.ids
    }

    fn load_kept(&self, kept_id: &str) -> Result<Option<Session<Value>>> {
        let kept_id = self.customs.valid_kept(kept_id)?.to_owned();
        let sessions = lock(&self.sessions);
        let now_ms = (self.customs.clock)();
        let living = sessions.living(&sessions.led(kept_id, now_ms), now_ms);
        Ok(self.customs.found(living.map(Kept::session)))
    }

    fn misses(&self) -> u64 {
        self.customs.misses()
    }

    fn len(&self) -> Result<u64> {
        Ok(lock(&self.sessions).by_kept_id.len() as u64)
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
