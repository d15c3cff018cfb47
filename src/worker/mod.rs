//! The process that runs one guest.
