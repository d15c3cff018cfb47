//! What the options of `lodgectl create` may say of CPUs.

use std::str::FromStr;

use super::arguments::{Settings, number};
use crate::manager::definition::{MAX_VCPUS, Topology};

/// What `--vcpus` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpusArgument {
    pub count: u32,
    pub topology: Option<Topology>,
}

impl FromStr for VcpusArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "Write a number, or like 8,sockets=2,cores=2,threads=2";
        let mut parts = text.split(',');
        let count = number(parts.next().unwrap_or_default(), HOW)?;
        let mut settings = Settings::read(parts, HOW)?;
        let [sockets, cores, threads] = ["sockets", "cores", "threads"].map(|level| settings.take_number(level));
        settings.finish()?;
        let (sockets, cores, threads) = (sockets?, cores?, threads?);
        if (sockets, cores, threads) == (None, None, None) {
            return Ok(Self { count, topology: None });
        }
        // What is left out makes up the rest: cores first, as they cost a guest the least.
        let rest = |known: [Option<u32>; 2]| {
            let known = known.iter().flatten().fold(1u32, |product, &level| product.saturating_mul(level));
            count.checked_div(known).unwrap_or(1).max(1)
        };
        let cores = cores.unwrap_or_else(|| rest([sockets, threads]));
        let sockets = sockets.unwrap_or_else(|| rest([Some(cores), threads]));
        let threads = threads.unwrap_or_else(|| rest([Some(cores), Some(sockets)]));
        Ok(Self { count, topology: Some(Topology { sockets, cores, threads }) })
    }
}

/// What `--cpu` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuArgument {
    pub disabled_features: Vec<String>,
    pub nested: bool,
}

impl FromStr for CpuArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str =
            "Write like host,-avx2,-rdrand, or host,+vmx (+svm) for a guest that runs virtual machines itself";
        let mut parts = text.split(',');
        if !matches!(parts.next(), Some("host" | "host-passthrough")) {
            return Err(format!("a guest's CPU is the host's. {HOW}"));
        }
        let mut argument = Self::default();
        for part in parts {
            match (part.strip_prefix('-'), part.strip_prefix('+')) {
                (Some(feature), _) if !feature.is_empty() => argument.disabled_features.push(feature.to_owned()),
                (_, Some("vmx" | "svm")) => argument.nested = true,
                (_, Some(feature)) => return Err(format!("the guest has {feature} already if the host has it. {HOW}")),
                _ => return Err(format!("\"{part}\" is not known. {HOW}")),
            }
        }
        Ok(argument)
    }
}

/// What `--pin` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinArgument {
    pub vcpu: u32,
    pub cpus: String,
}

impl FromStr for PinArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "Write the vCPU's number and the host's CPUs, like 0=2-3";
        let (vcpu, cpus) = text.split_once('=').ok_or_else(|| format!("\"{text}\" pins nothing. {HOW}"))?;
        let vcpu = number(vcpu, HOW)?;
        if vcpu >= MAX_VCPUS {
            return Err(format!("no guest has a vCPU {vcpu}. {HOW}"));
        }
        Ok(Self { vcpu, cpus: cpus.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrangement_is_completed_from_the_number_of_vcpus() {
        let topology = |text: &str| text.parse::<VcpusArgument>().unwrap().topology;
        let levels = |sockets, cores, threads| Some(Topology { sockets, cores, threads });

        assert_eq!("4".parse(), Ok(VcpusArgument { count: 4, topology: None }));
        assert_eq!(topology("8,sockets=2,cores=2,threads=2"), levels(2, 2, 2));
        assert_eq!(topology("8,threads=2"), levels(1, 4, 2));
        assert_eq!(topology("8,sockets=2"), levels(2, 4, 1));
        assert_eq!(topology("8,cores=4"), levels(2, 4, 1));
        assert_eq!(topology("4,cores=0"), levels(1, 0, 1));
    }

    #[test]
    fn what_is_no_arrangement_is_answered_with_one_that_is() {
        for (text, wrong) in
            [("many", "many"), ("4,dies=2", "dies"), ("4,cores=2,cores=2", "twice"), ("4,cores", "number")]
        {
            let message = text.parse::<VcpusArgument>().unwrap_err();
            assert!(message.contains(wrong) && message.contains("8,sockets=2"), "{message}");
        }
    }

    #[test]
    fn features_are_taken_from_the_hosts_cpu_and_only_virtualization_is_added() {
        let parse = |text: &str| text.parse::<CpuArgument>();
        let without = |features: &[&str], nested| {
            Ok(CpuArgument { disabled_features: features.iter().map(|&name| name.to_owned()).collect(), nested })
        };

        assert_eq!(parse("host"), without(&[], false));
        assert_eq!(parse("host-passthrough,-avx2,+vmx,-rdrand"), without(&["avx2", "rdrand"], true));
        for (text, wrong) in [("Haswell", "is the host's"), ("host,+avx2", "already"), ("host,avx2", "not known")] {
            assert!(parse(text).unwrap_err().contains(wrong), "{text}");
        }
        assert!(parse("host,-").is_err());
    }

    #[test]
    fn a_vcpu_is_pinned_to_cpus_of_the_host() {
        assert_eq!("1=2-3".parse(), Ok(PinArgument { vcpu: 1, cpus: "2-3".to_owned() }));
        assert!("2-3".parse::<PinArgument>().is_err() && "4000000000=1".parse::<PinArgument>().is_err());
    }
}
