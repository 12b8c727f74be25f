//! What happens to a session's times when it is saved or touched: the same in every manager
//! that does not leave that to a container.
//!
//! Nothing here reads a clock or touches a storage: whoever has a session's [`Life`] and
//! the time gets its next one, by the rules that a container has for its entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::settings::Settings;
use crate::format::TIME_MS_MAX;
use crate::format::id::NO_DIGITS;
use crate::json;
use crate::storage::wall_clock_ms;
use crate::{
    ByteContainer, Error, ErrorKind, IdForm, Properties, Result, Session, Timeouts, Times, Version,
};

/// Longest value, in bytes of JSON.
pub(crate) const VALUE_LEN_MAX: usize = 4 << 20;
const TOUCH_PERCENT: u8 = 80;

/// What a manager keeps of a session besides its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) times: Times,
    pub(crate) properties: Properties,
    pub(crate) version: Version,
}

impl Life {
    /// Whether the session is past its deadline.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.times.deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// The life of a session that is restored. Its times are kept as [`Times`] says.
    pub(crate) fn restored(session: &Session<Value>) -> Result<Life> {
        let Session { times, properties, .. } = session;
        let times = Times {
            created_ms: times.created_ms.min(TIME_MS_MAX),
            saved_ms: times.saved_ms.min(TIME_MS_MAX),
            deadline_ms: times.deadline_ms.map(|deadline_ms| deadline_ms.clamp(1, TIME_MS_MAX)),
        };
        Ok(Life { times, properties: properties.clone(), version: random_version()? })
    }

    /// The same life under another id, where its version is another one.
    pub(crate) fn moved(self) -> Result<Life> {
        Ok(Life { version: random_version()?, ..self })
    }

    pub(crate) fn session<T>(self, value: T) -> Session<T> {
        let Life { times, properties, version } = self;
        Session { value, version, times, properties }
    }
}

/// Milliseconds since 1970. Tests have clocks of their own.
pub(crate) type Clock = fn() -> u64;

/// What a manager does alike with all its sessions.
#[derive(Clone, Debug)]
pub(crate) struct Customs {
    pub(crate) clock: Clock,
    pub(crate) ids: IdForm,
    pub(crate) timeouts: Timeouts,
    pub(crate) touch_percent: u8,
    pub(crate) value_len_max: usize,
    pub(crate) misses: Arc<AtomicU64>,
}

impl Customs {
    /// What a load has found; counts where that is nothing.
    pub(crate) fn found<T>(&self, session: Option<T>) -> Option<T> {
        if session.is_none() {
            self.misses.fetch_add(1, Ordering::Relaxed);
        }
        session
    }

    /// Loads that found nothing.
    pub(crate) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    /// Those of a manager that was told nothing.
    pub(crate) fn new() -> Customs {
        Customs {
            clock: wall_clock_ms,
            ids: IdForm::Sha256,
            timeouts: Timeouts::NONE,
            touch_percent: TOUCH_PERCENT,
            value_len_max: VALUE_LEN_MAX,
            misses: Arc::default(),
        }
    }

    /// Reads the options that all managers have.
    pub(crate) fn read(settings: &mut Settings<'_>) -> Result<Customs> {
        let usual = Customs::new();
        let forms = [("sha256", IdForm::Sha256), ("plain", IdForm::Plain)];
        let percent = settings.number("touchPercent", 0..=100)?;
        let bytes = settings.number("maxBytes", 1..=VALUE_LEN_MAX as u64)?;
        Ok(Customs {
            ids: settings.choice("ids", &forms)?.unwrap_or(usual.ids),
            timeouts: settings.timeouts()?,
            touch_percent: percent.map_or(usual.touch_percent, |percent| percent as u8),
            value_len_max: bytes.map_or(usual.value_len_max, |bytes| bytes as usize),
            ..usual
        })
    }

    /// An id as the manager keeps it.
    pub(crate) fn kept(&self, id: &str) -> Result<String> {
        if !(1..=ByteContainer::ID_LEN_MAX).contains(&id.len()) {
            return Err(ErrorKind::InvalidId { len: id.len() }.into());
        }
        let mut space = NO_DIGITS;
        Ok(String::from_utf8_lossy(self.ids.kept(id.as_bytes(), &mut space)).into_owned())
    }

    /// What claims to be an id as the manager keeps it.
    pub(crate) fn valid_kept<'a>(&self, kept_id: &'a str) -> Result<&'a str> {
        let valid = self.ids.can_keep(kept_id.as_bytes());
        if valid { Ok(kept_id) } else { Err(ErrorKind::InvalidId { len: kept_id.len() }.into()) }
    }

    /// The JSON text of a value that may be saved.
    pub(crate) fn text(&self, value: &Value) -> Result<String> {
        let text = json::text_of(value)?;
        let (len, max) = (text.len() as u64, self.value_len_max as u64);
        if len > max { Err(ErrorKind::TooLarge { len, max }.into()) } else { Ok(text) }
    }

    /// The next life of a session that is saved now; `living` is its present one.
    pub(crate) fn saved(
        &self,
        living: Option<&Life>,
        properties: Option<&Properties>,
        now_ms: u64,
    ) -> Result<Life> {
        let own_before = living.and_then(|life| life.properties.own_timeouts());
        let properties = match (properties, living) {
            (Some(given), _) => given.clone(),
            (None, Some(life)) => life.properties.clone(),
            (None, None) => Properties::new(),
        };
        let own = properties.own_timeouts();
        let timeouts = own.unwrap_or(self.timeouts);
        let created_ms = living.map_or(now_ms, |life| life.times.created_ms);
        let unmoved = living.and_then(|life| life.times.deadline_ms).filter(|_| own == own_before);
        let deadline_ms = timeouts.deadline(unmoved.unwrap_or(0), created_ms, now_ms);
        Ok(Life {
            times: Times { created_ms, saved_ms: now_ms, deadline_ms: noted(deadline_ms) },
            properties,
            version: random_version()?,
        })
    }

    /// The life of a session that is touched now, if a touch is due. It has the version that
    /// it had.
    pub(crate) fn touched(&self, living: &Life, now_ms: u64) -> Option<Life> {
        let timeouts = living.properties.own_timeouts().unwrap_or(self.timeouts);
        let before = living.times.deadline_ms.unwrap_or(0);
        let next = timeouts.deadline(before, living.times.created_ms, now_ms);
        let due = timeouts.touch_is_due(before, next, self.touch_percent, now_ms);
        let times = Times { deadline_ms: noted(next), ..living.times };
        due.then(|| Life { times, ..living.clone() })
    }
}

/// 0 stands for no deadline.
fn noted(deadline_ms: u64) -> Option<u64> {
    (deadline_ms != 0).then_some(deadline_ms)
}

/// Versions are compared only, and never repeat.
fn random_version() -> Result<Version> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::io("get random bits", std::io::Error::other(error)))?;
    Ok(Version::from_bytes(bytes))
}
