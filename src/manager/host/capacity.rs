//! The room for disk images.

#![forbid(unsafe_code)]

use super::Finding;
use crate::{
    manager::{
        paths::Paths,
        pool::Pool,
        size::{GIB, MIB, Size},
    },
    system_error::words,
};

/// Below this much room a guest with a new disk soon stops.
const LITTLE: u64 = 5 * GIB;
/// Below this much room not even a definition is sure to be written.
const NONE: u64 = 16 * MIB;

/// How much room there is in the default pool.
pub(super) fn check(paths: &Paths) -> Finding {
    let (id, name) = ("disk-space", "Space for disks");
    let pool = Pool::default_pool(paths);
    let place = pool.folder().display();
    match pool.space() {
        Ok(space) => {
            let free = Size(space.free).approximate();
            let detail = format!("{free} of {} are free in {place}", Size(space.total).approximate());
            let mend = "Make room there, or move the library with XDG_DATA_HOME";
            match space.free {
                ..NONE => Finding::missing(id, name, detail, mend),
                NONE..LITTLE => Finding::limited(id, name, detail, mend),
                LITTLE.. => Finding::fine(id, name, detail),
            }
        }
        Err(error) => {
            Finding::missing(id, name, format!("{place}: {}", words(&error)), "Make this folder readable for you")
        }
    }
}
