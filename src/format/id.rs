//! How a container keeps its sessions' ids: as they are, or as their SHA-256 (FIPS
//! 180-4), so that who reads the file, a dump or a backup cannot log in as anybody.
//!
//! It is a property of the container, in its static header. An id of 256 random bits
//! needs no salt and no slow hash: nobody can try them all. Ids that can be guessed
//! (a user's name) can be found again by trying, whatever the form.
//!
//! The hash is the portable one, without the processor's own instructions: to ask
//! whether there are any costs a process that lives for one request 15 us in a virtual
//! machine, and this 0.2 us an id.

use super::ID_LEN_MAX;

/// A SHA-256 as lower-case hexadecimal digits.
pub(crate) type Digits = [u8; 64];

/// Room for one.
pub(crate) const NO_DIGITS: Digits = [0; 64];

/// The form in which a container keeps ids.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("sessions.room");
/// use cloakroom::{Container, IdForm, Options};
///
/// let sessions = Container::create(&path, Options::new())?;
/// sessions.save("abc", &1)?;
/// assert!(sessions.contains("abc")?);
/// let (kept, _) = sessions.iter::<u64>().next().expect("it was saved")?;
/// assert!(kept.starts_with(b"ba7816bf8f01cfea414140de5dae2223"), "what the file has");
///
/// // Where ids are no secret:
/// let plain = Options::new().ids(IdForm::Plain);
/// let counters = Container::create(dir.path().join("counters.room"), plain)?;
/// counters.save("abc", &1)?;
/// let (kept, _) = counters.iter::<u64>().next().expect("it was saved")?;
/// assert_eq!(kept, b"abc");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdForm {
    /// As they are. Who reads the file can use each session as its own.
    Plain,
    /// As the 64 lower-case hexadecimal digits of their SHA-256.
    Sha256,
}

impl IdForm {
    pub(crate) fn code(self) -> u8 {
        match self {
            IdForm::Plain => 0,
            IdForm::Sha256 => 1,
        }
    }

    pub(crate) fn from_code(code: u64) -> Option<IdForm> {
        [IdForm::Plain, IdForm::Sha256].into_iter().find(|form| u64::from(form.code()) == code)
    }

    /// What is kept of an id: the id, or the digits that are put into `space`.
    #[inline]
    pub(crate) fn kept<'a>(self, id: &'a [u8], space: &'a mut Digits) -> &'a [u8] {
        match self {
            IdForm::Plain => id,
            IdForm::Sha256 => {
                write_digits(space, &hmac_sha256::Hash::hash(id));
                space
            }
        }
    }

    /// Whether a container of this form can have kept this.
    pub(crate) fn can_keep(self, id: &[u8]) -> bool {
        match self {
            IdForm::Plain => (1..=ID_LEN_MAX).contains(&id.len()),
            IdForm::Sha256 => {
                id.len() == NO_DIGITS.len()
                    && id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            }
        }
    }
}

fn write_digits(digits: &mut Digits, hash: &[u8; 32]) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}
