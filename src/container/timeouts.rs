//! When a session ends by itself: its timeouts, and the deadline that follows from them.
//!
//! The deadline is in the session's entry, and a load looks at nothing else. It is
//! reckoned anew by each save and each touch, from the timeouts of the session's own, which are
//! in its record, or else from those of the handle. Nothing can tell a clock that is behind
//! now from one that was ahead before, so an idle timeout moves a deadline later and never
//! earlier: whatever the clock does, nobody who comes in time is lost.

use std::time::Duration;

use crate::format::TIME_MS_MAX;
use crate::format::record::OwnTimeouts;

/// How long a session lives when nobody removes it. None of them: for ever.
///
/// They are kept in milliseconds, what is shorter as one, up to 2^48 - 1 of them. An idle
/// timeout moves the end of a session that has one to a later time only, whatever the clock
/// says.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// use cloakroom::{Container, Options, Timeouts};
/// use std::time::Duration;
///
/// let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
/// let usual = Timeouts::NONE.idle(minutes(30)).absolute(minutes(12 * 60));
/// let sessions = Container::create(&path, Options::new().timeouts(usual))?;
/// sessions.save("a ticket", &1)?;
/// let times = sessions.load::<u64>("a ticket")?.expect("it lives").times;
/// assert_eq!(times.deadline_ms, Some(times.saved_ms + 30 * 60 * 1000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    idle_ms: Option<u64>,
    absolute_ms: Option<u64>,
}

impl Timeouts {
    /// None: a session lives until it is removed.
    pub const NONE: Timeouts = Timeouts { idle_ms: None, absolute_ms: None };

    /// The same with an idle timeout: a session ends so long after it was last saved or
    /// touched.
    ///
    /// ```
    /// # use cloakroom::Timeouts;
    /// # use std::time::Duration;
    /// let timeouts = Timeouts::NONE.idle(Duration::from_secs(1800));
    /// assert_eq!(timeouts.idle_timeout(), Some(Duration::from_secs(1800)));
    /// ```
    pub fn idle(self, timeout: Duration) -> Timeouts {
        Timeouts { idle_ms: Some(millis(timeout)), ..self }
    }

    /// The same with an absolute timeout: a session ends so long after it was created,
    /// whatever is done with it.
    ///
    /// ```
    /// # use cloakroom::Timeouts;
    /// # use std::time::Duration;
    /// let timeouts = Timeouts::NONE.absolute(Duration::from_secs(86_400));
    /// assert_eq!(timeouts.absolute_timeout(), Some(Duration::from_secs(86_400)));
    /// ```
    pub fn absolute(self, timeout: Duration) -> Timeouts {
        Timeouts { absolute_ms: Some(millis(timeout)), ..self }
    }

    /// The idle timeout, if there is one.
    ///
    /// ```
    /// # use cloakroom::Timeouts;
    /// assert_eq!(Timeouts::NONE.idle_timeout(), None);
    /// ```
    pub fn idle_timeout(self) -> Option<Duration> {
        self.idle_ms.map(Duration::from_millis)
    }

    /// The absolute timeout, if there is one.
    ///
    /// ```
    /// # use cloakroom::Timeouts;
    /// assert_eq!(Timeouts::NONE.absolute_timeout(), None);
    /// ```
    pub fn absolute_timeout(self) -> Option<Duration> {
        self.absolute_ms.map(Duration::from_millis)
    }

    pub(crate) fn from_record(own: OwnTimeouts) -> Timeouts {
        let kept = |ms: u64| (ms != 0).then_some(ms.min(TIME_MS_MAX));
        Timeouts { idle_ms: kept(own.idle_ms), absolute_ms: kept(own.absolute_ms) }
    }

    pub(crate) fn to_record(self) -> OwnTimeouts {
        OwnTimeouts {
            idle_ms: self.idle_ms.unwrap_or(0),
            absolute_ms: self.absolute_ms.unwrap_or(0),
        }
    }

