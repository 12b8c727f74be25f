//! The library in one page: make a container, save a typed value, load it,
//! change it under the lock.
//!
//!     cargo run --example embed

use cloakroom::{Change, Container, Options, Session};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Cart {
    user: String,
    items: Vec<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("shop.cloakroom");

    // Once, by whoever installs the site. From then on it is `open`.
    Container::create(&file, Options::new())?;
    let container = Container::open(&file, Options::new())?;

    container.save("id-of-ada", &Cart { user: "ada".into(), items: vec![] })?;

    // Other processes wait for their turn while this closure runs.
    container.update("id-of-ada", |session: Option<Session<Cart>>| match session {
        Some(Session { value: mut cart, .. }) => {
            cart.items.push("umbrella".into());
            Change::Save(cart)
        }
        None => Change::Keep, // logged out meanwhile
    })?;

    if let Some(session) = container.load::<Cart>("id-of-ada")? {
        println!("{:?}, version {}", session.value, session.version);
    }
    println!("removed: {}", container.remove("id-of-ada")?);
    println!("removed again: {}", container.remove("id-of-ada")?);
    Ok(())
}
