//! The container: sessions by id in one file, bytes in and bytes out.
//!
//! The invariants, cited by number where they are upheld or checked:
//!  1. Every readable word of a live entry lies inside the data area and the file.
//!  2. No extent is named by two readable words of different entries, and named
//!     extents never overlap; a word whose checksum fails names nothing.
//!  3. After any kill, `cur` of every entry is a valid record of that entry's tag.
//!  4. After any power cut, among an entry's words the last acknowledged-durable
//!     version, or a later published one, is readable.
//!  5. `old` is durable or empty, and older than or equal to `cur`; `old` = `cur`
//!     says that `cur` is durable.
//!  6. An entry lies in one 64-byte line; both epochs of the file share one line;
//!     synced < write in every state of the disk.
//!  7. No write ever touches an extent that a live word names; a published record
//!     is never written to, but with the bytes that it has.
//!  8. Free means named by no live word; a bitmap may leak, never over-grant.
//!  9. Epochs never repeat in one file, nor versions of an id, whatever was rolled
//!     back.
//! 10. The synced epoch rises only by a successful sync begun after that epoch's
//!     last publish, with no other sync beside it.
//! 11. A durable save is acknowledged only when synced epoch >= its epoch.
//! 12. After a failed sync: no acknowledgement, no rise, no reuse, until rewritten
//!     and synced.
//! 13. A load returns one whole published value of exactly that id; one process
//!     never sees it go back.
//! 14. After a power cut a load returns a version in [last durable, newest
//!     published]; never one that was aborted.
//! 15. A durable removal stays; an expired session is never returned.
//! 16. Recovery and repair change no readable value, may be repeated, and may
//!     themselves be cut short at any point.
//! 17. The root line names a complete index in every state of the disk, during
//!     growth too.
//! 18. A busy line left set is redone before anything else, at every lock
//!     acquisition.
//! 19. The file in use never shrinks, and no length is believed that the file
//!     system does not confirm.
//! 20. At least one of the two static headers is valid; they are never rewritten,
//!     but with the bytes that they have, to complete an interrupted creation.
//! 21. Opening arbitrary bytes: no panic, no undefined behaviour, no hang, memory
//!     bounded; intact sessions stay readable.
//! 22. The file's size stays bounded under endless overwriting and endless kills.
//! 23. A read-only handle writes nothing and locks nothing, and works on a file
//!     that nobody closed properly.
//! 24. No bound is later than a deadline that it stands for; after a power cut, once
//!     the pass is done.
//! 25. The next version of a session has the timeouts of the one that a load returns,
//!     where that can be read and no others are given.
//! 26. In each state of the disk the id of a session that is rotated has a version that may
//!     be loaded, or a forward to a copy that is durable.
//!
//! `check` looks for breaches of those that a file at rest can show.

mod allocate;
mod background;
mod bounds;
mod busy;
mod changes;
mod check;
mod claims;
mod clock;
mod create;
mod current;
mod extend;
mod growth;
mod guard;
mod handle;
mod index;
mod info;
mod iter;
mod lines;
mod lists;
mod load;
mod nonce;
mod open;
mod open_file;
mod operate;
mod operations;
mod options;
mod pass;
mod records;
mod recovery;
mod report;
mod rewrite;
mod rotate;
#[cfg_attr(not(feature = "sabotage"), expect(unreachable_pub, reason = "tests see it"))]
pub mod rules;
mod save;
mod session;
mod source;
mod sweep;
mod sweeper;
mod sync;
mod timeouts;
mod touch;
mod trim;
mod unreadable;
mod versions;
mod writer;

pub(crate) use clock::Told;
pub use guard::Guard;
pub use handle::ByteContainer;
pub use info::Info;
pub use iter::Sessions;
pub use options::{Durability, MapPolicy, Options, SweepPolicy};
pub use report::{Finding, Report};
pub use rotate::Rotated;
pub use session::{Change, Outcome, Properties, Session, Times, Updated, Version};
pub use sweeper::{Archive, SweepEnd, Swept};
pub use timeouts::Timeouts;
pub(crate) use writer::failed;