    /// The deadline of a session that is saved or touched now, as an entry has it (0 is
    /// never). `before` is the one that it has, 0 where that does not count.
    pub(crate) fn deadline(self, before: u64, created_ms: u64, now_ms: u64) -> u64 {
        let idle = self.idle_ms.map(|ms| now_ms.saturating_add(ms).max(before));
        let unmoved = (before != 0).then_some(before);
        let absolute = self.absolute_ms.map(|ms| created_ms.saturating_add(ms));
        let end = match (idle.or(unmoved), absolute) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other).unwrap_or(0),
        };
        end.min(TIME_MS_MAX)
    }

    /// Whether a touch that makes the deadline `next` should be written: where no more than
    /// `percent` of the idle time is left, or it ends sooner by the absolute timeout.
    pub(crate) fn touch_is_due(self, before: u64, next: u64, percent: u8, now_ms: u64) -> bool {
        let share = self.idle_ms.unwrap_or(0) * u64::from(percent.min(100)) / 100;
        next != before && (before == 0 || next < before || before < now_ms.saturating_add(share))
    }
}

fn millis(timeout: Duration) -> u64 {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    ms.clamp(1, TIME_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60 * 1000;
    const DAY: u64 = 24 * HOUR;
    const NOW: u64 = 20_000 * DAY;

    fn hours(idle: Option<u64>, absolute: Option<u64>) -> Timeouts {
        let ms = |hours: Option<u64>| hours.map(|hours| hours * HOUR);
        Timeouts { idle_ms: ms(idle), absolute_ms: ms(absolute) }
    }

    #[test]
    fn the_earlier_of_both_ends_counts() {
        let both = hours(Some(1), Some(3));
        assert_eq!(both.deadline(0, NOW, NOW), NOW + HOUR);
        assert_eq!(both.deadline(NOW + HOUR, NOW, NOW + HOUR / 2), NOW + HOUR + HOUR / 2);
        assert_eq!(both.deadline(NOW + 3 * HOUR, NOW, NOW + 5 * HOUR / 2), NOW + 3 * HOUR);
        assert_eq!(hours(None, Some(3)).deadline(0, NOW, NOW), NOW + 3 * HOUR);
        assert_eq!(Timeouts::NONE.deadline(0, NOW, NOW), 0);
    }

    #[test]
    fn without_an_idle_timeout_a_deadline_stays_up_to_the_absolute_one() {
        assert_eq!(Timeouts::NONE.deadline(7, NOW, NOW), 7);
        assert_eq!(hours(None, Some(3)).deadline(NOW + HOUR, NOW, NOW), NOW + HOUR);
        assert_eq!(hours(None, Some(3)).deadline(NOW + DAY, NOW, NOW), NOW + 3 * HOUR);
    }

    #[test]
    fn a_clock_set_back_ends_no_session() {
        let before = NOW + HOUR;
        for back in [1, HOUR, 25 * HOUR + 1, 30 * DAY, 20_000 * DAY] {
            assert_eq!(hours(Some(1), None).deadline(before, NOW, NOW - back), before, "{back}");
        }
    }

    #[test]
    fn a_touch_is_due_when_a_share_of_the_idle_time_is_over() {
        let due = |idle_ms: u64, left: u64, percent: u8| {
            let idle = Timeouts::NONE.idle(Duration::from_millis(idle_ms));
            let before = if left == 0 { 0 } else { NOW + left };
            idle.touch_is_due(before, idle.deadline(before, NOW, NOW), percent, NOW)
        };
        assert!(!due(10 * HOUR, 10 * HOUR, 80) && !due(10 * HOUR, 8 * HOUR, 80));
        assert!(due(10 * HOUR, 8 * HOUR - 1, 80) && due(10 * HOUR, 1, 80));
        assert!(due(10 * HOUR, 0, 80), "it has no deadline yet");
        assert!(due(10 * HOUR, 10 * HOUR - 1, 100) && !due(10 * HOUR, 10 * HOUR, 200));
        assert!(!due(10 * HOUR, 1, 0) && !due(10 * HOUR, 400 * DAY, 80));
        assert!(due(50, 49, 100) && due(150, 149, 100) && !due(50, 40, 80) && due(50, 39, 80));
    }

    #[test]
    fn the_largest_numbers_do_no_harm() {
        let long = Timeouts::NONE.idle(Duration::MAX).absolute(Duration::MAX);
        assert_eq!(long.deadline(u64::MAX, u64::MAX, u64::MAX), TIME_MS_MAX);
        assert_eq!(Timeouts::from_record(long.to_record()), long);
        let own = OwnTimeouts { idle_ms: u64::MAX, absolute_ms: u64::MAX };
        assert_eq!(Timeouts::from_record(own), long);
        assert_eq!(millis(Duration::ZERO), 1);
        assert!(!long.touch_is_due(TIME_MS_MAX, TIME_MS_MAX, 255, u64::MAX));
    }
}
