//! Linked clones have what their originals had, whatever becomes of either.

use std::{collections::BTreeSet, sync::PoisonError, time::Instant};

use lodge::manager::clone::{self, NewClone};

use super::{ALONE, Duration, Fixture, Home, KILLS, Model, Rng, UNIT, folder, fs, kill, qemu, step};

/// Steps of the guests' lives.
const STEPS: u64 = 150;
/// So many guests there are at most.
const GUESTS: usize = 5;

impl Fixture {
    /// A clone of the guest as it is, or of one of its snapshots.
    fn clone_linked(&self, name: &str, snapshot: Option<&String>) -> Self {
        let new = NewClone { name: name.to_owned(), linked: true, snapshot: snapshot.cloned() };
        clone::clone(&self.paths, &self.name, &new, &|_, _| true).unwrap();
        self.cloned(name, snapshot)
    }

    /// What the clone must be.
    pub fn cloned(&self, name: &str, snapshot: Option<&String>) -> Self {
        let current = snapshot.map_or(&self.model.current, |snapshot| &self.model.snapshots[snapshot]).clone();
        Self {
            name: name.to_owned(),
            paths: self.paths.clone(),
            library: self.library.clone(),
            disks: self.disks.clone(),
            snapshots: self.snapshots.clone(),
            model: Model { current, ..Model::default() },
        }
    }
}

fn assert_guests(guests: &[Fixture]) {
    guests.iter().for_each(Fixture::assert_all);
    let used: BTreeSet<_> = guests.iter().flat_map(Fixture::used).collect();
    assert_eq!(guests.first().map(Fixture::images).unwrap_or_default(), used);
}

#[test]
fn guests_that_share_images_keep_what_they_have_through_hundreds_of_steps() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = folder();
    let mut rng = Rng::with_seed(3);
    let mut guests = vec![Fixture::new(folder.path(), 5 * UNIT)];
    for number in 0..STEPS {
        let at = rng.usize(0..guests.len());
        match rng.u8(0..12) {
            0 | 1 if guests.len() < GUESTS => {
                let names: Vec<_> = guests[at].model.snapshots.keys().cloned().collect();
                let snapshot = rng.choice(&names).filter(|_| rng.bool());
                let made = guests[at].clone_linked(&format!("g{number}"), snapshot);
                guests.push(made);
            }
            2 if guests.len() > 1 => {
                let gone = guests.remove(at);
                gone.library.delete(&gone.name, true).unwrap();
                // Sometimes others are deleted, too, before it is gone for good; what they had together goes with the last.
                let with_it = rng.bool() && guests.len() > 1;
                if with_it {
                    let other = guests.pop().unwrap();
                    gone.library.delete(&other.name, true).unwrap();
                }
                gone.library.empty_trash(None).unwrap();
            }
            _ => step(&mut guests[at], &mut rng, number),
        }
        if number % 15 == 0 {
            assert_guests(&guests);
        }
    }
    for guest in &guests {
        guest.snapshots.merge(&guest.name, &|_, _| true).unwrap();
    }
    assert_guests(&guests);
    guests.iter().for_each(Fixture::assert_qemu_agrees);
    // Of the last one nothing is left that was only the others'.
    let last = guests.pop().unwrap();
    for guest in guests {
        guest.library.delete(&guest.name, true).unwrap();
    }
    last.library.empty_trash(None).unwrap();
    assert!(last.snapshots.merge(&last.name, &|_, _| true).unwrap());
    assert_guests(std::slice::from_ref(&last));
    last.library.delete(&last.name, true).unwrap();
    last.library.empty_trash(None).unwrap();
    assert_eq!(last.images(), BTreeSet::new());
}

#[test]
fn a_linked_clone_that_is_killed_is_there_or_not_and_its_original_always() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home::default();
    let mut rng = Rng::with_seed(5);
    let mut web = Fixture::new(home.path(), 16 * UNIT);
    let arguments = ["clone", "--linked", "web", "copy"];
    let (mut length, mut made) = (None, [0, 0]);
    for _ in 0..KILLS {
        web.scribble(&mut rng, 3);
        let start = Instant::now();
        match length {
            None => drop(home.done(&arguments)),
            Some(length) => kill(&home, &arguments, Duration::mul_f64(length, rng.f64() * 1.1)),
        }
        let first = length.is_none();
        let length = length.get_or_insert(start.elapsed());

        let is_there = web.library.names().unwrap().len() > 1;
        made[usize::from(is_there)] += 1;
        // However busy the machine becomes, some are made and some are not.
        if !first {
            *length = length.mul_f64(if is_there { 0.9 } else { 1.2 });
        }
        web.assert_all();
        if is_there {
            let copy = web.cloned("copy", None);
            copy.assert_all();
            assert!(home.done(&["delete", "web", "--disks"]).contains("\"copy\" uses it"));
            home.done(&["trash", "restore", "web"]);
            home.done(&["delete", "copy", "--disks", "--now"]);
        }
        home.done(&["snapshot", "merge", "web"]);
        web.assert_all();
        for path in web.images().difference(&web.used()) {
            // Whole images that were not given to a guest yet.
            assert_eq!(qemu::check(path), (0, 0));
            fs::remove_file(path).unwrap();
        }
    }
    web.assert_qemu_agrees();
    assert!(made.iter().all(|times| *times > 0), "{made:?}");
}
