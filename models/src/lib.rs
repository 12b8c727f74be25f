//! Model checking of the lock-free reader: the engine's own reading code, run on a
//! file of words that loom or shuttle watch, against everything a writer does.
//!
//! There is one [`storage::File`] for all checkers; what differs is its words
//! ([`words::Words`]). loom gets the writer as a record of what the real engine
//! wrote, call by call, and tries every interleaving and every reordering that the
//! memory model allows (within a bound of preemptions). shuttle runs the real engine
//! on both sides, in long random schedules. No second reader or writer is here.
//!
//! What a handle remembers (the length last confirmed, its maps, the blocks of segments
//! that count) is no part of what loom watches: each of its readers has a handle of its
//! own, as processes have. Threads that share a handle share single words that each
//! stay true once they are: a file never shrinks, a segment that counts never moves. In
//! shuttle's schedules a reader does share its handle with a writer.
//!
//! What is assumed of a write is in [`words`]; a weaker assumption must make the
//! checkers fail, and there are tests that demand it.

pub mod explore;
pub mod oracle;
pub mod record;
pub mod scene;
pub mod schedule;
pub mod storage;
pub mod tied;
pub mod watched;
pub mod words;
