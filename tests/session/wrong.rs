//! Managers that are wrong in one thing each, around one that is right: what the suite for
//! managers has to catch.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cloakroom::session::{
    Capabilities, Capability, MemoryManager, SessionGuard, SessionManager, Walked,
};
use cloakroom::{
    Awaited, Change, ErrorKind, IdForm, Outcome, Properties, Result, Rotated, Session, SweepEnd,
    Swept, Times, Updated, Version,
};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    None,
    ServesExpired,
    IgnoresVersion,
    ReplaceResurrects,
    CreateOverwrites,
    UpdatesOutsideItsLock,
    SavesInTwoSteps,
    TouchResurrects,
    TouchNeverMoves,
    SweepsRefreshed,
    SweepShowsNobody,
    SweepIgnoresBreak,
    SweepIgnoresLimit,
    SweepsLiving,
    WalkMissesOne,
    WalkShowsTwice,
    WalkShowsExpired,
    VersionsRepeat,
    LosesProperties,
    MovesCreation,
    CutsIds,
    FoldsIds,
    TakesKeptIds,
    LeavesDirectory,
    AcceptsTooLarge,
    RemovesBeforeRefusing,
    RoundsFloats,
    RemoveIsTrue,
    GuardsNothing,
    GuardsImpatiently,
    KeptIdDiffers,
    LenIsWrong,
    SaveIfInTwoSteps,
    CreatesInTwoSteps,
    ReplacesInTwoSteps,
    RestoresAnew,
    Panics,
    Hangs,
    ForgetsAll,
    LingersOn,
    UpdateShowsTheGone,
    SaveIfResurrects,
    RemembersProperties,
    KeepsProperties,
    TouchIgnoresAbsolute,
    TouchSaves,
    KeepRemoves,
    ClaimsNoGuards,
    GuardHinders,
    GuardNeverEnds,
    AcceptsEmptyIds,
    KeepsLessThan4MiB,
    KnowsNoTimeouts,
    SweepsCountWhatTheyShow,
    SyncFails,
    LoadKeptIsBlind,
    RotatesToANewLife,
    LeadsNowhere,
    LeadsForEver,
    RotatesOntoOthers,
    LogsOutTheOldIdOnly,
    RotatesInTwoSteps,
    TakesTwice,
    CountsNoMisses,
    // From here on with a container, whose capabilities they have.
    LockStays,
    GuardStays,
    SavesAtTheEnd,
    GuardsThreadsOnly,
    LocksThreadsOnly,
    ShowsWhatItSaw,
    SharedSavesInTwoSteps,
    CreatesForThreadsOnly,
    SavesIfForThreadsOnly,
    ReplacesForThreadsOnly,
    DiesHalfSaved,
    MakesWhatOthersMake,
}

impl Mistake {
    pub(crate) fn needs_processes(self) -> bool {
        self as u8 >= Mistake::LockStays as u8
    }
}

/// One process's own.
static OWN_GUARDS: LazyLock<MemoryManager> = LazyLock::new(MemoryManager::new);
static OWN_LOCK: Mutex<()> = Mutex::new(());

#[derive(Debug)]
pub(crate) struct Wrong {
    right: Box<dyn SessionManager>,
    mistake: Mistake,
    directory: PathBuf,
    /// The sessions as they were when they were last seen.
    seen: Mutex<HashMap<String, Session<Value>>>,
    /// What is to be saved when the manager ends.
    late: Mutex<Vec<(String, Value)>>,
    calls: AtomicU64,
}

impl Drop for Wrong {
    fn drop(&mut self) {
        for (id, value) in self.late.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.right.save(&id, &value, None).unwrap();
        }
    }
}

/// A lock file that nobody removes where its holder was killed.
struct LockFile(PathBuf);

