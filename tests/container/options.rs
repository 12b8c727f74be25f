//! What the options of a handle promise: how long it waits, when it syncs, how
//! it reads, what a new file looks like.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use cloakroom::storage::{LockName, MemoryStorage, Storage};
use cloakroom::{
    Awaited, ByteContainer, Change, Container, Durability, ErrorKind, MapPolicy, Options,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fixture::{Fixture, quick, refusal, value};
use crate::role::{self, eventually};

#[test]
fn a_handle_gives_up_at_its_deadline_and_names_the_holder() {
    let fixture = Fixture::file();
    let container = fixture.create(quick().lock_deadline(Duration::from_millis(60)));
    container.save("visitor", b"a hat").unwrap();
    let outsider = File::open(fixture.path()).unwrap();
    outsider.lock().unwrap();
    let began = Instant::now();
    let refusals = [
        refusal(container.save("visitor", b"a coat")),
        refusal(container.remove("visitor")),
        refusal(container.update("visitor", |_| Change::Remove)),
        refusal(container.sync()),
    ];
    let waited = began.elapsed();
    for kind in refusals {
        assert!(kind.to_string().contains("try again"), "{kind}");
        let ErrorKind::Busy { awaited: Awaited::Lock, holder, waited_ms } = kind else {
            panic!("{kind:?}");
        };
        assert_eq!(holder, Some(std::process::id()));
        assert!((60..1000).contains(&waited_ms), "{waited_ms} ms");
    }
    assert!(waited >= Duration::from_millis(240));
    assert_eq!(value(&container, "visitor"), b"a hat");
    outsider.unlock().unwrap();
    container.save("visitor", b"a coat").unwrap();
}

#[test]
fn who_waits_in_vain_for_a_sync_is_not_told_of_a_writer() {
    let storage = MemoryStorage::new();
    let options = quick().durability(Durability::Durable).lock_deadline(Duration::from_millis(20));
    let container = ByteContainer::create_on(Box::new(storage.share()), options).unwrap();
    assert!(storage.try_lock(LockName::Sync).unwrap());
    for kind in [refusal(container.save("visitor", b"a hat")), refusal(container.sync())] {
        let ErrorKind::Busy { awaited: Awaited::Sync, .. } = kind else {
            panic!("{kind:?}");
        };
        let text = kind.to_string();
        assert!(text.contains("sync") && text.contains("try again"), "{text}");
        assert!(!text.contains("writer") && !text.contains("lock"), "{text}");
    }
    assert!(storage.try_lock(LockName::Writer).unwrap(), "nobody writes meanwhile");
}

#[test]
fn a_thread_waits_for_another_on_the_same_handle_only_so_long() {
    let fixture = Fixture::file();
    let container = fixture.create(quick().lock_deadline(Duration::from_millis(60)));
    container
        .update("visitor", |_| {
            let kind = thread::scope(|scope| {
                let other = scope.spawn(|| refusal(container.save("another", b"")));
                other.join().unwrap()
            });
            assert!(matches!(kind, ErrorKind::Busy { .. }), "{kind:?}");
            Change::Save(b"a hat".to_vec())
        })
        .unwrap();
    container.save("another", b"a coat").unwrap();
}

#[test]
fn a_waiting_handle_goes_on_when_the_lock_is_free() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    let outsider = File::open(fixture.path()).unwrap();
    outsider.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            outsider.unlock().unwrap();
        });
        container.save("visitor", b"a hat").unwrap();
    });
}

