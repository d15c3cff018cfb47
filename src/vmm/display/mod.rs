//! The screen: VGA with Bochs VBE, its video memory, drawing and damage.

pub mod video_memory;
