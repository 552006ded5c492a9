//! The rotary embedding's settings, in both spellings of transformers: `rope_theta` with
//! `rope_scaling`, and the newer `rope_parameters`.

use super::{Config, KeyLists, MAX_CONTEXT};
use crate::error::ConfigError;
use crate::spec::{Rope, RopeScaling, YarnRamp};

/// transformers' base where a configuration names none.
const DEFAULT_THETA: f64 = 10_000.0;

const COMMON: KeyLists =
    KeyLists { uses: &["rope_type", "type", "rope_theta", "partial_rotary_factor"], ignores: &[] };
const LINEAR: KeyLists = KeyLists { uses: &["factor"], ignores: &[] };
const LLAMA3: KeyLists = KeyLists {
    uses: &["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
    ignores: &[],
};
const YARN: KeyLists = KeyLists {
    uses: &[
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "truncate",
    ],
    ignores: &["finetuned"],
};

impl Config<'_> {
    /// The rotary embedding of a model with heads of `head_size` values and a context of `context`
    /// tokens.
    pub(crate) fn rope(&self, head_size: usize, context: usize) -> Result<Rope, ConfigError> {
        self.with_scaling(|kind, object| {
            let theta = self.theta(object)?;
            let scaling = object.map(|object| object.scaling(kind, context)).transpose()?;
            let scaling = scaling.unwrap_or(RopeScaling::None);
            Ok(Rope { theta, dims: head_size, scaling })
        })
    }

    /// The keys of the scaling's object that its type does not know, with their values.
    pub(crate) fn unknown_rope_keys(&self) -> Result<Vec<(String, String)>, ConfigError> {
        self.with_scaling(|_, object| {
            Ok(object.map(|object| object.unknown().collect()).unwrap_or_default())
        })
    }

    /// Calls `read` with the type of the scaling and its object, if there is one.
    fn with_scaling<T>(
        &self,
        read: impl FnOnce(&str, Option<&Config<'_>>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        let (key, prefix) = match self.get("rope_scaling") {
            Some(value) if super::is_set(value) => ("rope_scaling", "rope_scaling."),
            _ => ("rope_parameters", "rope_parameters."),
        };
        let kind = match self.object(key, prefix, &[COMMON])? {
            Some(object) => match object.text("rope_type")? {
                Some(kind) => kind,
                None => object.text("type")?.unwrap_or("default"),
            },
            None => "default",
        };
        let extra = match kind {
            "default" => KeyLists { uses: &[], ignores: &[] },
            "linear" | "dynamic" => LINEAR,
            "llama3" => LLAMA3,
            "yarn" => YARN,
            other => {
                let wanted = "default, linear, dynamic, llama3 or yarn";
                return Err(self.refuse(&format!("{prefix}rope_type"), &other, wanted));
            }
        };
        let lists = [COMMON, extra];
        read(kind, self.object(key, prefix, &lists)?.as_ref())
    }

    fn theta(&self, object: Option<&Config<'_>>) -> Result<f64, ConfigError> {
        for config in [Some(self), object].into_iter().flatten() {
            match config.positive("partial_rotary_factor")? {
                None | Some(1.0) => {}
                Some(part) => return Err(config.refuse("partial_rotary_factor", &part, "1")),
            }
        }
        let inner = object.map(|object| object.positive("rope_theta")).transpose()?.flatten();
        let theta = match inner {
            Some(theta) => theta,
            None => self.positive("rope_theta")?.unwrap_or(DEFAULT_THETA),
        };
        if theta > 1.0 { Ok(theta) } else { Err(self.refuse("rope_theta", &theta, "above 1")) }
    }

    /// The scaling of type `kind`, read from its own object.
    fn scaling(&self, kind: &str, context: usize) -> Result<RopeScaling, ConfigError> {
        Ok(match kind {
            "linear" => RopeScaling::Linear { factor: self.stretch("factor")? },
            "dynamic" => {
                RopeScaling::Dynamic { factor: self.stretch("factor")?, original_context: context }
            }
            "llama3" => self.llama3(context)?,
            "yarn" => self.yarn(context)?,
            _ => RopeScaling::None,
        })
    }

    fn llama3(&self, context: usize) -> Result<RopeScaling, ConfigError> {
        let low_freq_factor = self.stretch("low_freq_factor")?;
        let high_freq_factor = self.stretch("high_freq_factor")?;
        if high_freq_factor <= low_freq_factor {
            let wanted = format!("above low_freq_factor, {low_freq_factor}");
            return Err(self.refuse("high_freq_factor", &high_freq_factor, wanted));
        }
        Ok(RopeScaling::Llama3 {
            factor: self.stretch("factor")?,
            low_freq_factor,
            high_freq_factor,
            original_context: self.original_context(context)?,
        })
    }

    fn yarn(&self, context: usize) -> Result<RopeScaling, ConfigError> {
        let original_context = self.original_context(context)?;
        let factor = match self.positive("factor")? {
            Some(factor) => factor,
            None => context as f64 / original_context as f64,
        };
        let magnitude = |weight: f64| yarn_magnitude(factor, weight);
        let attention_factor = match self.positive("attention_factor")? {
            Some(factor) => factor,
            None => match (self.scale("mscale")?, self.scale("mscale_all_dim")?) {
                (Some(one), Some(all)) => magnitude(one) / magnitude(all),
                _ => magnitude(1.0),
            },
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_context,
            beta_fast: self.scale("beta_fast")?.unwrap_or(32.0),
            beta_slow: self.scale("beta_slow")?.unwrap_or(1.0),
            attention_factor,
            ramp: match self.boolean("truncate")? {
                Some(false) => YarnRamp::Exact,
                _ => YarnRamp::Rounded,
            },
        })
    }

    fn original_context(&self, context: usize) -> Result<usize, ConfigError> {
        Ok(self.size("original_max_position_embeddings", MAX_CONTEXT)?.unwrap_or(context))
    }

    fn stretch(&self, key: &str) -> Result<f64, ConfigError> {
        self.positive(key)?.ok_or_else(|| ConfigError::Missing { key: self.full(key) })
    }

    /// A positive number, where transformers takes 0 for absent.
    fn scale(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.get(key).and_then(serde_json::Value::as_f64) {
            Some(0.0) => Ok(None),
            _ => self.positive(key),
        }
    }
}

/// The temperature of attention for a stretch in `YaRN` (Peng et al. 2023, section 3.4); `weight` is
/// what later models put on the logarithm, 1 in the paper.
pub(crate) fn yarn_magnitude(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * libm::log(factor) + 1.0 }
}
