//! s
#![allow(clippy::unwrap_used)]
use cloakroom::*;
fn main() {
    let dir = tempfile::tempdir().unwrap();
    let p = dir.path().join("a.room");
    let c = ByteContainer::create(&p, Options::new().durability(Durability::Never)).unwrap();
    let n: u32 = std::env::args()
        .nth(1)
        .map_or(20000, |s| s.parse().unwrap());
    let t = std::time::Instant::now();
    for i in 0..n {
        c.save(
            format!("id{i}"),
            format!(
                "{{\"n\":{i},\"pad\":\"{}\"}}",
                "x".repeat((i % 1500) as usize)
            )
            .as_bytes(),
        )
        .unwrap();
    }
    println!("insert {:?}/op", t.elapsed() / n);
    let t = std::time::Instant::now();
    for i in 0..n {
        let s = c
            .load(format!("id{i}"))
            .unwrap()
            .unwrap_or_else(|| panic!("lost {i}"));
        assert!(s.value.starts_with(format!("{{\"n\":{i},").as_bytes()));
    }
    println!("load {:?}/op", t.elapsed() / n);
    c.sync().unwrap();
    let t = std::time::Instant::now();
    for r in 0..3u32 {
        for i in 0..n {
            c.save(
                format!("id{i}"),
                format!(
                    "{{\"n\":{i},\"r\":{r},\"pad\":\"{}\"}}",
                    "x".repeat(((i + r * 700) % 1500) as usize)
                )
                .as_bytes(),
            )
            .unwrap();
        }
        c.sync().unwrap();
    }
    println!("overwrite {:?}/op", t.elapsed() / (3 * n));
    println!("{:?}", c.info().unwrap());
    let r = c.check().unwrap();
    println!(
        "{:?}",
        (
            r.damage.len(),
            r.damage.get(0),
            r.notes.len(),
            r.notes.get(0),
            r.sessions,
            r.live_bytes,
            r.superseded_bytes,
            r.free_bytes
        )
    );
    assert_eq!(c.iter().map(|x| x.unwrap()).count() as u32, n);
    for i in 0..n {
        assert!(c.remove(format!("id{i}")).unwrap());
    }
    println!("{} left", c.len().unwrap());
}
