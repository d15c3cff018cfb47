//! What a guest's vCPUs are to be like.

#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::{
    features::{Feature, similar_to},
    topology::Topology,
};

/// The largest APIC ID that a local APIC's 8 bits hold; 255 means all of them.
const MAX_APIC_ID: u32 = 254;

/// The vCPUs: the host's CPU, but for what is said here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuConfig {
    /// Sockets, cores and threads; one socket of cores when it is left out.
    #[serde(default)]
    pub topology: Option<Topology>,
    /// Features that the guest does not get, by their names in `/proc/cpuinfo`.
    #[serde(default)]
    pub disabled_features: Vec<String>,
    /// Whether the guest can run virtual machines itself.
    #[serde(default)]
    pub nested: bool,
    /// For each vCPU the host's CPUs that it may run on. It may run on any when its list is empty or missing.
    #[serde(default)]
    pub pinning: Vec<Vec<u32>>,
}

/// What is wrong with a [`CpuConfig`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuConfigError {
    /// The levels do not make up the number of vCPUs.
    #[error(
        "{sockets} sockets of {cores} cores of {threads} threads do not make {vcpus} vCPUs. make their product {vcpus}"
    )]
    Topology {
        /// Sockets asked for.
        sockets: u32,
        /// Cores of each.
        cores: u32,
        /// Threads of each.
        threads: u32,
        /// vCPUs of the guest.
        vcpus: u32,
    },
    /// The topology leaves gaps in the APIC IDs, and they are used up.
    #[error(
        "this topology needs APIC IDs up to {0}, more than {MAX_APIC_ID}. use powers of two for cores and threads, or \
         fewer vCPUs"
    )]
    ApicId(u32),
    /// There is no feature of that name.
    #[error("there is no CPU feature {name}{}. use a name of /proc/cpuinfo", hint(similar))]
    Feature {
        /// The name.
        name: String,
        /// Names like it.
        similar: Vec<&'static str>,
    },
    /// More vCPUs are pinned than there are.
    #[error("{pinned} vCPUs are pinned but there are only {vcpus}. remove the last entries")]
    Pinning {
        /// Entries for vCPUs.
        pinned: usize,
        /// vCPUs of the guest.
        vcpus: u32,
    },
}

fn hint(similar: &[&str]) -> String {
    match similar {
        [] => String::new(),
        names => format!(" (like it are {})", names.join(", ")),
    }
}

impl CpuConfig {
    /// The arrangement of `vcpus` vCPUs.
    pub fn topology(&self, vcpus: u32) -> Topology {
        self.topology.unwrap_or(Topology::cores(vcpus))
    }

    /// The APIC IDs of `vcpus` vCPUs, by their indices.
    pub fn apic_ids(&self, vcpus: u32) -> Vec<u32> {
        let topology = self.topology(vcpus);
        (0..vcpus).map(|index| topology.apic_id(index)).collect()
    }

    /// The features to take away.
    pub fn removed_features(&self) -> Result<Vec<Feature>, CpuConfigError> {
        let virtualization = if self.nested { &[][..] } else { &["vmx", "svm"] };
        let names = self.disabled_features.iter().map(String::as_str).chain(virtualization.iter().copied());
        let feature = |name: &str| {
            let unknown = || CpuConfigError::Feature { name: name.to_owned(), similar: similar_to(name) };
            Feature::named(name).ok_or_else(unknown)
        };
        names.map(feature).collect()
    }

    /// Checks it for a guest of `vcpus` vCPUs.
    pub fn check(&self, vcpus: u32) -> Result<(), CpuConfigError> {
        if let Some(topology) = self.topology
            && topology.vcpus() != Some(vcpus)
        {
            let Topology { sockets, cores, threads } = topology;
            return Err(CpuConfigError::Topology { sockets, cores, threads, vcpus });
        }
        match self.topology(vcpus).apic_id(vcpus.saturating_sub(1)) {
            last if last > MAX_APIC_ID => return Err(CpuConfigError::ApicId(last)),
            _ => {}
        }
        if self.pinning.len() > vcpus as usize {
            return Err(CpuConfigError::Pinning { pinned: self.pinning.len(), vcpus });
        }
        self.removed_features().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(sockets: u32, cores: u32, threads: u32) -> CpuConfig {
        CpuConfig { topology: Some(Topology { sockets, cores, threads }), ..CpuConfig::default() }
    }

    #[test]
    fn the_levels_must_make_up_the_vcpus() {
        assert_eq!(topology(2, 2, 2).check(8), Ok(()));
        for (config, vcpus) in [(topology(2, 2, 2), 4), (topology(0, 2, 2), 4), (topology(u32::MAX, u32::MAX, 2), 4)] {
            assert!(matches!(config.check(vcpus), Err(CpuConfigError::Topology { .. })), "{config:?}");
        }
    }

    #[test]
    fn gaps_must_leave_room_for_all_vcpus() {
        assert_eq!(CpuConfig::default().check(254), Ok(()));
        assert_eq!(topology(50, 5, 1).check(250), Err(CpuConfigError::ApicId(396)));
    }

    #[test]
    fn an_unknown_feature_is_answered_with_those_like_it() {
        let config = CpuConfig { disabled_features: vec!["avx3".to_owned()], ..CpuConfig::default() };

        let message = config.check(1).unwrap_err().to_string();

        assert!(message.starts_with("there is no CPU feature avx3 (like it are avx, avx2, "), "{message}");
    }

    #[test]
    fn virtualization_is_taken_away_unless_it_is_asked_for() {
        let nested = CpuConfig { nested: true, ..CpuConfig::default() };

        assert_eq!(CpuConfig::default().removed_features().unwrap().len(), 2);
        assert_eq!(nested.removed_features().unwrap(), []);
    }

    #[test]
    fn there_cannot_be_more_places_than_vcpus() {
        let config = CpuConfig { pinning: vec![vec![0], vec![], vec![1]], ..CpuConfig::default() };

        assert_eq!(config.check(3), Ok(()));
        assert_eq!(config.check(2), Err(CpuConfigError::Pinning { pinned: 3, vcpus: 2 }));
    }
}
