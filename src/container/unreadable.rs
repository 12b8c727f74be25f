//! What becomes of what the medium cannot give back (EIO).
//!
//! Such a place must not stop changes of sessions that have nothing in it. Where it
//! is left out, what it holds is taken for lost, but its space for taken: it may come
//! back.

use crate::error::Result;

/// Whether an operation can do without what cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It fails.
    Fails,
    /// It goes on as if nothing were there.
    IsLeftOut,
}

impl Unreadable {
    pub(super) fn judge<T: Default>(self, result: Result<T>) -> Result<T> {
        match result {
            Err(error) if self == Unreadable::IsLeftOut && error.is_of_the_medium() => {
                Ok(T::default())
            }
            other => other,
        }
    }
}
