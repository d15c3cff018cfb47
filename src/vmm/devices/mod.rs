//! The devices that are no PCI functions of their own: one file each.
