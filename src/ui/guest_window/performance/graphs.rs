//! Which graphs a guest has.

use lodge::manager::statistics::Point;

use crate::ui::{
    backend::GuestView,
    figures::{Figure, Series},
    i18n::{gettext, gettext_f},
    widgets::chart::{COLORS, Unit},
};

/// What of a guest decides which graphs it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// How many virtual CPUs are measured, where there are several.
    vcpus: usize,
    /// Its memory, in bytes.
    memory: u64,
    /// It has network cards.
    has_network: bool,
}

impl Shape {
    /// That of this guest, which was measured last so.
    pub fn of(guest: &GuestView, latest: Option<&Point>) -> Self {
        let definition = guest.hardware();
        let defined = definition.map_or(0, |definition| definition.vcpus as usize);
        let measured = latest.map(|point| point.vcpu_loads().len());
        Self {
            // One that has just ended has measured none.
            vcpus: measured.filter(|&count| count > 0).unwrap_or(if defined > 1 { defined } else { 0 }),
            memory: definition.map_or(0, |definition| definition.memory.bytes()),
            has_network: definition.is_none_or(|definition| !definition.networks.is_empty()),
        }
    }
}

/// The graphs of a guest like this.
pub fn all(shape: &Shape) -> Vec<Figure<Point>> {
    let mut figures = vec![cpu(shape)];
    if shape.vcpus > 1 {
        figures.push(vcpus(shape.vcpus));
    }
    figures.extend([memory(shape), disk_bytes(), disk_operations()]);
    if shape.has_network {
        figures.push(network());
    }
    figures.push(exits());
    figures
}

/// The whole worker, as a share of what the guest's CPUs could use.
fn cpu(shape: &Shape) -> Figure<Point> {
    let most = shape.vcpus.max(1) as f32;
    let whole = Series::new(gettext("Guest"), move |point: &Point| Some((point.cpu / most).into()));
    Figure { title: gettext("CPU"), unit: Unit::Percent, top: 100.0, series: vec![whole] }
}

fn vcpus(count: usize) -> Figure<Point> {
    let load = |index: usize| {
        let name = gettext_f("CPU {n}", &[("n", &index.to_string())]);
        Series::new(name, move |point: &Point| point.vcpu_loads().nth(index).map(f64::from))
    };
    let of_all = |name: String, of: fn(&mut dyn ExactSizeIterator<Item = f32>) -> f32| {
        Series::new(name, move |point: &Point| {
            let mut loads = point.vcpu_loads();
            (loads.len() > 0).then(|| of(&mut loads).into())
        })
    };
    let series = if count <= COLORS {
        (0..count).map(load).collect()
    } else {
        vec![
            of_all(gettext("Busiest"), |loads| loads.fold(0.0, f32::max)),
            of_all(gettext("Mean"), |loads| {
                let count = loads.len();
                loads.sum::<f32>() / count as f32
            }),
            of_all(gettext("Idlest"), |loads| loads.fold(100.0, f32::min)),
        ]
    };
    Figure { title: gettext("Virtual CPUs"), unit: Unit::Percent, top: 100.0, series }
}

fn memory(shape: &Shape) -> Figure<Point> {
    let series = vec![
        Series::new(gettext("Of the host"), |point: &Point| Some(point.memory as f64)),
        Series::new(gettext("Inside the guest"), |point: &Point| point.guest_memory.map(|bytes| bytes as f64)),
    ];
    Figure { title: gettext("Memory in Use"), unit: Unit::Bytes, top: shape.memory as f64, series }
}

fn disk_bytes() -> Figure<Point> {
    let series = vec![
        Series::new(gettext("Read"), |point: &Point| Some(point.disk_read as f64)),
        Series::new(gettext("Written"), |point: &Point| Some(point.disk_written as f64)),
    ];
    Figure { title: gettext("Disks"), unit: Unit::ByteRate, top: 0.0, series }
}

fn disk_operations() -> Figure<Point> {
    let series = vec![
        Series::new(gettext("Reads"), |point: &Point| Some(point.disk_reads.into())),
        Series::new(gettext("Writes"), |point: &Point| Some(point.disk_writes.into())),
    ];
    Figure { title: gettext("Disk Operations"), unit: Unit::Rate, top: 0.0, series }
}

fn network() -> Figure<Point> {
    let series = vec![
        Series::new(gettext("Received"), |point: &Point| Some(point.network_received as f64)),
        Series::new(gettext("Sent"), |point: &Point| Some(point.network_sent as f64)),
    ];
    Figure { title: gettext("Network"), unit: Unit::ByteRate, top: 0.0, series }
}

fn exits() -> Figure<Point> {
    let series = vec![Series::new(gettext("To the guest’s process"), |point: &Point| point.exits.map(f64::from))];
    Figure { title: gettext("Exits"), unit: Unit::Rate, top: 0.0, series }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::testing::guest_view;

    fn titles(shape: &Shape) -> Vec<String> {
        all(shape).into_iter().map(|figure| figure.title).collect()
    }

    #[test]
    fn a_guest_has_the_graphs_of_what_it_has() {
        let mut guest = guest_view("web");
        guest.definition.as_mut().unwrap().networks.clear();
        let one = titles(&Shape::of(&guest, None));
        guest.definition.as_mut().unwrap().vcpus = 4;
        let four = titles(&Shape::of(&guest, None));

        assert!(!one.contains(&"Network".to_owned()) && !one.contains(&"Virtual CPUs".to_owned()), "{one:?}");
        assert!(four.contains(&"Virtual CPUs".to_owned()), "{four:?}");
    }

    #[test]
    fn many_virtual_cpus_are_summed_up_and_few_have_a_line_each() {
        let lines = |count| vcpus(count).series.into_iter().map(|series| series.name).collect::<Vec<_>>();

        assert_eq!(lines(2), ["CPU 0", "CPU 1"]);
        assert_eq!(lines(64), ["Busiest", "Mean", "Idlest"]);
    }
}
