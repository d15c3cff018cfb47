//! Disks of running guests that grow.

use std::path::{Path, PathBuf};

use super::{EditError, blocking};
use crate::manager::{
    client::DiskFile,
    pool::volumes::NewSize,
    storage::{
        create::SECTOR,
        users::{same_file, users},
    },
    supervisor::Supervisor,
};

/// Makes the disk with the image at `path` larger, if a running guest writes to that; the guest sees it at once. Returns the size
/// before and now, in bytes, and `None` when no running guest has such a disk.
pub async fn grow_running(
    supervisor: &Supervisor,
    path: &Path,
    size: NewSize,
) -> Result<Option<(u64, u64)>, EditError> {
    for guest in running_users(supervisor, path).await? {
        let client = supervisor.attach(&guest).await?;
        let refused = |source| EditError::Refused { name: guest.clone(), source };
        let disks = client.disks().await.map_err(refused)?;
        let Some(DiskFile { id, size: now, .. }) = disks.into_iter().find(|disk| same_file(&disk.path, path)) else {
            continue;
        };
        let wanted = size.from(now);
        let wanted = wanted.checked_next_multiple_of(SECTOR).unwrap_or(wanted);
        if wanted < now {
            return Err(EditError::Shrinks { name: guest });
        }
        client.grow_disk(&id, wanted).await.map_err(refused)?;
        return Ok(Some((now, wanted)));
    }
    Ok(None)
}

/// The running guests that have something to do with the file.
async fn running_users(supervisor: &Supervisor, path: &Path) -> Result<Vec<String>, EditError> {
    let (library, path) = (supervisor.library().clone(), PathBuf::from(path));
    blocking(move || {
        let mut guests: Vec<String> =
            users(&library, &path).into_iter().filter(|user| user.running).map(|user| user.guest).collect();
        guests.dedup();
        Ok(guests)
    })
    .await
}
