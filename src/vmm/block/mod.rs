//! Disks as the devices see them: one trait over every image format.
