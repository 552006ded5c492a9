//! After the first draws no draw allocates: a token costs no call into the allocator.

use foretoken_core::{Distribution, Noise, Sampler, SamplingParams};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The only test of this binary, because all threads share the allocator's count.
#[test]
fn drawing_allocates_nothing_after_warm_up() {
    let flat: Vec<f32> = (0..3000).map(|token| (token * 37 % 101) as f32 / 64.0).collect();
    let mut peaked = flat.clone();
    peaked[70] = 30.0;
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
        let mut sampler = Sampler::new(params, noise, flat.len()).expect("valid");
        sampler.prompt(&(0..500).collect::<Vec<_>>());
        let (mut ranked, mut law) = (Vec::with_capacity(8), Distribution::new());
        law.set((0..3000).map(|token| (token, 1.0)));
        let mut draw_all = |row: &[f32], position: u32| {
            let path = [position % 7, 5, 6];
            sampler.draw(row, &path, position).expect("sound");
            sampler.rank(row, &path, position, 8, &mut ranked).expect("sound");
            sampler.distribution(row, &path, &mut law).expect("sound");
            sampler.commit(position % 400);
        };
        draw_all(&peaked, 0);
        // Another thread of the test runner may allocate meanwhile, so several rounds are tried. The
        // first row that needs more than the one before would allocate in the first round only, so
        // memory in use at the end counts too.
        let warm = ALLOCATOR.current_usage();
        let quiet = (1..50).any(|position| {
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            draw_all(&flat, position);
            ALLOCATOR.peak_usage() == before
        });
        let grown = ALLOCATOR.current_usage().saturating_sub(warm);
        assert!(quiet, "every draw allocates");
        assert!(grown < 4096, "{grown} bytes more are in use than after the first draws");
    }
}
