//! PCI: configuration space, BARs, the host bridge and the PIIX functions.
