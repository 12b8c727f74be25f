//! The stores, and which of them are measured.

mod cloakroom;
mod files;
mod gdbm;
mod lmdb;
mod redb;
mod redis;
mod sqlite;
mod tdb;
mod tkrzw;

use crate::stage::Outcome;
use crate::store::Peer;

/// cloakroom first: the others are compared with it.
static PEERS: [Peer; 10] = [
    cloakroom::PEER,
    tdb::PEER,
    lmdb::PEER,
    lmdb::WRITE_MAP,
    sqlite::PEER,
    gdbm::PEER,
    tkrzw::PEER,
    redb::PEER,
    files::PEER,
    redis::PEER,
];

/// Those that are installed, and named in `CLOAKROOM_PEERS` if that is set.
pub(crate) fn chosen() -> Outcome<Vec<&'static Peer>> {
    let wanted = std::env::var("CLOAKROOM_PEERS").ok();
    let wanted: Option<Vec<&str>> = wanted.as_deref().map(|names| names.split(',').collect());
    let mut chosen = Vec::new();
    for peer in &PEERS {
        let named = wanted.as_ref().is_none_or(|names| names.contains(&peer.name));
        if !named && peer.name != PEERS[0].name {
            continue;
        }
        match (peer.version)() {
            Some(_) => chosen.push(peer),
            None => eprintln!("not run: {}, which is not installed", peer.name),
        }
    }
    Ok(chosen)
}

pub(crate) fn named(name: &str) -> Outcome<&'static Peer> {
    Ok(PEERS.iter().find(|peer| peer.name == name).ok_or(format!("no store {name}"))?)
}
