//! What the desktop application and `lodgectl` share; no GTK here.

pub mod testcard;
