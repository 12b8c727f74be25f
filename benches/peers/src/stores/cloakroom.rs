//! This project's container: one handle, `Durability::Interval` of a second (fast, and lasting
//! with a thread that syncs) or `Durability::Durable`.

use std::time::Duration;

use cloakroom::{ByteContainer, Change, Durability, IdForm, Options};

use crate::stage::Outcome;
use crate::store::{Mode, Peer, Place, Processes, Store};

pub(crate) const PEER: Peer = Peer {
    name: "cloakroom",
    fast: "synced every second, by a thread where the process lives long; a power cut takes at \
           most that second, a kill nothing",
    durable: Some("one fdatasync a save"),
    processes: Processes::Many,
    version: || Some("this commit".to_owned()),
    open,
    serve: None,
};

struct Container(ByteContainer);

fn open(place: &Place, mode: Mode) -> Outcome<Box<dyn Store>> {
    let path = place.file("sessions");
    let interval = Durability::Interval(Duration::from_secs(1));
    // As the peers keep them.
    let plain = Options::new().ids(IdForm::Plain);
    let options = match mode {
        Mode::Fast => plain.durability(interval),
        Mode::Lasting => plain.durability(interval).background_sync(),
        Mode::Durable => plain.durability(Durability::Durable),
    };
    let container = if path.exists() {
        ByteContainer::open(&path, options)?
    } else {
        ByteContainer::create(&path, options)?
    };
    Ok(Box::new(Container(container)))
}

impl Store for Container {
    fn load(&mut self, id: &[u8], value: &mut Vec<u8>) -> Outcome<bool> {
        Ok(self.0.load_into(id, value)?.is_some())
    }

    fn save(&mut self, id: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.save(id, value)?;
        Ok(())
    }

    fn update(&mut self, id: &[u8], change: &mut dyn FnMut(&mut Vec<u8>)) -> Outcome<()> {
        self.0.update(id, |session| {
            let mut value = session.map(|session| session.value.to_vec()).unwrap_or_default();
            change(&mut value);
            Change::Save(value)
        })?;
        Ok(())
    }
}
