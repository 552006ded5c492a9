//! AdamW (Loshchilov and Hutter 2019): Adam with decay apart from the gradient, and a schedule for its rate.

use std::f64::consts::PI;

use crate::compute::Compute;
use crate::parameters::Parameters;
use crate::vector::{self, AdamStep, Moments};

/// Values of one item of work.
const VALUES: usize = 1 << 15;

/// Settings of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamOptions {
    /// What a step leaves of the mean of gradients.
    pub beta1: f32,
    /// What a step leaves of the mean of their squares.
    pub beta2: f32,
    /// Added to the root of that mean.
    pub epsilon: f32,
    /// Part of a matrix that a step at rate 1 takes away; vectors keep all.
    pub decay: f32,
}

impl Default for AdamOptions {
    /// Those usual for language models.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1 }
    }
}

/// The optimiser of one set of parameters, which keeps its order.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Settings; they may change between steps.
    pub options: AdamOptions,
    steps: u64,
    moments: Vec<Moment>,
}

/// What the optimiser keeps of one parameter.
#[derive(Debug, Clone, PartialEq)]
struct Moment {
    name: String,
    mean: Vec<f32>,
    square: Vec<f32>,
}

/// Suffixes of the names of the optimiser's tensors.
const MEAN: &str = ".exp_avg";
const SQUARE: &str = ".exp_avg_sq";

impl AdamW {
    /// An optimiser that has made no step.
    pub fn new(options: AdamOptions, parameters: &Parameters) -> Self {
        let moments = parameters.as_slice().iter().map(|parameter| Moment {
            name: parameter.name.clone(),
            mean: vec![0.0; parameter.values.len()],
            square: vec![0.0; parameter.values.len()],
        });
        Self { options, steps: 0, moments: moments.collect() }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Makes a step against the gradients times `gradient_scale` (see [`crate::clip`]), which become zero.
    ///
    /// # Panics
    /// If these are other parameters than the optimiser was made for.
    pub fn update(
        &mut self,
        compute: &Compute,
        parameters: &mut Parameters,
        rate: f32,
        gradient_scale: f32,
    ) {
        let AdamOptions { beta1, beta2, epsilon, decay } = self.options;
        self.steps += 1;
        let steps = self.steps as f64;
        let correction = |beta: f32| 1.0 - libm::pow(f64::from(beta), steps);
        let root_scale = (1.0 / correction(beta2).sqrt()) as f32;
        let mut items = Vec::new();
        let parameters = parameters.as_mut_slice();
        assert!(parameters.len() == self.moments.len(), "the optimiser's own parameters");
        for (parameter, moment) in parameters.iter_mut().zip(&mut self.moments) {
            assert!(parameter.values.len() == moment.mean.len(), "the optimiser's own parameters");
            let rate = rate * parameter.rate;
            let decay = if parameter.shape.len() > 1 { decay } else { 0.0 };
            let values = parameter.values.chunks_mut(VALUES);
            let gradients = parameter.gradient.chunks_mut(VALUES);
            let moments = moment.mean.chunks_mut(VALUES).zip(moment.square.chunks_mut(VALUES));
            for ((value, gradient), (mean, square)) in values.zip(gradients).zip(moments) {
                let step = AdamStep {
                    gradient_scale,
                    mean_rate: 1.0 - beta1,
                    square_decay: beta2,
                    root_scale,
                    epsilon,
                    keep: 1.0 - rate * decay,
                    rate: (f64::from(rate) / correction(beta1)) as f32,
                };
                items.push((step, value, gradient, mean, square));
            }
        }
        compute.backend().each(&mut items, |(step, value, gradient, mean, square)| {
            vector::adam(step, value, gradient, Moments { mean, square });
        });
    }

    /// What it keeps beside [`Self::steps`]: tensors of the parameters' shapes by name.
    pub fn tensors(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.moments.iter().flat_map(|Moment { name, mean, square }| {
            [(format!("{name}{MEAN}"), &mean[..]), (format!("{name}{SQUARE}"), &square[..])]
        })
    }

    /// Continues after `steps` steps with what [`Self::tensors`] gave then; `read` writes a tensor of that name to
    /// where it belongs.
    ///
    /// # Errors
    /// The first of `read`; the moments are then of no use.
    pub fn restore<E>(
        &mut self,
        steps: u64,
        mut read: impl FnMut(&str, &mut [f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        for Moment { name, mean, square } in &mut self.moments {
            read(&format!("{name}{MEAN}"), mean)?;
            read(&format!("{name}{SQUARE}"), square)?;
        }
        self.steps = steps;
        Ok(())
    }
}

/// A learning rate that rises in a line and falls along half a cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineSchedule {
    /// The highest rate.
    pub peak: f32,
    /// The rate from the last step on.
    pub end: f32,
    /// Steps until the peak.
    pub warm_up: u64,
    /// Steps until the end.
    pub steps: u64,
}

impl CosineSchedule {
    /// The rate of the step after `done` steps.
    pub fn rate(&self, done: u64) -> f32 {
        let Self { peak, end, warm_up, steps } = *self;
        if done < warm_up {
            return (f64::from(peak) * (done + 1) as f64 / warm_up as f64) as f32;
        }
        let left = (done - warm_up) as f64 / steps.saturating_sub(warm_up).max(1) as f64;
        let part = 0.5 * (1.0 + libm::cos(PI * left.min(1.0)));
        (f64::from(end) + f64::from(peak - end) * part) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_to_the_peak_and_fall_to_the_end() {
        let schedule = CosineSchedule { peak: 1.0, end: 0.1, warm_up: 4, steps: 12 };
        let rates: Vec<f32> = (0..14).map(|done| schedule.rate(done)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!((rates[8] - 0.55).abs() < 1e-6, "half way: {}", rates[8]);
        assert!(rates[4..13].windows(2).all(|pair| pair[1] < pair[0]));
        assert_eq!(rates[12..], [0.1, 0.1]);
    }
}
