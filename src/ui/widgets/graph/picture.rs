//! The picture of a small graph: a line over a tinted area on a rounded ground. A list has hundreds of them, each with another
//! sample every second. So they are not drawn as paths, which cost a hundred times as much without a graphics card: of each column
//! of pixels only those at the line's edges are computed.

/// How a graph is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Its size, in logical pixels.
    pub size: (usize, usize),
    /// How many pixels of the display a logical one has in each direction.
    pub scale: usize,
    /// The line's colour: red, green, blue and opacity, 0 to 1. The area below it is a tint of it.
    pub line: [f32; 4],
    /// The ground's.
    pub ground: [f32; 4],
}

/// The line's width, in logical pixels.
const LINE: f32 = 1.5;
/// The opacity of the area below it.
const TINT: f32 = 0.2;
/// The radius of the ground's corners, in logical pixels.
const RADIUS: f32 = 4.0;
/// Room above and below for half of the line, so that 0 and 1 are drawn whole, in logical pixels.
const INSET: f32 = 1.0;

/// The pixels line after line: blue, green, red and opacity, the first three multiplied by the last one. `samples` are shares
/// between 0 and 1; the newest is at the right edge, and `capacity` of them reach the left one.
pub fn pixels(look: &Look, samples: &[f32], capacity: usize) -> Vec<u8> {
    let (width, height) = (look.size.0 * look.scale, look.size.1 * look.scale);
    let ground = look.pixel(1.0, 0.0, 0.0);
    let mut picture = vec![ground; width * height];
    let (area, line) = (look.pixel(1.0, 1.0, 0.0), look.pixel(1.0, 1.0, 1.0));
    for column in 0..width {
        let Some((above, below)) = look.line_in(column, samples, capacity) else { continue };
        let half = LINE / 2.0 * look.scale as f32;
        let (top, middle, bottom) = (above - half, (above + below) / 2.0, below + half);
        let floor = height as f32 - INSET * look.scale as f32;
        for row in (top.max(0.0) as usize)..height {
            let (upper, lower) = (row as f32, (row + 1) as f32);
            picture[row * width + column] = if upper >= top && lower <= bottom {
                line
            } else if upper >= bottom && lower <= floor {
                area
            } else {
                look.pixel(1.0, overlap(row, middle, floor), overlap(row, top, bottom))
            };
        }
    }
    look.round_corners(&mut picture, (width, height), ground);
    let mut bytes = vec![0; picture.len() * 4];
    bytes.chunks_exact_mut(4).zip(picture).for_each(|(bytes, pixel)| bytes.copy_from_slice(&pixel.to_le_bytes()));
    bytes
}

impl Look {
    /// Where the line is highest and where it is lowest in a column, in rows from the top; `None` before it begins.
    fn line_in(&self, column: usize, samples: &[f32], capacity: usize) -> Option<(f32, f32)> {
        let last = samples.len().checked_sub(1).filter(|last| *last > 0)?;
        let scale = self.scale as f32;
        let (width, height) = (self.size.0 as f32 * scale, self.size.1 as f32 * scale);
        let step = width / capacity.saturating_sub(1).max(1) as f32;
        let place = |x: f32| (x - width) / step + last as f32;
        let (from, to) = (place(column as f32).max(0.0), place((column + 1) as f32).min(last as f32));
        if to <= 0.0 {
            return None;
        }
        let value = |place: f32| {
            let (index, part) = (place as usize, place.fract());
            let next = samples.get(index + 1).unwrap_or(&samples[last]);
            samples[index.min(last)] * (1.0 - part) + next * part
        };
        let between = (from.ceil() as usize..=to.floor() as usize).map(|index| samples[index.min(last)]);
        let (least, most) = [value(from), value(to)]
            .into_iter()
            .chain(between)
            .fold((1.0_f32, 0.0_f32), |(least, most), value| (least.min(value), most.max(value)));
        let row = |value: f32| INSET * scale + (height - 2.0 * INSET * scale) * (1.0 - value);
        Some((row(most), row(least)))
    }

