//! After the first draws no draw allocates: a token costs no call into the allocator.

use foretoken_core::{Distribution, Noise, Sampler, SamplingParams};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The only test of this binary, because all threads share the allocator's count.
#[test]
fn drawing_allocates_nothing_after_warm_up() {
    let row: Vec<f32> = (0..3000).map(|token| (token * 37 % 101) as f32 / 16.0).collect();
    let sampled = SamplingParams { temperature: 0.9, ..SamplingParams::default() };
    let penalties = SamplingParams {
        repetition_penalty: 1.2,
        frequency_penalty: 0.3,
        logit_bias: vec![(3, 1.0)],
        ..sampled.clone()
    };
    let filters = SamplingParams { top_p: 0.95, min_p: 0.01, ..penalties.clone() };
    let narrow = SamplingParams { top_k: Some(40), ..filters.clone() };
    for params in [SamplingParams::default(), sampled, penalties, filters, narrow] {
        let noise = Noise { seed: 1, choice: 0 };
        let mut sampler = Sampler::new(params, noise, row.len()).expect("valid");
        sampler.prompt(&(0..500).collect::<Vec<_>>());
        let (mut ranked, mut law) = (Vec::new(), Distribution::new());
        let mut draw_all = |position: u32| {
            let path = [position % 7, 5, 6];
            sampler.draw(&row, &path, position).expect("sound");
            sampler.rank(&row, &path, position, 8, &mut ranked).expect("sound");
            sampler.distribution(&row, &path, &mut law).expect("sound");
            sampler.commit(position % 400);
        };
        draw_all(0);
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        (1..50).for_each(&mut draw_all);
        let peak = ALLOCATOR.peak_usage();
        assert_eq!(peak, before, "bytes in use at most, and before");
    }
}
