//! QMP, QEMU's JSON control protocol: messages and codec, used by the worker and the manager.
