//! The rail at the left of a snapshot's line, with a dot for the snapshot.

use std::f64::consts::TAU;

use gtk::{cairo, gdk, prelude::*};

use super::lines::Rail;

/// The width of a column, in logical pixels.
const COLUMN: i32 = 18;
/// The radius of a dot.
const DOT: f64 = 4.5;

/// Draws the rail; `here` is where the guest is now.
pub fn area(rail: Rail, here: bool) -> gtk::DrawingArea {
    let columns = i32::try_from(rail.column()).unwrap_or(0) + 1;
    let area = gtk::DrawingArea::builder().content_width(columns * COLUMN).vexpand(true).css_classes(["rail"]).build();
    area.set_accessible_role(gtk::AccessibleRole::Presentation);
    area.set_draw_func(move |area, cairo, _, height| {
        let drawn = draw(cairo, &rail, here, f64::from(height), &area.style_context().color());
        if let Err(error) = drawn {
            tracing::debug!("the rail cannot be drawn: {error}");
        }
    });
    area
}

fn draw(cairo: &cairo::Context, rail: &Rail, here: bool, height: f64, color: &gdk::RGBA) -> Result<(), cairo::Error> {
    let [red, green, blue, opacity] = [color.red(), color.green(), color.blue(), color.alpha()].map(f64::from);
    cairo.set_source_rgba(red, green, blue, opacity);
    cairo.set_line_width(2.0);
    let middle = height / 2.0;
    let line = |from: (f64, f64), to: (f64, f64)| {
        cairo.move_to(from.0, from.1);
        cairo.line_to(to.0, to.1);
    };
    for column in (0..rail.column()).filter(|column| rail.through.get(*column) == Some(&true)) {
        line((center(column), 0.0), (center(column), height));
    }
    let own = center(rail.column());
    if rail.up {
        line((own, 0.0), (own, middle));
    }
    if rail.down {
        line((own, middle), (own, height));
    }
    if rail.branches {
        line((center(rail.column().saturating_sub(1)), middle), (own, middle));
    }
    cairo.stroke()?;
    cairo.arc(own, middle, DOT, 0.0, TAU);
    cairo.fill()?;
    if here {
        cairo.arc(own, middle, DOT + 3.0, 0.0, TAU);
        cairo.stroke()?;
    }
    Ok(())
}

fn center(column: usize) -> f64 {
    f64::from(COLUMN) * (column as f64 + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing;

    #[test]
    fn a_line_with_more_branches_paints_more() {
        testing::with_gtk(|| {
            let painted = |rail: Rail| {
                let area = area(rail, false);
                area.set_content_height(40);
                testing::painted_pixels(&area)
            };

            let alone = painted(Rail::default());
            let joined = painted(Rail { through: vec![true, true], branches: true, ..Rail::default() });

            assert!(joined > alone + 100, "alone {alone}, joined {joined}");
        });
    }
}
