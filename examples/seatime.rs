//! scratch
use lodge::{
    manager::testcard,
    vmm::{
        block::{self, Format, Image},
        devices::serial::SerialOutput,
        machine::*,
    },
};
use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, Mutex, mpsc::channel},
    time::Instant,
};
struct Log(Arc<Mutex<Vec<(f64, f64, String)>>>, Instant, Vec<u8>);
fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = s.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}
impl Write for Log {
    fn write(&mut self, b: &[u8]) -> io::Result<usize> {
        for &c in b {
            if c == b'\n' {
                let l = String::from_utf8_lossy(&self.2).into_owned();
                self.2.clear();
                self.0.lock().unwrap().push((self.1.elapsed().as_secs_f64(), cpu(), l));
            } else {
                self.2.push(c);
            }
        }
        Ok(b.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
struct Ser(std::sync::mpsc::Sender<u8>);
impl SerialOutput for Ser {
    fn write(&mut self, b: &[u8]) {
        for c in b {
            let _ = self.0.send(*c);
        }
    }
}
fn main() {
    let t = Instant::now();
    let kvm = File::options().read(true).write(true).open("/dev/kvm").unwrap();
    let mut file = File::create_new(format!("/tmp/card/seatime.{}", std::process::id())).unwrap();
    file.write_all(testcard::image()).unwrap();
    let file = File::open(format!("/tmp/card/seatime.{}", std::process::id())).unwrap();
    let disk = block::open(Image { file, format: Format::Raw }, true, vec![]).unwrap();
    let rows = Arc::new(Mutex::new(vec![]));
    let (tx, rx) = channel();
    let img = |n: &str| File::open(n).unwrap();
    let bios = std::env::args().nth(1).unwrap_or("/usr/share/seabios/bios-256k.bin".into());
    let config = MachineConfig {
        name: "x".into(),
        uuid: uuid::Uuid::from_u128(1),
        memory: 64 << 20,
        vcpus: 1,
        firmware: Firmware { bios: img(&bios), vga_bios: img("/usr/share/seabios/vgabios-stdvga.bin") },
        video_memory: 16 << 20,
        disks: vec![DiskConfig { id: "d".into(), disk, serial: "s".into(), bootindex: Some(0) }],
        serial: Box::new(Ser(tx)),
        debug_log: Box::new(Log(rows.clone(), t, vec![])),
        boot_menu: false,
    };
    let mut m = Machine::new(kvm.into(), config, Arc::new(|e| println!("{e:?}"))).unwrap();
    println!("made {:.3}", t.elapsed().as_secs_f64());
    m.resume().unwrap();
    let mut hist: std::collections::HashMap<(String, u64), u32> = Default::default();
    if std::env::var_os("SAMPLE").is_some() {
        while rx.try_recv().is_err() {
            let r = m.registers(0).unwrap();
            let ph = rows.lock().unwrap().last().map(|r| r.2.chars().take(28).collect::<String>()).unwrap_or_default();
            *hist.entry((ph, r.cs.base + r.rip)).or_default() += 1;
            std::thread::sleep(std::time::Duration::from_micros(700));
        }
        let mut per: std::collections::HashMap<String, Vec<(u64, u32)>> = Default::default();
        for ((p, r), n) in hist {
            per.entry(p).or_default().push((r, n));
        }
        let mut v: Vec<_> = per
            .into_iter()
            .map(|(p, mut l)| {
                l.sort_by_key(|x| std::cmp::Reverse(x.1));
                (l.iter().map(|x| x.1).sum::<u32>(), p, l)
            })
            .collect();
        v.sort_by_key(|x| std::cmp::Reverse(x.0));
        for (n, p, l) in v.iter().take(12) {
            println!("{n} {p}: {}", l.iter().take(14).map(|(r, n)| format!("{r:x}={n}")).collect::<Vec<_>>().join(" "));
        }
        return;
    }
    rx.recv().unwrap();
    let (w, c) = (t.elapsed().as_secs_f64(), cpu());
    let stats = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!(
            "cat /sys/kernel/debug/kvm/{}-*/insn_emulation /sys/kernel/debug/kvm/{}-*/exits 2>/dev/null",
            std::process::id(),
            std::process::id()
        ))
        .output()
        .unwrap();
    println!("first byte wall {w:.3} cpu {c:.2} {}", String::from_utf8_lossy(&stats.stdout));
    let mut last = 0.0;
    let mut lastc = 0.0;
    for (w, c, l) in rows.lock().unwrap().iter() {
        println!("{w:7.3} +{:.3} cpu {c:.2} +{:.2} {l}", w - last, c - lastc);
        last = *w;
        lastc = *c;
    }
    let _ = std::fs::remove_file(format!("/tmp/card/seatime.{}", std::process::id()));
}
