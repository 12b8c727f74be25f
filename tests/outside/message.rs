//! What processes tell about their operations, outside the container.
//!
//! All processes of a run share one pipe. Each message is one small write, so
//! none is torn by a kill, and the pipe's order is one that happened: what was
//! told as done before another operation was told as begun was done before it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum What {
    /// The container is open.
    Ready,
    /// `create` returned.
    Created,
    /// A save of this number begins; a removal; a touch.
    Saves,
    Removes,
    Touches,
    /// The operation of this number returned, with this promise.
    Done,
    Durable,
    /// A counter is about to be raised; it was, to this number.
    Counts,
    Counted,
    CountedDurably,
    /// A sync of the whole container begins; it returned.
    Syncs,
    Synced,
    /// An operation failed. What was wrong is on standard error.
    Failed,
    /// Something was read that must not be. Likewise.
    Wrong,
    /// From the parent: from here on the disk may fail.
    Cut,
}

const ALL: [What; 15] = [
    What::Ready,
    What::Created,
    What::Saves,
    What::Removes,
    What::Touches,
    What::Done,
    What::Durable,
    What::Counts,
    What::Counted,
    What::CountedDurably,
    What::Syncs,
    What::Synced,
    What::Failed,
    What::Wrong,
    What::Cut,
];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) what: What,
    pub(crate) writer: u8,
    pub(crate) key: u16,
    pub(crate) number: u32,
}

pub(crate) const SIZE: usize = 8;

impl Message {
    pub(crate) fn encode(self) -> [u8; SIZE] {
        let [k0, k1] = self.key.to_le_bytes();
        let [n0, n1, n2, n3] = self.number.to_le_bytes();
        [self.what as u8, self.writer, k0, k1, n0, n1, n2, n3]
    }

    fn decode(bytes: [u8; SIZE]) -> Message {
        let [what, writer, k0, k1, n0, n1, n2, n3] = bytes;
        Message {
            what: ALL[usize::from(what)],
            writer,
            key: u16::from_le_bytes([k0, k1]),
            number: u32::from_le_bytes([n0, n1, n2, n3]),
        }
    }
}

/// The pipe, as the parent holds it.
#[derive(Debug)]
pub(crate) struct Ear {
    reader: File,
    writer: OwnedFd,
}

impl Ear {
    pub(crate) fn new() -> Ear {
        let (reader, writer) = io::pipe().unwrap();
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        // Room for all that a round may tell: nobody listens while it lasts.
        rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap();
        rustix::io::ioctl_fionbio(&reader, true).unwrap();
        Ear { reader: File::from(reader), writer }
    }

    /// An end for a process to tell by.
    pub(crate) fn mouth(&self) -> OwnedFd {
        self.writer.try_clone().unwrap()
    }

    pub(crate) fn tell(&self, what: What) {
        let message = Message { what, writer: 0, key: 0, number: 0 };
        rustix::io::write(&self.writer, &message.encode()).unwrap();
    }

    /// Waits until something was told. False if that takes too long.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        let longest = Timespec::try_from(longest).unwrap();
        let mut polled = [PollFd::new(&self.reader, PollFlags::IN)];
        poll(&mut polled, Some(&longest)).is_ok_and(|ready| ready > 0)
    }

    /// All that was told and not yet heard.
    pub(crate) fn listen(&mut self) -> Vec<Message> {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            other => panic!("the pipe ended: {other:?}"),
        }
        let (messages, rest) = bytes.as_chunks::<SIZE>();
        assert!(rest.is_empty(), "half a message");
        messages.iter().map(|message| Message::decode(*message)).collect()
    }
}

/// The pipe, as a process has it: instead of standard input, which is the one
/// descriptor besides output and error that a child can be given.
#[derive(Debug)]
pub(crate) struct Mouth {
    pipe: File,
    writer: u8,
}

impl Mouth {
    pub(crate) fn new(writer: u8) -> Mouth {
        Mouth::on(io::stdin().as_fd().try_clone_to_owned().unwrap(), writer)
    }

    pub(crate) fn on(pipe: OwnedFd, writer: u8) -> Mouth {
        Mouth { pipe: File::from(pipe), writer }
    }

    pub(crate) fn tell(&mut self, what: What, key: u16, number: u32) {
        let message = Message { what, writer: self.writer, key, number };
        self.pipe.write_all(&message.encode()).unwrap();
    }
}
