//! Ids as arguments: text as it is, or any bytes as hexadecimal digits; and in the
//! form that `ls` shows, where the container keeps them as SHA-256.
//!
//! They are checked before anything is done, so that a wrong one among several stops the
//! command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use cloakroom::{ByteContainer, ErrorKind, IdForm, Options};

use crate::Failure;
use crate::escape::unhex;

/// How the ids are given.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct IdArguments {
    /// Take the ID as hexadecimal digits, two for each byte
    #[arg(long)]
    hex: bool,
    /// Take the ID as the container keeps it and `ls` shows it, not as visitors have it
    #[arg(long)]
    kept: bool,
}

impl IdArguments {
    /// The options of a handle that takes such ids.
    pub(crate) fn options(self) -> Options {
        if self.kept { Options::new().kept_ids() } else { Options::new() }
    }

    /// The form of the ids that are given.
    pub(crate) fn form(self, container: &ByteContainer) -> IdForm {
        if self.kept { container.id_form() } else { IdForm::Plain }
    }

    /// Refuses an id that the container cannot have kept, before anything is done.
    pub(crate) fn check_kept(
        self,
        container: &ByteContainer,
        ids: &[Vec<u8>],
    ) -> Result<(), Failure> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_wrong = |id: &&Vec<u8>| id.len() != 64 || !id.iter().all(is_digit);
        if self.kept
            && container.id_form() == IdForm::Sha256
            && let Some(wrong) = ids.iter().find(is_wrong)
        {
            return Err(Failure::Container(ErrorKind::InvalidId { len: wrong.len() }.into()));
        }
        Ok(())
    }

    /// The id that an argument stands for.
    pub(crate) fn parse(self, argument: &OsStr) -> Result<Vec<u8>, Failure> {
        let bytes = argument.as_bytes();
        let id = if self.hex {
            unhex(bytes).ok_or_else(|| Failure::Input("the ID is not hexadecimal".into()))?
        } else {
            bytes.to_vec()
        };
        match id.len() {
            1..=ByteContainer::ID_LEN_MAX => Ok(id),
            len => Err(Failure::Container(ErrorKind::InvalidId { len }.into())),
        }
    }

    /// The ids that the arguments stand for.
    pub(crate) fn parse_all(self, arguments: &[OsString]) -> Result<Vec<Vec<u8>>, Failure> {
        arguments.iter().map(|argument| self.parse(argument)).collect()
    }
}
