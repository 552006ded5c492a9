//! What drafters achieved, as a table and as JSON.

use std::fmt::Write;
use std::num::NonZeroUsize;

use foretoken::{Engine, Request, machine_name};
use serde_json::{Value, json};

use super::measure::{Run, Tally};

/// Positions whose acceptance the table shows.
const POSITIONS: usize = 8;

/// What everybody was asked for.
pub(super) struct Terms {
    model: String,
    quant: &'static str,
    kv: &'static str,
    threads: usize,
    rounds: NonZeroUsize,
    /// Prompts that the context does not hold.
    skipped: usize,
    /// Of any prompt: only what all have in common counts.
    request: Request,
}

/// Everything that was measured.
pub(super) struct Report {
    terms: Terms,
    names: Vec<String>,
    /// All prompts, then those of each category in order of appearance.
    sections: Vec<Section>,
}

struct Section {
    category: Option<String>,
    prompts: usize,
    /// Texts of plain decoding that loop.
    looping: usize,
    /// Per drafter, plain decoding first.
    scores: Vec<Score>,
}

#[derive(Default)]
struct Score {
    whole: Tally,
    loop_free: Tally,
}

impl Terms {
    pub(super) fn new(
        engine: &Engine,
        request: Request,
        rounds: NonZeroUsize,
        skipped: usize,
    ) -> Self {
        let target = engine.target();
        Self {
            model: engine.checkpoint().name().to_owned(),
            quant: target.weight_format().name(),
            kv: target.kv_type().name(),
            threads: engine.threads(),
            rounds,
            skipped,
            request,
        }
    }
}

impl Report {
    pub(super) fn new(terms: Terms, names: Vec<String>) -> Self {
        let all = Section::new(None, names.len());
        Self { terms, names, sections: vec![all] }
    }

    /// Adds a prompt's runs, one per drafter.
    pub(super) fn add(&mut self, category: Option<&str>, runs: &[Run]) {
        self.sections[0].add(runs);
        let Some(category) = category else { return };
        let known = self.sections.iter_mut().find(|s| s.category.as_deref() == Some(category));
        if let Some(section) = known {
            section.add(runs);
            return;
        }
        let mut section = Section::new(Some(category.to_owned()), self.names.len());
        section.add(runs);
        self.sections.push(section);
    }

    /// The object of `--json`.
    pub(super) fn object(&self) -> Value {
        let (terms, all) = (&self.terms, &self.sections[0]);
        let request = &terms.request;
        let categories = self.sections[1..].iter().map(|section| {
            json!({
                "category": section.category,
                "prompts": section.prompts,
                "looping": section.looping,
                "drafters": section.objects(&self.names),
            })
        });
        let mut object = json!({
            "model": terms.model,
            "quant": terms.quant,
            "kv": terms.kv,
            "threads": terms.threads,
            "acceptance": request.rule.name(),
            "lossless": request.rule.is_lossless(),
            "temperature": request.sampling.temperature,
            "seed": request.seed,
            "max_tokens": request.max_tokens,
            "rounds": terms.rounds,
            "prompts": all.prompts,
            "skipped": terms.skipped,
            "looping": all.looping,
            "drafters": all.objects(&self.names),
            "categories": categories.collect::<Value>(),
        });
        if request.forced.is_some() {
            object["forced"] = json!(true);
        }
        object
    }

