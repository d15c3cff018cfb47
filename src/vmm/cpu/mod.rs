//! Virtual CPUs: their state machine, exits, CPUID and registers.
