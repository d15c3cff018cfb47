//! Virtio 1.2 over PCI: transport, queue helpers and one file per device.
