//! `lodgectl host`: what this computer can do for guests.

use clap::{Args, Subcommand};

use super::{CliError, Result, context::Context};
use crate::manager::{
    host::{self, Verdict},
    size::Size,
};

#[derive(Debug, Subcommand)]
pub(super) enum HostVerb {
    /// Look at everything that guests need, and say how to mend what is missing
    Check(HostArguments),
    /// Show this computer in figures
    Info(HostArguments),
}

#[derive(Debug, Args)]
pub(super) struct HostArguments {
    /// Write JSON, for programs
    #[arg(long)]
    json: bool,
}

impl HostVerb {
    pub fn run(&self, context: &Context) -> Result {
        match self {
            Self::Check(arguments) => check(context, arguments.json),
            Self::Info(arguments) => info(context, arguments.json),
        }
    }
}

/// Exit status 1 when guests cannot run here.
fn check(context: &Context, json: bool) -> Result {
    let findings = host::check(context.paths());
    if json {
        context.output.json(&findings)?;
    } else {
        let rows: Vec<_> = findings
            .iter()
            .map(|finding| [finding.name.clone(), finding.verdict.word().to_owned(), finding.detail.clone()])
            .collect();
        context.output.table(["WHAT", "HOW", "FOUND"], &rows)?;
        for finding in findings.iter().filter(|finding| !finding.mend.is_empty()) {
            context.output.line(format!("\n{}: {}.", finding.name, finding.mend))?;
        }
    }
    let missing = findings.iter().any(|finding| finding.verdict == Verdict::Missing);
    if missing { Err(CliError::Told) } else { Ok(()) }
}

fn info(context: &Context, json: bool) -> Result {
    let info = host::info(context.paths());
    if json {
        return context.output.json(&info);
    }
    let size = |bytes: u64| Size(bytes).approximate();
    let list = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    context.output.pairs(&[
        ("Name", info.hostname),
        ("Kernel", info.kernel),
        ("CPU", info.cpu_model),
        ("CPUs", info.cpus.to_string()),
        ("Most vCPUs of a guest", info.max_vcpus.to_string()),
        ("Memory", format!("{} ({} available)", size(info.memory_total), size(info.memory_available))),
        ("Library", info.data.display().to_string()),
        ("Space for disks", format!("{} free", size(info.disk_free))),
        ("Bridges for guests", list(info.bridges)),
        ("TAPs for guests", list(info.taps)),
    ])
}
