//! The graphs of the host.

use lodge::manager::statistics::{csv, host::HostPoint};

use crate::ui::{
    backend::Backend,
    figures::{Figure, Series, Source},
    i18n::gettext,
    widgets::chart::Unit,
};

/// What is known of the host.
pub struct HostHistory {
    backend: Backend,
}

impl HostHistory {
    /// Of the host that this manager runs on.
    pub fn new(backend: &Backend) -> Self {
        Self { backend: backend.clone() }
    }
}

impl Source<HostPoint> for HostHistory {
    fn since(&self, from: u64, step: u64) -> Vec<Vec<HostPoint>> {
        self.backend.guests().with_host_history(|history| history.since(from, step))
    }

    fn latest(&self) -> Option<HostPoint> {
        self.backend.guests().with_host_history(|history| history.latest().cloned())
    }

    fn export(&self, samples: Vec<HostPoint>) -> (String, String) {
        (format!("{}.csv", gettext("host")), csv::host_file(&samples))
    }
}

/// All graphs of a host with so many bytes of memory.
pub fn all(memory: u64) -> Vec<Figure<HostPoint>> {
    let bytes = |name: String, of: fn(&HostPoint) -> u64| Series::new(name, move |point| Some(of(point) as f64));
    vec![
        Figure {
            title: gettext("CPU"),
            unit: Unit::Percent,
            top: 100.0,
            series: vec![
                Series::new(gettext("Host"), |point: &HostPoint| Some(point.cpu.into())),
                Series::new(gettext("Guests"), |point: &HostPoint| Some(point.guests_cpu.into())),
            ],
        },
        Figure {
            title: gettext("Memory in Use"),
            unit: Unit::Bytes,
            top: memory as f64,
            series: vec![
                bytes(gettext("Host"), |point| point.memory),
                bytes(gettext("Guests"), |point| point.guests_memory),
            ],
        },
        Figure {
            title: gettext("Swap Space"),
            unit: Unit::Bytes,
            top: 0.0,
            series: vec![bytes(gettext("Swapped out"), |point| point.swap)],
        },
        Figure {
            title: gettext("Memory Saved by KSM"),
            unit: Unit::Bytes,
            top: 0.0,
            series: vec![bytes(gettext("Memory saved"), |point| point.saved)],
        },
    ]
}