    /// A pixel that the ground, the area and the line cover by these shares, from the bottom to the top.
    fn pixel(&self, ground: f32, area: f32, line: f32) -> u32 {
        let mut pixel = [0.0; 4];
        let layers = [(self.ground, ground), (self.line, area * TINT), (self.line, line)];
        for ([red, green, blue, opacity], share) in layers {
            let share = opacity * share;
            for (value, color) in pixel.iter_mut().zip([blue, green, red, 1.0]) {
                *value = *value * (1.0 - share) + color * share;
            }
        }
        u32::from_le_bytes(pixel.map(|value| (value * 255.0).round() as u8))
    }

    /// Takes the ground out of the corners, where nothing is drawn on it.
    fn round_corners(&self, picture: &mut [u32], (width, height): (usize, usize), ground: u32) {
        let radius = RADIUS * self.scale as f32;
        let size = (radius as usize).min(width / 2).min(height / 2);
        for row in 0..size {
            for column in 0..size {
                let (x, y) = (radius - column as f32 - 0.5, radius - row as f32 - 0.5);
                let inside = (radius - x.hypot(y) + 0.5).clamp(0.0, 1.0);
                let pixel = self.pixel(inside, 0.0, 0.0);
                for row in [row, height - 1 - row] {
                    for column in [column, width - 1 - column] {
                        let place = &mut picture[row * width + column];
                        if *place == ground {
                            *place = pixel;
                        }
                    }
                }
            }
        }
    }
}

/// How much of a row of pixels is between two heights.
fn overlap(row: usize, top: f32, bottom: f32) -> f32 {
    let row = row as f32;
    (bottom.min(row + 1.0) - top.max(row)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: [f32; 4] = [1.0; 4];

    fn look(scale: usize) -> Look {
        Look { size: (59, 20), scale, line: WHITE, ground: [0.0; 4] }
    }

    /// The opacity of the pixels, row by row.
    fn drawn(look: &Look, samples: &[f32]) -> Vec<Vec<u8>> {
        let pixels = pixels(look, samples, 60);
        pixels.chunks(look.size.0 * look.scale * 4).map(|row| row.chunks(4).map(|pixel| pixel[3]).collect()).collect()
    }

    #[test]
    fn the_newest_sample_is_at_the_right_edge_and_a_full_history_reaches_the_left() {
        let some = drawn(&look(1), &[0.5, 0.5]);
        let full = drawn(&look(1), &[0.5; 60]);
        let painted = |rows: &[Vec<u8>], column: usize| rows.iter().any(|row| row[column] > 0);

        assert!(painted(&some, 58) && !painted(&some, 57));
        assert!((0..59).all(|column| painted(&full, column)));
    }

    #[test]
    fn the_line_is_as_high_as_its_value_and_the_area_below_it_is_tinted() {
        for scale in [1, 2] {
            let rows = drawn(&look(scale), &[0.5; 60]);
            let column: Vec<u8> = rows.iter().map(|row| row[30]).collect();

            let (above, middle, below) = (column[7 * scale], column[10 * scale], column[15 * scale]);
            assert_eq!((above, below), (0, 51), "at scale {scale}");
            assert!(middle > 150, "{middle} at scale {scale}");
        }
    }

    #[test]
    fn a_steep_line_is_not_broken() {
        let samples: Vec<f32> = (0..60).map(|index| (index % 2) as f32).collect();
        let rows = drawn(&look(1), &samples);

        assert!((0..59).all(|column| (2..18).all(|row| rows[row][column] > 200)));
    }

    #[test]
    fn the_grounds_corners_are_round() {
        let look = Look { ground: WHITE, ..look(1) };
        let rows = drawn(&look, &[]);

        assert_eq!((rows[0][0], rows[19][58], rows[0][8], rows[10][0]), (0, 0, 255, 255));
    }

    #[test]
    fn colours_are_multiplied_by_their_opacity() {
        let look = Look { ground: [1.0, 0.5, 0.0, 0.5], ..look(1) };

        assert_eq!(pixels(&look, &[], 60)[(10 * 59 + 30) * 4..][..4], [0, 64, 128, 128]);
    }
}
