//! After the first draws no draw allocates: a token costs no call into the allocator.

use std::alloc::System;
use std::time::Duration;

use foretoken_core::{Distribution, Noise, Sampler, SamplingParams};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations and reallocations during `work`, on every thread.
fn allocations(work: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    work();
    let seen = region.change();
    seen.allocations + seen.reallocations
}

/// The only test of this binary, because all threads share the allocator's count.
#[test]
fn drawing_allocates_nothing_after_warm_up() {
    // The thread of the test runner allocates while it starts the test.
    std::thread::sleep(Duration::from_millis(200));
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
        // Whatever row comes first, the next ones need no more.
        draw_all(&peaked, 0);
        let seen = allocations(|| (1..50).for_each(|position| draw_all(&flat, position)));
        assert_eq!(seen, 0, "allocations in 49 draws");
    }
}
