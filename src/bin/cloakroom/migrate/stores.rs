//! The two session managers of a migration, each from the file that configures it.
//!
//! Nothing is made that is not to be written to: not a source, since what is missing is a
//! mistake and no empty store, and not a target whose form of ids cannot take those of the
//! source, or that is only tried. No message repeats a value of a configuration.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cloakroom::session::{self, SessionManager};
use cloakroom::{ErrorKind, IdForm, NotAContainer};
use serde_json::{Map, Value, json};

use crate::Failure;

/// More than anybody writes by hand.
const CONFIGURATION_LEN_MAX: u64 = 1 << 20;

type Manager = Box<dyn SessionManager>;

/// What a target is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    Try,
}

/// A configuration, and the option that named it.
#[derive(Debug)]
pub(super) struct Configuration {
    option: &'static str,
    json: Value,
}

impl Configuration {
    /// Reads a file, or standard input if that is called `-`.
    pub(super) fn read(option: &'static str, path: &Path) -> Result<Configuration, Failure> {
        let wrong = |why: String| Failure::Input(format!("{option}: {why}"));
        let mut bytes = Vec::new();
        let read = if path == Path::new("-") {
            io::stdin().lock().take(CONFIGURATION_LEN_MAX + 1).read_to_end(&mut bytes)
        } else {
            let file = File::open(path);
            file.and_then(|file| file.take(CONFIGURATION_LEN_MAX + 1).read_to_end(&mut bytes))
        };
        read.map_err(|error| wrong(format!("{}: cannot read: {error}", path.display())))?;
        if bytes.len() as u64 > CONFIGURATION_LEN_MAX {
            return Err(wrong(format!("longer than {CONFIGURATION_LEN_MAX} bytes")));
        }
        // An error of syntax tells the place and quotes nothing.
        let json = serde_json::from_slice(&bytes).map_err(|error| {
            wrong(format!("not JSON (line {}, column {})", error.line(), error.column()))
        })?;
        Ok(Configuration { option, json })
    }

    /// Opens the manager to copy from, which has to be there.
    pub(super) fn source(&self) -> Result<Manager, Failure> {
        self.existing().map_err(|error| self.failure(error))
    }

    /// Opens the manager to copy to, if it can take ids of this form. One that is only tried
    /// and not there yet is an empty one in memory.
    pub(super) fn target(&self, ids: IdForm, purpose: Purpose) -> Result<Manager, Failure> {
        let (target, missing) = match self.existing() {
            Err(error) if is_missing(&error) && self.may_be_made() => (self.stand_in()?, true),
            opened => (opened.map_err(|error| self.failure(error))?, false),
        };
        if (ids, target.id_form()) == (IdForm::Sha256, IdForm::Plain) {
            return Err(Failure::Input(
                "--from keeps ids as SHA-256 and --to as they are: no id follows from its \
                 SHA-256; copy to a manager with \"ids\": \"sha256\""
                    .into(),
            ));
        }
        match purpose {
            Purpose::Write if missing => self.open(&self.json).map_err(|error| self.failure(error)),
            Purpose::Write | Purpose::Try => Ok(target),
        }
    }

    /// Opens what is there already.
    fn existing(&self) -> cloakroom::Result<Manager> {
        let mut unmade = self.json.clone();
        if let Some(options) = chosen(&mut unmade)
            && matches!(options.get("create"), None | Some(Value::Null | Value::Bool(_)))
        {
            options.insert("create".into(), Value::Bool(false));
        }
        match self.open(&unmade) {
            // The manager knows no such option, or something else is wrong: that is to be
            // said of what was given.
            Err(error) if matches!(error.kind(), ErrorKind::Configuration(_)) => {
                self.open(&self.json)
            }
            opened => opened,
        }
    }

    fn open(&self, json: &Value) -> cloakroom::Result<Manager> {
        session::open(json).map(|opened| opened.manager)
    }

    /// A manager with as many sessions as one that is missing.
    fn stand_in(&self) -> cloakroom::Result<Manager> {
        let mut json = self.json.clone();
        let ids = chosen(&mut json).and_then(|options| options.remove("ids"));
        let managers = json!({ "memory": { "ids": ids } });
        self.open(&json!({ "session": { "manager": "memory", "managers": managers } }))
    }

    fn may_be_made(&self) -> bool {
        let mut json = self.json.clone();
        let create = chosen(&mut json).and_then(|options| options.remove("create"));
        create != Some(Value::Bool(false))
    }

    fn failure(&self, error: cloakroom::Error) -> Failure {
        match error.kind() {
            ErrorKind::Configuration(_) => Failure::Input(format!("{}: {error}", self.option)),
            _ => Failure::Container(error),
        }
    }
}

/// The options of the manager that a configuration chooses.
fn chosen(json: &mut Value) -> Option<&mut Map<String, Value>> {
    let session = json.get_mut("session")?;
    let name = session.get("manager")?.as_str()?.to_owned();
    session.get_mut("managers")?.get_mut(name)?.as_object_mut()
}

/// Whether there is nothing yet.
fn is_missing(error: &cloakroom::Error) -> bool {
    match error.kind() {
        ErrorKind::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        ErrorKind::NotAContainer(why) => matches!(why, NotAContainer::Empty),
        _ => false,
    }
}