    /// What was asked for, then two lines per drafter: its whole texts and their loop-free part. The
    /// same for every category.
    pub(super) fn table(&self) -> String {
        let width = self.names.iter().map(String::len).fold("drafter".len(), usize::max);
        let mut table = self.heading();
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "{:<width$}  {:<9}  {:>7}  {:>11}  {:>8}  {:>7}  {:>8}  {:>9}  {:>8}  accepted at 1, 2, ..",
            "drafter",
            "text",
            "tokens",
            "tokens/pass",
            "tokens/s",
            "speedup",
            "draft ms",
            "verify ms",
            "other ms"
        );
        for section in &self.sections {
            if let Some(category) = &section.category {
                let Section { prompts, looping, .. } = section;
                let category = category.escape_debug();
                let _ = writeln!(table, "\n{category}: {prompts} texts ({looping} loop)");
            }
            for (name, score) in self.names.iter().zip(&section.scores) {
                let texts = [("whole", &score.whole), ("loop-free", &score.loop_free)];
                let plain = [&section.scores[0].whole, &section.scores[0].loop_free];
                for ((text, tally), plain) in texts.into_iter().zip(plain) {
                    let _ = writeln!(table, "{name:<width$}  {text:<9}  {}", line(tally, plain));
                }
            }
        }
        table
    }

    fn heading(&self) -> String {
        let Terms { model, quant, kv, threads, rounds, request, .. } = &self.terms;
        let Section { prompts, looping, .. } = self.sections[0];
        let rule = request.rule;
        let lossy = if rule.is_lossless() { "" } else { " (lossy)" };
        let forced = if request.forced.is_some() { ", forced" } else { "" };
        let tokens = request.max_tokens.unwrap_or_default();
        let choice = match (request.sampling.is_greedy(), request.seed) {
            (false, Some(seed)) => {
                format!("temperature {}, seed {seed}", request.sampling.temperature)
            }
            _ => "greedy".to_owned(),
        };
        format!(
            "{model} on {}: {quant}, keys and values {kv}, {threads} threads\n\
             {prompts} texts of up to {tokens} tokens ({looping} loop{forced}), {choice}, acceptance {}{lossy}, \
             medians of {rounds} rounds\n",
            machine_name(),
            rule.name(),
        )
    }
}

impl Section {
    fn new(category: Option<String>, drafters: usize) -> Self {
        let scores = (0..drafters).map(|_| Score::default()).collect();
        Self { category, prompts: 0, looping: 0, scores }
    }

    fn add(&mut self, runs: &[Run]) {
        self.prompts += 1;
        self.looping += usize::from(runs.first().is_some_and(|plain| plain.loops));
        for (score, run) in self.scores.iter_mut().zip(runs) {
            score.whole.add(&run.whole);
            score.loop_free.add(&run.loop_free);
        }
    }

    /// An object per drafter.
    fn objects(&self, names: &[String]) -> Value {
        let drafter = |(name, score): (&String, &Score)| {
            json!({
                "drafter": name,
                "whole": object(&score.whole, &self.scores[0].whole),
                "loop_free": object(&score.loop_free, &self.scores[0].loop_free),
            })
        };
        names.iter().zip(&self.scores).map(drafter).collect()
    }
}

/// What drafting achieved on some text, beside plain decoding of the same.
fn object(tally: &Tally, plain: &Tally) -> Value {
    let stats = &tally.stats;
    json!({
        "tokens": stats.emitted,
        "passes": stats.steps,
        "tokens_per_pass": stats.mean_accepted_length(),
        "nodes_per_pass": tally.nodes_per_pass(),
        "drafted_by_position": stats.drafted_by_position,
        "accepted_by_position": stats.accepted_by_position,
        "decode_seconds": stats.decode_time.as_secs_f64(),
        "tokens_per_second": stats.tokens_per_second(),
        "speedup": tally.speedup(plain),
        "draft_seconds_per_pass": tally.per_pass(stats.draft_time),
        "verify_seconds_per_pass": tally.per_pass(stats.verify_time),
        "overhead_seconds_per_pass": tally.overhead_per_pass(),
    })
}

/// The same as the end of a line.
fn line(tally: &Tally, plain: &Tally) -> String {
    let stats = &tally.stats;
    let speedup = tally.speedup(plain).map_or_else(|| "-".to_owned(), |x| format!("{x:.2}x"));
    let shares = stats.accepted_by_position.iter().take(POSITIONS);
    let shares = shares.map(|&passes| format!("{:.2}", passes as f64 / stats.steps as f64));
    let shares: Vec<_> = shares.collect();
    format!(
        "{:>7}  {:>11.2}  {:>8.1}  {speedup:>7}  {:>8.3}  {:>9.3}  {:>8.3}  {}",
        stats.emitted,
        stats.mean_accepted_length(),
        stats.tokens_per_second(),
        tally.per_pass(stats.draft_time) * 1e3,
        tally.per_pass(stats.verify_time) * 1e3,
        tally.overhead_per_pass() * 1e3,
        if shares.is_empty() { "-".to_owned() } else { shares.join(" ") },
    )
}
