use super::*;

fn description() -> LaunchDescription {
    LaunchDescription {
        version: LAUNCH_VERSION,
        name: "debian".to_owned(),
        uuid: Uuid::from_u128(7),
        memory: 64 << 20,
        memory_backing: MemoryBacking { huge_pages: Some(HugePages::Size2M), ..MemoryBacking::default() },
        vcpus: 4,
        cpu: CpuConfig {
            topology: Some(Topology { sockets: 1, cores: 2, threads: 2 }),
            disabled_features: vec!["avx2".to_owned()],
            nested: true,
            pinning: vec![vec![0, 2], vec![]],
        },
        graphics: Graphics::Virtio,
        video_memory: 16 << 20,
        boot_menu: false,
        start_paused: true,
        on_poweroff: Action::Destroy,
        on_reboot: Action::Restart,
        on_crash: Action::Preserve,
        descriptors: Descriptors { kvm: 4, run_lock: 5, log: 6, exit_report: 7, control: 8, vnc: 9, serial: 10 },
        boot: Boot::Firmware(Firmware { bios: 11, vga_bios: 12 }),
        disks: vec![Disk {
            id: "disk0".to_owned(),
            bus: DiskBus::Ide,
            image: 13,
            format: DiskFormat::Qcow2,
            backing: vec![BackingImage { image: 14, format: DiskFormat::Raw, file_name: "base.img".to_owned() }],
            file_name: "debian.qcow2".to_owned(),
            read_only: false,
            bootindex: Some(1),
            serial: "LODGE1".to_owned(),
            cache: CacheMode::None,
            error_policy: WriteErrors::Stop,
            rerror_policy: ReadErrors::Stop,
            limits: Limits { bytes: Limit { rate: 1, burst: 2, burst_seconds: 3 }, ..Limits::default() },
        }],
        cdroms: vec![Cdrom {
            id: "cdrom0".to_owned(),
            medium: Some(Medium { image: 20, format: DiskFormat::Raw, file_name: "debian.iso".to_owned() }),
            bootindex: Some(2),
        }],
        networks: vec![Network {
            id: "net0".to_owned(),
            model: NetworkModel::E1000,
            mac: [0x52, 0x54, 0, 1, 2, 3],
            source: "tap=tap0".to_owned(),
            connection: Connection::Tap { interface: "tap0".to_owned(), queues: vec![15, 16] },
            link: true,
            limits: Limits { reads: Limit::of(5), ..Limits::default() },
            boot: Some(NetworkBoot { bootindex: 1, rom: 17 }),
        }],
        entropy: true,
        balloon: true,
        input: true,
        console: Some(17),
        ports: vec![Port { name: "org.qemu.guest_agent.0".to_owned(), listener: 18 }],
        clipboard: true,
        vsock: Some(Vsock { cid: 3, listener: 19 }),
        restore: Some(Restore { state: 20, consume: true }),
        listening: Some(ListeningScreen {
            gate: 21,
            address: ([127, 0, 0, 1], 5900).into(),
            has_password: true,
            tls: true,
            websocket: false,
        }),
    }
}

#[test]
fn a_description_survives_the_way_to_the_worker() {
    let description = description();

    let read = LaunchDescription::from_json(&description.to_json()).unwrap();

    assert_eq!(read, description);
}

#[test]
fn another_version_is_named_before_anything_else_is_complained_about() {
    let error = LaunchDescription::from_json(br#"{"version": 99, "novelty": true}"#).unwrap_err();

    assert!(matches!(error, LaunchError::Version { found: 99 }), "{error}");
}

#[test]
fn an_unknown_field_is_refused() {
    let mut value = serde_json::to_value(description()).unwrap();
    value["novelty"] = true.into();

    let error = LaunchDescription::from_json(value.to_string().as_bytes()).unwrap_err();

    assert!(error.to_string().contains("novelty"), "{error}");
}
