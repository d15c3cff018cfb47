//! The verbs of `lodgectl`, one file per group.
