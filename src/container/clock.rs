//! Whether a clock is to be believed before what has expired by it is removed.
//!
//! A clock that is suddenly far ahead must not remove everybody on the word of one
//! reading: it has to say so again, a minute later. Nothing here reads a clock.

/// How far a clock may be ahead of what it told before without being doubted: a day, and
/// so much more that what is done every day is done.
const DOUBT_MS: u64 = 25 * 60 * 60 * 1000;
/// How much later it must still tell so, and by no more than it may be ahead.
const CONFIRM_MS: u64 = 60 * 1000;

/// What a clock has told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// The last time that was believed.
    pub(crate) seen_ms: u64,
    /// A much later time, which nobody has confirmed; 0: none.
    pub(crate) doubt_ms: u64,
}

impl Told {
    /// Whether `now_ms` is believed, and what was told from then on.
    pub(crate) fn hears(self, now_ms: u64) -> (bool, Told) {
        let near = now_ms <= self.seen_ms.saturating_add(DOUBT_MS);
        let about_doubt =
            (self.doubt_ms..=self.doubt_ms.saturating_add(DOUBT_MS)).contains(&now_ms);
        let confirmed = self.doubt_ms != 0 && about_doubt && now_ms - self.doubt_ms >= CONFIRM_MS;
        if near || confirmed {
            return (true, Told { seen_ms: now_ms, doubt_ms: 0 });
        }
        // A time that is far from the one in doubt confirms nothing, and is in doubt itself.
        let kept = self.doubt_ms != 0 && about_doubt;
        (false, Told { doubt_ms: if kept { self.doubt_ms } else { now_ms }, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1000;
    const NOW: u64 = 20_000 * DAY;

    #[test]
    fn a_clock_that_goes_on_is_believed() {
        let told = Told { seen_ms: NOW, doubt_ms: 0 };
        for later in [0, 1, DAY, DAY + DAY / 24] {
            let now = NOW + later;
            assert_eq!(told.hears(now), (true, Told { seen_ms: now, doubt_ms: 0 }), "{later}");
        }
        assert!(told.hears(NOW - DAY).0, "behind, it removes nobody");
    }

    #[test]
    fn a_jump_ahead_is_believed_when_it_is_told_again_a_minute_later() {
        let told = Told { seen_ms: NOW, doubt_ms: 0 };
        let jump = NOW + 100 * DAY;
        let (believed, doubting) = told.hears(jump);
        assert!(!believed);
        assert_eq!(doubting, Told { seen_ms: NOW, doubt_ms: jump });
        assert_eq!(doubting.hears(jump + CONFIRM_MS - 1), (false, doubting));
        assert!(doubting.hears(jump + CONFIRM_MS).0);
        assert!(doubting.hears(jump + DOUBT_MS).0 && !doubting.hears(jump + DOUBT_MS + 1).0);
        assert!(doubting.hears(NOW + 1).0, "it was set right");
    }

    #[test]
    fn one_wrong_time_does_not_confirm_another() {
        let doubting = Told { seen_ms: NOW, doubt_ms: NOW + 1000 * DAY };
        let other = NOW + 100 * DAY;
        assert_eq!(doubting.hears(other), (false, Told { seen_ms: NOW, doubt_ms: other }));
        let (believed, _) = Told::default().hears(u64::MAX);
        assert!(!believed);
        assert!(!Told { seen_ms: 0, doubt_ms: u64::MAX }.hears(u64::MAX).0);
    }
}
