//! An idle backend costs no processor time.

#[cfg(target_os = "linux")]
#[test]
fn an_idle_pool_sleeps() {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use foretoken_cpu::{CpuBackend, CpuOptions};
    use foretoken_tensor::{Backend, MatrixView, RowOrder, WeightFormat};

    /// User and system time of this process, in the kernel's ticks of 10 ms.
    fn ticks() -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    let backend = CpuBackend::new(CpuOptions { threads: NonZeroUsize::new(4).unwrap(), isa: None });
    let view = MatrixView {
        name: "w",
        format: WeightFormat::F32,
        rows: 64,
        cols: 1,
        order: RowOrder::Natural,
        data: &[0; 256],
    };
    backend.pack(&view, WeightFormat::F32).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let before = ticks();
    std::thread::sleep(Duration::from_millis(400));
    let spent = ticks() - before;
    assert!(spent <= 2, "three idle threads used {spent} ticks of 10 ms in 400 ms");
}