impl LockFile {
    fn take(path: PathBuf, patience: Duration) -> Result<LockFile> {
        let begun = Instant::now();
        while fs::File::create_new(&path).is_err() {
            let waited_ms = begun.elapsed().as_millis() as u64;
            if begun.elapsed() >= patience {
                let awaited = Awaited::Guard;
                return Err(ErrorKind::Busy { awaited, holder: None, waited_ms }.into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(LockFile(path))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

fn version_of(value: &Value) -> Version {
    let mut bytes = [0; 16];
    for (place, byte) in value.to_string().bytes().enumerate() {
        bytes[place % 16] ^= byte;
    }
    Version::from_bytes(bytes)
}

/// 1.0 becomes 1.
fn rounded(value: &Value) -> Value {
    match value.as_f64() {
        Some(float) if value.is_f64() && float == float.trunc() && float.abs() < 1e9 => {
            json!(float as i64)
        }
        _ => value.clone(),
    }
}

/// Lets others in between.
fn pause() {
    thread::sleep(Duration::from_micros(200));
}

impl Wrong {
    pub(crate) fn new(right: Box<dyn SessionManager>, mistake: Mistake, directory: &Path) -> Wrong {
        let made = directory.join("made");
        if mistake == Mistake::MakesWhatOthersMake && !made.exists() {
            pause();
            fs::create_dir(made).unwrap();
        }
        let directory = directory.to_owned();
        let (seen, late, calls) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Wrong { right, mistake, directory, seen, late, calls }
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn any(&self, mistakes: &[Mistake]) -> bool {
        mistakes.contains(&self.mistake)
    }

    fn id(&self, id: &str) -> String {
        match self.mistake {
            Mistake::CutsIds if !id.starts_with('\0') => {
                id.split('\0').next().unwrap_or(id).to_owned()
            }
            Mistake::FoldsIds => id.to_lowercase().chars().take(200).collect(),
            Mistake::AcceptsEmptyIds if id.is_empty() => "nobody".to_owned(),
            Mistake::TakesKeptIds => id.strip_prefix("kept ").unwrap_or(id).to_owned(),
            _ => id.to_owned(),
        }
    }

    /// Notes a session as it is.
    fn see(&self, id: &str) -> Result<()> {
        if let Some(session) = self.right.load(id)? {
            self.seen.lock().unwrap().insert(id.to_owned(), session);
        }
        Ok(())
    }

    fn seen(&self, id: &str) -> Option<Session<Value>> {
        self.seen.lock().unwrap().get(id).cloned()
    }

    fn save_whole(
        &self,
        id: &str,
        value: &Value,
        properties: Option<&Properties>,
    ) -> Result<Version> {
        let version = match self.mistake {
            Mistake::RoundsFloats => self.right.save(id, &rounded(value), properties)?,
            Mistake::LosesProperties => {
                self.right.save(id, value, properties.or(Some(&Properties::new())))?
            }
            Mistake::RemembersProperties => {
                let before = self.seen(id).map(|session| session.properties);
                self.right.save(id, value, properties.or(before.as_ref()))?
            }
            Mistake::KeepsProperties => {
                let given = if self.right.load(id)?.is_some() { None } else { properties };
                self.right.save(id, value, given)?
            }
            Mistake::MovesCreation => {
                let before = self.right.load(id)?.map(|session| session.properties);
                self.right.remove(id)?;
                self.right.save(id, value, properties.or(before.as_ref()))?
            }
            Mistake::RemovesBeforeRefusing => {
                let saved = self.right.save(id, value, properties);
                if saved.is_err() {
                    self.right.remove(id)?;
                }
                saved?
            }
            _ => self.right.save(id, value, properties)?,
        };
        self.see(id)?;
        Ok(if self.has(Mistake::VersionsRepeat) { version_of(value) } else { version })
    }

    /// A condition, and then a save: others may come in between.
    fn save_where(
        &self,
        id: &str,
        value: &Value,
        condition: impl Fn(Option<&Session<Value>>) -> bool,
    ) -> Result<Outcome> {
        if !condition(self.load(id)?.as_ref()) {
            return Ok(Outcome::Conflict);
        }
        pause();
        self.save_whole(id, value, None).map(Outcome::Saved)
    }
}

impl SessionManager for Wrong {
    fn capabilities(&self) -> Capabilities {
        match self.mistake {
            Mistake::ForgetsAll => Capabilities::of(&[Capability::Kills]),
            Mistake::ClaimsNoGuards => Capabilities::of(&[]),
            _ => self.right.capabilities(),
        }
    }

    fn load(&self, id: &str) -> Result<Option<Session<Value>>> {
        let id = &self.id(id);
        match self.mistake {
            Mistake::ServesExpired => Ok(self.right.load(id)?.or_else(|| self.seen(id))),
            Mistake::LingersOn => Ok(self.right.load(id)?.or_else(|| {
                let late = |session: &Session<Value>| {
                    session.times.deadline_ms.is_some_and(|deadline_ms| {
                        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                        now_ms.as_millis() < u128::from(deadline_ms) + 4
                    })
                };
                self.seen(id).filter(late)
            })),
            Mistake::ShowsWhatItSaw => match self.seen(id) {
                Some(session) => Ok(Some(session)),
                None => self.right.load(id),
            },
            Mistake::VersionsRepeat => Ok(self
                .right
                .load(id)?
                .map(|session| Session { version: version_of(&session.value), ..session })),
            Mistake::Panics => panic!("a load"),
            Mistake::Hangs => loop {
                thread::sleep(Duration::from_secs(1));
            },
            Mistake::SavesAtTheEnd => {
                let late = self.late.lock().unwrap();
                let newest = late.iter().rev().find(|(late_id, _)| late_id == id);
                let session = |value: &Value| Session {
                    value: value.clone(),
                    version: version_of(value),
                    times: Times::default(),
                    properties: Properties::new(),
                };
                Ok(newest.map(|(_, value)| session(value)).or(self.right.load(id)?))
            }
            _ => self.right.load(id),
        }
    }

    fn save(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Version> {
        let id = &self.id(id);
        match self.mistake {
            Mistake::SavesInTwoSteps | Mistake::SharedSavesInTwoSteps if value.is_object() => {
                let mut half = value.clone();
                half["fill"] = json!("");
                self.right.save(id, &half, properties)?;
                pause();
            }
            Mistake::DiesHalfSaved => {
                self.right.save(id, &json!({ "half": true }), properties)?;
                thread::sleep(Duration::from_millis(2));
            }
            Mistake::GuardHinders => drop(self.right.guard(id, Duration::from_millis(50))?),
            // Hard-coded, so that nothing else is ever written anywhere.
            Mistake::LeavesDirectory if id == "../out" => {
                fs::write(self.directory.join("../out"), value.to_string()).unwrap();
            }
            Mistake::SavesAtTheEnd => {
                self.late.lock().unwrap().push((id.clone(), value.clone()));
                return Ok(version_of(value));
            }
            _ => {}
        }
        self.save_whole(id, value, properties)
    }

    fn create(&self, id: &str, value: &Value, properties: Option<&Properties>) -> Result<Outcome> {
        let id = &self.id(id);
        match self.mistake {
            Mistake::CreateOverwrites => self.right.save(id, value, properties).map(Outcome::Saved),
            Mistake::CreatesInTwoSteps => self.save_where(id, value, |living| living.is_none()),
            Mistake::CreatesForThreadsOnly => {
                let _lock = OWN_LOCK.lock();
                self.save_where(id, value, |living| living.is_none())
            }
            Mistake::VersionsRepeat => {
                let made = self.right.create(id, value, properties)?;
                Ok(made.saved().map_or(made, |_| Outcome::Saved(version_of(value))))
            }
            _ => {
                let made = self.right.create(id, value, properties)?;
                self.see(id)?;
                Ok(made)
            }
        }
    }

    fn replace(&self, id: &str, value: &Value) -> Result<Outcome> {
        let id = &self.id(id);
        match self.mistake {
            Mistake::ReplaceResurrects => self.right.save(id, value, None).map(Outcome::Saved),
            Mistake::VersionsRepeat | Mistake::ReplacesInTwoSteps | Mistake::MovesCreation => {
                self.save_where(id, value, |living| living.is_some())
            }
            Mistake::ReplacesForThreadsOnly => {
                let _lock = OWN_LOCK.lock();
                self.save_where(id, value, |living| living.is_some())
            }
            _ => self.right.replace(id, value),
        }
    }

    fn save_if(&self, id: &str, version: Version, value: &Value) -> Result<Outcome> {
        let id = &self.id(id);
        let same = |living: Option<&Session<Value>>| living.is_some_and(|s| s.version == version);
        match self.mistake {
            Mistake::IgnoresVersion => self.right.replace(id, value),
            Mistake::SaveIfResurrects if self.seen(id).is_some_and(|s| s.version == version) => {
                self.right.save(id, value, None).map(Outcome::Saved)
            }
            Mistake::VersionsRepeat | Mistake::SaveIfInTwoSteps => self.save_where(id, value, same),
            Mistake::SavesIfForThreadsOnly => {
                let _lock = OWN_LOCK.lock();
                self.save_where(id, value, same)
            }
            _ => self.right.save_if(id, version, value),
        }
    }

    fn update(
        &self,
        id: &str,
        change: &mut dyn FnMut(Option<Session<Value>>) -> Change<Value>,
    ) -> Result<Updated> {
        let id = &self.id(id);
        let mut in_steps = || match change(self.load(id)?) {
            Change::Save(value) => {
                pause();
                self.save_whole(id, &value, None).map(Updated::Saved)
            }
            Change::Remove => self.right.remove(id).map(|_| Updated::Removed),
            Change::Keep => Ok(Updated::Kept),
        };
        match self.mistake {
            Mistake::UpdatesOutsideItsLock | Mistake::VersionsRepeat => in_steps(),
            Mistake::LocksThreadsOnly => {
                let _lock = OWN_LOCK.lock();
                in_steps()
            }
            Mistake::UpdateShowsTheGone => {
                let seen = self.seen(id);
                self.right.update(id, &mut |session| change(session.or(seen.clone())))
            }
            Mistake::KeepRemoves => self.right.update(id, &mut |session| match change(session) {
                Change::Keep => Change::Remove,
                other => other,
            }),
            Mistake::LockStays => {
                let patience = Duration::from_millis(500);
                let _lock = LockFile::take(self.directory.join("lock"), patience)?;
                in_steps()
            }
            _ => self.right.update(id, change),
        }
    }

    fn remove(&self, id: &str) -> Result<bool> {
        let id = &self.id(id);
        // Those that know the dead.
        if !self.any(&[
            Mistake::TouchResurrects,
            Mistake::WalkShowsExpired,
            Mistake::UpdateShowsTheGone,
            Mistake::SaveIfResurrects,
            Mistake::RemembersProperties,
        ]) {
            self.seen.lock().unwrap().remove(id);
        }
        if self.has(Mistake::LogsOutTheOldIdOnly) && self.right.rotated(id)?.is_some() {
            return Ok(true);
        }
        let lived = self.right.remove(id)?;
        Ok(lived || self.has(Mistake::RemoveIsTrue))
    }

    fn touch(&self, id: &str) -> Result<bool> {
        let id = &self.id(id);
        match (self.mistake, self.seen(id)) {
            (Mistake::TouchNeverMoves, _) => Ok(self.right.load(id)?.is_some()),
            (Mistake::TouchSaves, Some(seen)) => {
                self.right.replace(id, &seen.value).map(|outcome| outcome.saved().is_some())
            }
            (Mistake::TouchIgnoresAbsolute, _) => {
                let Some(mut session) = self.right.load(id)? else { return Ok(false) };
                let later_ms = session.times.deadline_ms.map(|ms| ms + 600_000);
                session.times.deadline_ms = later_ms;
                self.right.restore(&self.right.kept_id(id)?, &session).map(|()| true)
            }
            (Mistake::TouchResurrects, Some(seen)) => {
                self.right.save(id, &seen.value, None).map(|_| true)
            }
            _ => self.right.touch(id),
        }
    }

    fn guard(&self, id: &str, patience: Duration) -> Result<SessionGuard> {
        let id = &self.id(id);
        match self.mistake {
            Mistake::GuardsNothing => Ok(SessionGuard::new(Box::new(()))),
            Mistake::GuardNeverEnds => {
                std::mem::forget(self.right.guard(id, patience)?);
                Ok(SessionGuard::new(Box::new(())))
            }
            Mistake::GuardsImpatiently => self.right.guard(id, Duration::ZERO),
            Mistake::GuardsThreadsOnly => OWN_GUARDS.guard(id, patience),
            Mistake::GuardStays => {
                let patience = patience.min(Duration::from_millis(500));
                let path = self.directory.join(format!("guard {}", self.right.kept_id(id)?));
                Ok(SessionGuard::new(Box::new(LockFile::take(path, patience)?)))
            }
            _ => self.right.guard(id, patience),
        }
    }

    fn rotate(&self, old_id: &str, new_id: &str, grace: Duration) -> Result<Outcome> {
        match self.mistake {
            Mistake::RotatesToANewLife => {
                let Some(session) = self.right.load(old_id)? else { return Ok(Outcome::Conflict) };
                self.right.rotate(old_id, new_id, grace)?.saved();
                self.right.remove(new_id)?;
                self.right.save(new_id, &session.value, None).map(Outcome::Saved)
            }
            Mistake::LeadsNowhere => self.right.rotate(old_id, new_id, Duration::ZERO),
            Mistake::LeadsForEver => self.right.rotate(old_id, new_id, Duration::from_secs(9999)),
            Mistake::RotatesOntoOthers => {
                self.right.remove(new_id)?;
                self.right.rotate(old_id, new_id, grace)
            }
            Mistake::RotatesInTwoSteps => {
                let Some(session) = self.right.load(old_id)? else { return Ok(Outcome::Conflict) };
                pause();
                let outcome = self.right.rotate(old_id, new_id, grace)?;
                self.right.save(new_id, &session.value, None)?;
                Ok(outcome)
            }
            _ => self.right.rotate(old_id, new_id, grace),
        }
    }

    fn rotated(&self, id: &str) -> Result<Option<Rotated>> {
        self.right.rotated(id)
    }

    fn take(&self, id: &str, member: &str) -> Result<Option<Value>> {
        if self.has(Mistake::TakesTwice) {
            let value = self.right.load(id)?.and_then(|session| session.value.get(member).cloned());
            pause();
            self.right.take(id, member)?;
            return Ok(value);
        }
        self.right.take(id, member)
    }

    fn sweep(
        &self,
        limit: u64,
        on_expired: &mut dyn FnMut(&str, Session<Value>) -> ControlFlow<()>,
    ) -> Result<Swept> {
        match self.mistake {
            Mistake::SweepsRefreshed => {
                let mut removed = 0;
                let swept = self.right.sweep(limit, &mut |kept_id, session| {
                    let flow = on_expired(kept_id, session);
                    removed += u64::from(flow.is_continue());
                    self.right.remove(kept_id).unwrap();
                    flow
                })?;
                Ok(Swept { removed, ..swept })
            }
            Mistake::SweepsCountWhatTheyShow => {
                let mut removed = 0;
                let swept = self.right.sweep(limit, &mut |kept_id, session| {
                    removed += 1;
                    pause();
                    on_expired(kept_id, session)
                })?;
                Ok(Swept { removed, ..swept })
            }
            Mistake::SweepShowsNobody => {
                self.right.sweep(limit, &mut |_, _| ControlFlow::Continue(()))
            }
            Mistake::SweepIgnoresBreak => {
                let mut broken = false;
                let swept = self.right.sweep(limit, &mut |kept_id, session| {
                    broken = broken || on_expired(kept_id, session).is_break();
                    ControlFlow::Continue(())
                })?;
                Ok(if broken { Swept { end: SweepEnd::Broken, ..swept } } else { swept })
            }
            Mistake::SweepIgnoresLimit => self.right.sweep(u64::MAX, on_expired),
            Mistake::SweepsLiving => {
                let swept = self.right.sweep(limit, on_expired)?;
                self.right.remove("none")?;
                Ok(swept)
            }
            _ => self.right.sweep(limit, on_expired),
        }
    }

    fn walk(&self, visit: &mut dyn FnMut(Walked) -> ControlFlow<()>) -> Result<()> {
        let mut shown = 0;
        self.right.walk(&mut |item| {
            shown += 1;
            match (self.mistake, item) {
                (Mistake::WalkMissesOne, Ok((kept_id, _))) if kept_id == "ticket 0" => {
                    ControlFlow::Continue(())
                }
                (Mistake::WalkShowsTwice, Ok((kept_id, session))) if shown == 1 => {
                    let _ = visit(Ok((kept_id.clone(), session.clone())));
                    visit(Ok((kept_id, session)))
                }
                (_, item) => visit(item),
            }
        })?;
        if self.has(Mistake::WalkShowsExpired) {
            for (id, session) in self.seen.lock().unwrap().iter() {
                if self.right.load(id)?.is_none() {
                    let _ = visit(Ok((id.clone(), session.clone())));
                }
            }
        }
        Ok(())
    }

    fn restore(&self, kept_id: &str, session: &Session<Value>) -> Result<()> {
        if self.has(Mistake::RestoresAnew) {
            let properties = Some(&session.properties);
            return self.right.save(kept_id, &session.value, properties).map(drop);
        }
        self.right.restore(kept_id, session)
    }

    fn kept_id(&self, id: &str) -> Result<String> {
        let kept_id = self.right.kept_id(&self.id(id))?;
        match self.mistake {
            Mistake::KeptIdDiffers => {
                let call = self.calls.fetch_add(1, Ordering::Relaxed);
                Ok(if call == 0 { kept_id } else { format!("{kept_id} {call}") })
            }
            Mistake::TakesKeptIds => Ok(format!("kept {kept_id}")),
            _ => Ok(kept_id),
        }
    }

    fn id_form(&self) -> IdForm {
        self.right.id_form()
    }

    fn load_kept(&self, kept_id: &str) -> Result<Option<Session<Value>>> {
        let found = self.right.load_kept(kept_id)?;
        Ok(found.filter(|_| !self.has(Mistake::LoadKeptIsBlind)))
    }

    fn misses(&self) -> u64 {
        if self.has(Mistake::CountsNoMisses) { 0 } else { self.right.misses() }
    }

    fn len(&self) -> Result<u64> {
        Ok(self.right.len()? + u64::from(self.has(Mistake::LenIsWrong)))
    }

    fn sync(&self) -> Result<()> {
        if self.has(Mistake::SyncFails) {
            return Err(ErrorKind::Reentered.into());
        }
        self.right.sync()
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.sync()
    }
}
