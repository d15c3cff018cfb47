//! Commands that ask: `query-status`, `query-name`, `query-uuid`, `query-cpus-fast`, `query-block`, `query-blockstats`.

use serde_json::{Map, Value};

use super::{Driver, Error, answer, no_arguments};
use crate::{
    qmp::{
        arguments,
        types::{
            BlockDeviceInfo, BlockInfo, BlockStats, BlockdevCacheInfo, CpuInfoFast, CpuInstanceProperties, ImageInfo,
            NameInfo, StatusInfo, ThrottleLimits, UuidInfo,
        },
    },
    vmm::{devices::ide::TrayInfo, machine::CdromInfo},
    worker::{
        guest::{GuestDisk, Media},
        launch::DiskBus,
        machine::{DiskFigures, counters},
    },
};

pub(super) fn query_status(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let status = driver.state();
    answer(StatusInfo { running: status.is_running(), singlestep: false, status, reason: driver.reason() })
}

pub(super) fn query_name(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    answer(NameInfo { name: Some(driver.guest().name.clone()) })
}

pub(super) fn query_uuid(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    answer(UuidInfo { uuid: driver.guest().uuid })
}

pub(super) fn query_cpus_fast(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let vcpus = driver.machine().vcpus().into_iter();
    let infos = vcpus.map(|vcpu| CpuInfoFast {
        cpu_index: vcpu.index,
        qom_path: format!("/machine/cpu[{}]", vcpu.index),
        thread_id: vcpu.thread_id.into(),
        props: CpuInstanceProperties {
            socket_id: vcpu.place.socket,
            core_id: vcpu.place.core,
            thread_id: vcpu.place.thread,
        },
        target: "x86_64".to_owned(),
    });
    answer(infos.collect::<Vec<_>>())
}

/// The arguments of `query-blockstats`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BlockstatsArguments {
    /// Whether nodes are asked for instead of disks. Each disk is its own only node, so it makes no difference.
    #[serde(rename = "query-nodes")]
    _query_nodes: Option<bool>,
}

pub(super) fn query_block(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    no_arguments(arguments)?;
    let mut infos: Vec<_> = disks(driver)
        .into_iter()
        .map(|(disk, figures)| BlockInfo {
            device: disk.id.clone(),
            qdev: Some(device_path(disk)),
            kind: "unknown".to_owned(),
            removable: false,
            locked: false,
            tray_open: None,
            inserted: Some(block_device_info(disk, &figures)),
            io_status: Some(io_status(&figures).to_owned()),
        })
        .collect();
    let drives = driver.machine().cdroms();
    infos.extend(drives.into_iter().map(|drive| cdrom_info(drive, driver.media())));
    answer(infos)
}

fn cdrom_info(drive: CdromInfo, media: &Media) -> BlockInfo {
    let TrayInfo { open, locked, capacity } = drive.tray.info();
    let figures = |capacity| DiskFigures { capacity, ..DiskFigures::default() };
    let medium = media.get(&drive.id).zip(capacity.map(figures));
    BlockInfo {
        qdev: Some(drive_path(&drive.id)),
        device: drive.id,
        kind: "unknown".to_owned(),
        removable: true,
        locked,
        tray_open: Some(open),
        inserted: medium.map(|(medium, figures)| block_device_info(medium, &figures)),
        io_status: Some("ok".to_owned()),
    }
}

pub(super) fn query_blockstats(driver: &mut Driver, arguments: Map<String, Value>) -> Result<Value, Error> {
    let BlockstatsArguments { .. } = arguments::parse(arguments)?;
    let stats = disks(driver).into_iter().map(|(disk, figures)| BlockStats {
        device: disk.id.clone(),
        qdev: Some(device_path(disk)),
        node_name: disk.id.clone(),
        stats: figures.counters,
    });
    let drives = driver.machine().cdroms().into_iter().map(|drive| BlockStats {
        qdev: Some(drive_path(&drive.id)),
        node_name: drive.id.clone(),
        stats: counters(&drive.statistics),
        device: drive.id,
    });
    answer(stats.chain(drives).collect::<Vec<_>>())
}

/// The disks with their figures.
pub(super) fn disks(driver: &Driver) -> Vec<(&GuestDisk, DiskFigures)> {
    driver.guest().disks.iter().map(|disk| driver.disk_now(disk)).zip(driver.machine().disks()).collect()
}

fn io_status(figures: &DiskFigures) -> &'static str {
    match &figures.trouble {
        None => "ok",
        Some(error) if error.full => "nospace",
        Some(_) => "failed",
    }
}

fn device_path(disk: &GuestDisk) -> String {
    match disk.bus {
        DiskBus::Virtio => format!("/machine/peripheral/{}/virtio-backend", disk.id),
        DiskBus::Ide => drive_path(&disk.id),
    }
}

fn drive_path(id: &str) -> String {
    format!("/machine/peripheral/{id}")
}

fn block_device_info(disk: &GuestDisk, figures: &DiskFigures) -> BlockDeviceInfo {
    BlockDeviceInfo {
        file: disk.file_name.clone(),
        node_name: disk.id.clone(),
        ro: disk.read_only,
        drv: disk.format.to_owned(),
        backing_file_depth: disk.backing_depth,
        encrypted: false,
        detect_zeroes: "off".to_owned(),
        throttle: ThrottleLimits::from(&figures.limits),
        image: ImageInfo {
            filename: disk.file_name.clone(),
            format: disk.format.to_owned(),
            virtual_size: figures.capacity,
            actual_size: disk.actual_size(),
        },
        cache: BlockdevCacheInfo { writeback: true, direct: false, no_flush: false },
        write_threshold: 0,
    }
}