#[test]
fn reading_waits_for_no_lock() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    container.save("visitor", b"a hat").unwrap();
    let outsider = File::open(fixture.path()).unwrap();
    outsider.lock().unwrap();
    for handle in [container, fixture.open_read_only(Options::new())] {
        assert_eq!(value(&handle, "visitor"), b"a hat");
        assert_eq!(handle.iter().count(), 1);
        assert_eq!(handle.len().unwrap(), 1);
        assert!(handle.check().unwrap().is_sound());
        handle.info().unwrap();
        // A handle that is dropped needs no lock either.
        let began = Instant::now();
        drop(handle);
        assert!(began.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn a_durable_save_costs_one_sync_and_never_under_the_lock() {
    let fixture = Fixture::simulated();
    let container = fixture.create(Options::new().durability(Durability::Durable));
    container.save("visitor", b"a hat").unwrap();
    let before = fixture.disk().syncs();
    let before_under_lock = fixture.disk().syncs_under_lock();
    for number in 0..50u8 {
        container.save("visitor", &[number]).unwrap();
        let info = container.info().unwrap();
        assert!(info.synced_epoch + 1 >= info.write_epoch);
    }
    assert_eq!(fixture.disk().syncs() - before, 50);
    assert_eq!(fixture.disk().syncs_under_lock(), before_under_lock);
    // What changes nothing needs no sync.
    container.remove("another").unwrap();
    container.update("visitor", |_| Change::Keep).unwrap();
    let _ = container.replace("another", b"").unwrap();
    assert_eq!(fixture.disk().syncs() - before, 50);
}

#[test]
fn an_interval_handle_syncs_once_an_interval() {
    let fixture = Fixture::simulated();
    let interval = Duration::from_secs(1);
    let container = fixture.create(Options::new().durability(Durability::Interval(interval)));
    container.save("visitor", b"a hat").unwrap();
    let before = fixture.disk().syncs();
    for _ in 0..100 {
        container.save("visitor", b"a coat").unwrap();
    }
    assert_eq!(fixture.disk().syncs(), before);
    for round in 1..=5 {
        fixture.disk().advance(interval);
        for _ in 0..20 {
            container.save("visitor", b"a cane").unwrap();
        }
        assert_eq!(fixture.disk().syncs(), before + round);
    }
}

#[test]
fn a_handle_that_never_syncs_does_not() {
    let fixture = Fixture::simulated();
    let container = fixture.create(Options::new().durability(Durability::Never));
    container.save("visitor", b"a hat").unwrap();
    let before = fixture.disk().syncs();
    for _ in 0..100 {
        fixture.disk().advance(Duration::from_secs(10));
        container.save("visitor", b"a coat").unwrap();
    }
    assert_eq!(fixture.disk().syncs(), before);
    container.sync().unwrap();
    assert!(fixture.disk().syncs() > before);
}

#[test]
fn a_background_thread_syncs_when_nobody_saves_any_more() {
    let fixture = Fixture::file();
    let interval = Durability::Interval(Duration::from_millis(20));
    let options = Options::new().durability(interval).background_sync();
    let container = fixture.create(options);
    for number in 0..20u8 {
        container.save([number], b"x").unwrap();
    }
    let epoch = container.info().unwrap().write_epoch;
    eventually("synced", || container.info().unwrap().synced_epoch + 1 >= epoch);
    // Dropping it ends the thread at once, whatever the interval.
    drop(container);
    let slow = Durability::Interval(Duration::from_secs(3600));
    let container = fixture.open(Options::new().durability(slow).background_sync());
    container.save("visitor", b"a hat").unwrap();
    let began = Instant::now();
    drop(container);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn where_there_is_no_room_for_a_thread_savers_sync() {
    let fixture = Fixture::file();
    drop(fixture.create(quick()));
    let path = fixture.path();
    role::finish(role::command("crowded", &[path.as_os_str()]).spawn().unwrap());
}

/// Role: has no address space left for the stack of a thread.
pub(crate) fn crowded() {
    let size = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = size.split(' ').next().unwrap().parse().unwrap();
    let current = Some(pages * 4096 + (1 << 20));
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
    assert!(std::thread::Builder::new().spawn(|| ()).is_err(), "a thread has room");
    let interval = Durability::Interval(Duration::from_millis(1));
    let options = Options::new().durability(interval).background_sync();
    let container = ByteContainer::open(&role::arguments()[0], options).unwrap();
    // The first save may recover, which syncs.
    container.save("first", b"x").unwrap();
    let before = container.info().unwrap().synced_epoch;
    for number in 0..20u8 {
        container.save([number], b"x").unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let info = container.info().unwrap();
    assert!(info.synced_epoch > before + 5, "from {before} on: {info:?}");
}

#[test]
fn a_handle_that_is_dropped_beside_a_stopped_writer_waits_for_nothing() {
    let fixture = Fixture::file();
    let container = fixture.create(quick());
    // Long enough to keep an extent for the next save.
    for number in 0..200u8 {
        container.save("visitor", &[number]).unwrap();
    }
    let mut container = Some(container);
    let other = fixture.open(quick());
    let waited = other.update("another", |_| {
        let began = Instant::now();
        let container = container.take().unwrap();
        thread::spawn(|| drop(container)).join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        Change::Keep
    });
    waited.unwrap();
}

#[test]
fn mapped_and_unmapped_handles_read_the_same() {
    let fixture = Fixture::file();
    let writer = fixture.create(quick());
    let mapped = fixture.open(quick().map(MapPolicy::AfterLoads(0)));
    let later = fixture.open_read_only(quick().map(MapPolicy::AfterLoads(100)));
    for number in 0..2000u32 {
        // The file grows far beyond what was mapped at first.
        let value = number.to_le_bytes().repeat((number % 900) as usize);
        writer.save(number.to_le_bytes(), &value).unwrap();
        let asked = number / 2;
        let value = asked.to_le_bytes().repeat((asked % 900) as usize);
        for handle in [&writer, &mapped, &later] {
            let found = handle.load(asked.to_le_bytes()).unwrap().unwrap();
            assert!(found.value == value);
        }
    }
}

#[test]
fn a_new_file_has_the_mode_asked_for() {
    for (options, mode) in [(quick(), 0o600), (quick().mode(0o660), 0o660)] {
        let fixture = Fixture::file();
        drop(fixture.create(options));
        let permissions = fs::metadata(fixture.path()).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, mode);
    }
}

#[test]
fn a_file_made_beforehand_is_initialised_with_the_mode_it_has() {
    for content in [vec![], vec![0; 10], vec![0; 1 << 20]] {
        let fixture = Fixture::file();
        fs::write(fixture.path(), &content).unwrap();
        fs::set_permissions(fixture.path(), fs::Permissions::from_mode(0o644)).unwrap();
        let container = fixture.create(quick());
        container.save("visitor", b"a hat").unwrap();
        let permissions = fs::metadata(fixture.path()).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o7777, 0o644);
        for number in 0..3000u32 {
            container.save(number.to_le_bytes(), b"x").unwrap();
        }
    }
}

#[test]
fn handles_may_be_sent_and_shared() {
    fn check<T: Send + Sync>() {}
    check::<ByteContainer>();
    check::<Container>();
}
