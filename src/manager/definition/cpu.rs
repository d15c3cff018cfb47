//! What a guest's virtual CPUs are like, as a definition says it.
//!
//! ```toml
//! [cpu]
//! disabled_features = ["avx2"]        # names as in /proc/cpuinfo
//! nested = true                       # the guest may run virtual machines itself
//! pinning = ["0", "2-3", ""]          # for each vCPU the host's CPUs that it may run on; empty: any
//!
//! [cpu.topology]                      # their product is vcpus
//! sockets = 1
//! cores = 2
//! threads = 2
//! ```

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{Problem, Topology};
use crate::worker::launch::{CpuConfig, CpuConfigError};

/// The host's CPUs have numbers below this (Linux's largest NR_CPUS).
const HOST_CPUS: u32 = 8192;

/// The virtual CPUs: the host's CPU, but for what is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuDefinition {
    /// Features that the guest does not get, by their names in `/proc/cpuinfo`.
    #[serde(default)]
    pub disabled_features: Vec<String>,
    /// Whether the guest can run virtual machines itself.
    #[serde(default)]
    pub nested: bool,
    /// For each vCPU the host's CPUs that it may run on, as `0,2-3`. It may run on any when that is empty or missing.
    #[serde(default)]
    pub pinning: Vec<String>,
    /// Sockets, cores and threads; one socket of cores when it is left out.
    #[serde(default)]
    pub topology: Option<Topology>,
}

impl CpuDefinition {
    /// What the worker is told. Of what [`CpuDefinition::validate`] complains about, nothing is told.
    pub fn launched(&self) -> CpuConfig {
        CpuConfig {
            topology: self.topology,
            disabled_features: self.disabled_features.clone(),
            nested: self.nested,
            pinning: self.pinning.iter().map(|list| cpu_list(list).unwrap_or_default()).collect(),
        }
    }

    /// Checks it for a guest with `vcpus` vCPUs.
    pub(super) fn validate(&self, vcpus: u32, problems: &mut Vec<Problem>) {
        for (index, list) in self.pinning.iter().enumerate() {
            if cpu_list(list).is_none() {
                let message = format!("\"{list}\" is no list of CPUs. Write one like 0,2-3, or \"\" for any");
                problems.push(Problem::new(format!("cpu.pinning[{index}]"), message));
            }
        }
        let message = match self.launched().check(vcpus) {
            Ok(()) => return,
            Err(error @ CpuConfigError::Feature { .. }) => ("cpu.disabled_features", error),
            Err(error @ CpuConfigError::Pinning { .. }) => ("cpu.pinning", error),
            Err(error @ (CpuConfigError::Topology { .. } | CpuConfigError::ApicId(_))) => ("cpu.topology", error),
        };
        problems.push(Problem::new(message.0, message.1.to_string()));
    }
}

/// The numbers of a list like `0,2-3`; `None` when it is none.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|&cpu| cpu < HOST_CPUS);
    let mut cpus = Vec::new();
    for part in text.split(',').filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::definition::Definition;

    fn fields(text: &str) -> Vec<String> {
        let text = format!("version = 1\nuuid = \"{}\"\nmemory = \"1GiB\"\n{text}", uuid::Uuid::new_v4());
        match Definition::from_toml(&text, "web") {
            Ok(_) => Vec::new(),
            Err(crate::manager::definition::DefinitionError::Invalid(problems)) => {
                problems.0.into_iter().map(|problem| problem.field).collect()
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_list_of_cpus_has_numbers_and_ranges() {
        assert_eq!(cpu_list("0, 2-3,2"), Some(vec![0, 2, 3]));
        assert_eq!(cpu_list(""), Some(vec![]));
        for wrong in ["a", "3-2", "1,,2", "-1", "9000", "0-4000000000"] {
            assert_eq!(cpu_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_complaint_names_its_field() {
        let sound = "vcpus = 4\n[cpu]\nnested = true\ndisabled_features = [\"avx2\"]\npinning = [\"0-1\", \"\"]\n\
                     [cpu.topology]\nsockets = 1\ncores = 2\nthreads = 2";

        assert_eq!(fields(sound), Vec::<String>::new());
        assert_eq!(fields("vcpus = 2\n[cpu.topology]\nsockets = 1\ncores = 1\nthreads = 1"), ["cpu.topology"]);
        assert_eq!(fields("[cpu]\ndisabled_features = [\"warp\"]"), ["cpu.disabled_features"]);
        assert_eq!(fields("[cpu]\npinning = [\"0\", \"1\"]"), ["cpu.pinning"]);
        assert_eq!(fields("[cpu]\npinning = [\"zero\"]\ncores = 2"), ["cpu.cores", "cpu.pinning[0]"]);
        assert_eq!(fields("[memory_backing]\nhuge_pages = \"1GiB\"\nmergeable = true"), ["memory_backing.mergeable"]);
        assert_eq!(fields("[memory_backing]\nhuge_pages = \"2MiB\"\n"), Vec::<String>::new());
    }

    #[test]
    fn the_worker_is_told_all_of_it() {
        let topology = Some(Topology { sockets: 1, cores: 1, threads: 2 });
        let definition = CpuDefinition {
            disabled_features: vec!["avx2".into()],
            nested: true,
            pinning: vec!["1-2".into(), String::new()],
            topology,
        };

        let told = CpuConfig {
            topology,
            disabled_features: vec!["avx2".into()],
            nested: true,
            pinning: vec![vec![1, 2], vec![]],
        };
        assert_eq!(definition.launched(), told);
    }
}
