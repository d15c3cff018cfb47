//! A figure in a row of the list: what it is now, and how it was.

use std::cell::RefCell;

use lodge::manager::statistics::Point;

use super::view::Column;
use crate::ui::{backend::GuestView, i18n::gettext_f, widgets::graph::Graph, wording};

/// Transfers of fewer bytes a second do not fill a graph.
const LEAST_FULL: f32 = 1024.0 * 1024.0;

/// The widget of one figure.
pub struct Figure {
    /// What it is of.
    pub column: Column,
    graph: Graph,
    /// What is written and told to screen readers: of which guest, which value, and how that reads.
    told: RefCell<Told>,
}

/// See [`Figure`].
#[derive(Default)]
struct Told {
    name: String,
    /// The value's bits: what is the same reads the same.
    value: Option<u64>,
    text: String,
}

impl Figure {
    /// Without any guest.
    pub fn new(column: Column) -> Self {
        let graph = match column {
            Column::Cpu => Graph::new(112, 5),
            _ => Graph::new(64, 9),
        };
        Self { column, graph, told: RefCell::default() }
    }

    /// What is put into the row.
    pub fn widget(&self) -> &Graph {
        &self.graph
    }

    /// Whether it has its place in the guest's row: while a guest is off the first figure has none, and of one that cannot be read
    /// there is nothing to say. The others keep theirs, so that those of all guests are below each other.
    pub fn has_place(&self, view: &GuestView) -> bool {
        view.definition.is_ok() && (view.state.is_active() || self.column != Column::Cpu)
    }

    /// Shows what the guest uses now and has used; nothing while it does not run.
    pub fn show(&self, view: &GuestView, points: &[&Point]) {
        let active = view.state.is_active();
        self.graph.set_drawn(active);
        let points = if active { points } else { &[] };
        let values: Vec<f32> = points.iter().map(|point| self.value(view, point)).collect();
        let full = self.full(view, &values);
        self.graph.set_samples(values.iter().map(|value| value / full));
        self.tell(view, values.last().copied());
    }

    /// Writes and tells a value, if that is not the one that stands there.
    fn tell(&self, view: &GuestView, latest: Option<f32>) {
        let value = match self.column {
            Column::Memory => memory(view),
            _ => latest.map(|value| value.to_bits().into()),
        };
        let mut told = self.told.borrow_mut();
        if told.name == view.name && told.value == value {
            return;
        }
        let text = self.text(view, latest);
        if told.name != view.name || told.text != text {
            self.graph.set_text(&text);
            self.describe(&view.name, &text);
        }
        *told = Told { name: view.name.clone(), value, text };
    }

    fn value(&self, view: &GuestView, point: &Point) -> f32 {
        match self.column {
            Column::Cpu => {
                let vcpus = view.hardware().map_or(1, |hardware| hardware.vcpus.max(1));
                point.cpu / 100.0 / vcpus as f32
            }
            Column::Memory => point.memory as f32,
            Column::Disk => point.disk_read.saturating_add(point.disk_written) as f32,
            Column::Network => point.network_received.saturating_add(point.network_sent) as f32,
            Column::Screen => 0.0,
        }
    }

    /// The value that fills the graph.
    fn full(&self, view: &GuestView, values: &[f32]) -> f32 {
        match self.column {
            Column::Memory => memory(view).unwrap_or(1).max(1) as f32,
            Column::Disk | Column::Network => values.iter().copied().fold(LEAST_FULL, f32::max),
            Column::Cpu | Column::Screen => 1.0,
        }
    }

    fn text(&self, view: &GuestView, latest: Option<f32>) -> String {
        match (self.column, latest) {
            // What it may use is as good to know while it is off.
            (Column::Memory, _) => memory(view).map(wording::bytes).unwrap_or_default(),
            (_, None) | (Column::Screen, _) => String::new(),
            (Column::Cpu, Some(share)) => wording::percent(share.min(1.0)),
            (Column::Disk | Column::Network, Some(rate)) => wording::rate(rate as u64),
        }
    }

    fn describe(&self, name: &str, value: &str) {
        let words = [("name", name), ("share", value), ("value", value)];
        let text = match self.column {
            Column::Cpu if value.is_empty() => gettext_f("CPU graph of {name}", &words),
            Column::Cpu => gettext_f("CPU use of {name}: {share}", &words),
            Column::Memory => gettext_f("Memory graph of {name}", &words),
            Column::Disk => gettext_f("Disk transfers of {name}: {value}", &words),
            Column::Network | Column::Screen => gettext_f("Network transfers of {name}: {value}", &words),
        };
        self.graph.set_description(&text);
    }
}

fn memory(view: &GuestView) -> Option<u64> {
    view.hardware().map(|hardware| hardware.memory.bytes())
}

#[cfg(test)]
mod tests {
    use lodge::manager::size::Size;

    use super::*;
    use crate::ui::{
        backend::GuestState,
        testing::{guest_view, with_gtk},
    };

    #[test]
    fn figures_of_a_guest_that_runs_are_told_and_of_one_that_is_off_only_its_memory() {
        with_gtk(|| {
            let mut point = Point::default();
            (point.cpu, point.memory, point.disk_read, point.disk_written) = (50.0, 1 << 29, 1 << 20, 1 << 20);
            let running = GuestView { state: GuestState::Running, ..guest_view("web") };
            let text = |column, view: &GuestView| {
                let figure = Figure::new(column);
                figure.show(view, &[&Point::default(), &point]);
                figure.graph.text().replace('\u{a0}', " ")
            };

            assert_eq!(
                [Column::Cpu, Column::Memory, Column::Disk].map(|it| text(it, &running)),
                ["50%", "1.0 GiB", "2.0 MiB/s"].map(|it| it.replace(".0", ""))
            );
            // More of it from its next start changes nothing now.
            let mut waiting = GuestView { running: running.definition.clone().ok(), ..running.clone() };
            let stored = waiting.definition.as_mut().unwrap();
            (stored.vcpus, stored.memory) = (2, Size::gib(4));
            assert_eq!([Column::Cpu, Column::Memory].map(|it| text(it, &waiting)), ["50%", "1 GiB"]);
            assert_eq!(
                [Column::Cpu, Column::Memory, Column::Disk].map(|it| text(it, &guest_view("off"))),
                ["", "1 GiB", ""]
            );
        });
    }
}
