//! How the pixels of a rectangle are put into bytes and got out again (RFC 6143 section 7.7). Encoders take any pixel
//! format; decoders take [`NATIVE`](super::pixel_format::PixelFormat::NATIVE), which our client asks for.

pub mod copy_rect;
mod deflater;
mod palette;
pub mod raw;
pub mod tight;
pub mod zrle;

use crate::screen::Surface;

/// Bytes that are not what the encoding says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The rectangle, or what is to be copied there, does not lie inside the screen.
    #[error("a rectangle lies outside the screen")]
    Outside,
    /// There are fewer or more bytes than the rectangle needs.
    #[error("a rectangle has {0} bytes than its pixels need")]
    Length(&'static str),
    /// A palette or a run that the rectangle can't have, or a damaged zlib stream.
    #[error("a compressed rectangle is damaged")]
    Damaged,
}

/// Whether all values are the same; several at a time, since most parts of most screens are.
fn is_solid(values: &[u32], first: u32) -> bool {
    values.chunks(64).all(|row| row.iter().fold(0, |differences, value| differences | (value ^ first)) == 0)
}

/// Pixels of a row, from `x`; fewer than `width` where the surface ends.
pub(super) fn row_part(surface: &Surface, x: u32, y: u32, width: u32) -> &[u32] {
    let row = surface.row(y);
    let start = row.len().min(x as usize);
    let end = row.len().min((x as usize).saturating_add(width as usize));
    &row[start..end]
}

/// `width` pixels of a row, from `x`, to be written.
fn row_part_mut(surface: &mut Surface, x: u32, y: u32, width: u32) -> Result<&mut [u32], DecodeError> {
    let row_width = surface.width as usize;
    let (x, width) = (x as usize, width as usize);
    if x + width > row_width {
        return Err(DecodeError::Outside);
    }
    let start = y as usize * row_width + x;
    surface.pixels.get_mut(start..start + width).ok_or(DecodeError::Outside)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::screen::Rect;

    /// A surface of noise that is the same for the same seed; `colours` of them, in runs.
    pub(crate) fn noise(seed: u64, width: u32, height: u32, colours: u32, longest_run: usize) -> Surface {
        let mut random = fastrand::Rng::with_seed(seed);
        let palette: Vec<u32> = (0..colours).map(|_| random.u32(..) & 0x00FF_FFFF).collect();
        let mut surface = Surface::new(width, height);
        let mut rest = surface.pixels.as_mut_slice();
        while !rest.is_empty() {
            let (run, others) = rest.split_at_mut(random.usize(1..=longest_run).min(rest.len()));
            run.fill(palette[random.usize(..palette.len())]);
            rest = others;
        }
        surface
    }

    /// A rectangle somewhere inside a surface.
    pub(crate) fn some_rect(random: &mut fastrand::Rng, surface: &Surface) -> Rect {
        let (x, y) = (random.u32(..surface.width), random.u32(..surface.height));
        Rect { x, y, width: random.u32(1..=surface.width - x), height: random.u32(1..=surface.height - y) }
    }

    /// The surface with everything outside the rectangle black.
    pub(crate) fn only(surface: &Surface, rect: Rect) -> Surface {
        let mut cut = Surface::new(surface.width, surface.height);
        for y in rect.y..rect.y + rect.height {
            let part = row_part(surface, rect.x, y, rect.width);
            row_part_mut(&mut cut, rect.x, y, rect.width).unwrap().copy_from_slice(part);
        }
        cut
    }
}
