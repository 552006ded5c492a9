//! Who drafts, how much, and how drafts are accepted.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use foretoken::{
    DRAFTERS, DraftOptions, DraftVocabulary, EngineOptions, LookaheadShape, MedusaChoices,
    MedusaOptions, MedusaSource, Needs, Rule, WeightFormat,
};

use super::loading::formats;
use crate::demo;
use crate::error::Error;
use crate::output;

/// Flags of drafting.
#[derive(Debug, Args)]
#[command(next_help_heading = "Drafting options")]
pub(crate) struct DraftArgs {
    #[arg(
        long,
        value_name = "NAME[+NAME...]",
        env = "FORETOKEN_DRAFTER",
        default_value = "auto",
        help = drafter_help()
    )]
    drafter: String,

    /// Model that drafts, of any vocabulary [default: the demo's own for `demo`]
    #[arg(long, value_name = "MODEL", env = "FORETOKEN_DRAFT_MODEL")]
    draft_model: Option<String>,

    /// How the vocabulary of the draft model meets the target's: same (equal ids), tokens (it chooses among
    /// the tokens that both have), text (what it writes is tokenized anew), or auto (the first of these that
    /// can do)
    #[arg(
        long,
        value_name = "WAY",
        env = "FORETOKEN_DRAFT_VOCAB",
        default_value = DraftVocabulary::default().name(),
        value_parser = draft_vocabularies(),
        hide_possible_values = true
    )]
    draft_vocab: DraftVocabulary,

    /// Medusa heads trained for the draft model, by which it drafts the same chains in fewer passes
    #[arg(long, value_name = "HEADS", env = "FORETOKEN_DRAFT_MEDUSA_HEADS")]
    draft_medusa_heads: Option<String>,

    /// Format the draft model's weights run in [default: as stored]
    #[arg(long, value_name = "FORMAT", env = "FORETOKEN_DRAFT_QUANT", value_parser = formats())]
    draft_quant: Option<WeightFormat>,

    #[arg(
        long,
        value_name = "N",
        env = "FORETOKEN_DRAFT_TOKENS",
        help = draft_tokens_help()
    )]
    draft_tokens: Option<usize>,

    /// `model`: most alternatives per drafted token; 1 drafts chains, more drafts trees
    #[arg(
        long,
        value_name = "N",
        env = "FORETOKEN_DRAFT_WIDTH",
        default_value_t = DraftOptions::default().width
    )]
    draft_width: usize,

    /// `model` and `prediction`: least estimated probability of acceptance at which a token is drafted
    #[arg(
        long,
        value_name = "P",
        env = "FORETOKEN_DRAFT_MIN_PROB",
        default_value_t = DraftOptions::default().min_probability,
        allow_hyphen_values = true
    )]
    draft_min_prob: f64,

    /// Medusa heads trained for the model: a folder, a .safetensors or .pt file, or a hub id in the local
    /// cache [default: the demo's own for `demo`]
    #[arg(long, value_name = "HEADS", env = "FORETOKEN_MEDUSA_HEADS")]
    medusa_heads: Option<String>,

    /// Which guesses of the heads are sent: auto, auto:N, cartesian:N,N,.., a JSON list of paths of ranks, a
    /// file of one, or a published tree, such as `mc_sim_7b_63`
    #[arg(long, value_name = "TREE", env = "FORETOKEN_MEDUSA_CHOICES", default_value = "auto")]
    medusa_choices: String,

    /// Let the heads choose among the N most frequent tokens only, which makes them cheaper; the text may
    /// hold any token all the same [default: all]
    #[arg(long, value_name = "N", env = "FORETOKEN_MEDUSA_VOCAB")]
    medusa_vocab: Option<usize>,

    /// `lookahead`: columns of its window, tokens of its n-grams, guesses per step, such as 7,5,7 [default: what
    /// the measured cost of rows allows]
    #[arg(long, value_name = "W,N,G", env = "FORETOKEN_LOOKAHEAD", allow_hyphen_values = true)]
    lookahead: Option<String>,

    /// `suffix`: a corpus to search besides the session's texts, as `foretoken index` makes it
    #[arg(long, value_name = "FILE", env = "FORETOKEN_SUFFIX_CORPUS")]
    suffix_corpus: Option<PathBuf>,

    /// How drafts are accepted: coupled (the text of plain decoding), rejection (its distribution),
    /// typical (lossy: changes the text)
    #[arg(
        long,
        value_name = "RULE",
        env = "FORETOKEN_ACCEPTANCE",
        default_value = "coupled",
        value_parser = PossibleValuesParser::new(["coupled", "rejection", "typical"]),
        hide_possible_values = true
    )]
    acceptance: String,

    /// `typical`: probability that always suffices [default: 0.09]
    #[arg(long, value_name = "P", env = "FORETOKEN_TYPICAL_THRESHOLD", allow_hyphen_values = true)]
    typical_threshold: Option<f64>,

    /// `typical`: scale of the bar where the model is unsure [default: 0.3]
    #[arg(long, value_name = "X", env = "FORETOKEN_TYPICAL_ALPHA", allow_hyphen_values = true)]
    typical_alpha: Option<f64>,
}

impl DraftArgs {
    /// Completes the options of an engine for the model named `model`.
    pub(crate) fn apply(&self, model: &str, options: &mut EngineOptions) -> Result<(), Error> {
        options.drafter.clone_from(&self.drafter);
        options.draft_format = self.draft_quant;
        options.draft = DraftOptions {
            tokens: self.draft_tokens,
            width: self.draft_width,
            min_probability: self.draft_min_prob,
        };
        options.draft_model = match &self.draft_model {
            Some(draft) => {
                Some(crate::engine::resolve(draft).map_err(|e| e.context("--draft-model"))?)
            }
            None if model == demo::NAME => Some(demo::draft()?),
            None => None,
        };
        options.draft_vocabulary = self.draft_vocab;
        options.draft_heads = self.draft_heads(options.draft_model.is_some())?;
        let drafts_with_heads = self.needs(Needs::MedusaHeads);
        options.medusa = MedusaOptions {
            heads: match &self.medusa_heads {
                Some(heads) => Some(medusa_heads(heads)?),
                None if model == demo::NAME && drafts_with_heads => Some(demo::heads()?),
                None => None,
            },
            choices: MedusaChoices::parse(&self.medusa_choices)?,
            vocab: self.medusa_vocab,
        };
        options.lookahead = self.lookahead.as_deref().map(LookaheadShape::parse).transpose()?;
        options.suffix_corpus.clone_from(&self.suffix_corpus);
        self.warn_of_unread();
        let open_tree = options.medusa.choices.nodes().or(self.draft_tokens).is_none();
        let looks_ahead = self.names().any(|name| name == "lookahead");
        let open_window = looks_ahead && options.lookahead.is_none();
        if drafts_with_heads && open_tree || open_window {
            options.cost = crate::engine::measure_cost();
        }
        Ok(())
    }

    /// The heads of the draft model, where one drafts: the environment may name heads for other runs.
    fn draft_heads(&self, draft_model: bool) -> Result<Option<MedusaSource>, Error> {
        let chosen = draft_model && self.names().any(|name| name == "auto");
        let heads = self.draft_medusa_heads.as_deref();
        let used = heads.filter(|_| chosen || self.needs(Needs::DraftModel));
        let source = used.map(crate::engine::resolve_heads).transpose();
        source.map_err(|cause| cause.context("--draft-medusa-heads"))
    }

    /// All drafters that are named.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.drafter.split([',', '+'])
    }

    /// Refuses the drafter of predictions where there is none.
    pub(crate) fn check(&self, predicts: bool) -> Result<(), Error> {
        if self.needs(Needs::Prediction) && !predicts {
            let cause = "`prediction` follows a text that is expected; `generate` and `bench generate` read \
                         one with --prediction FILE";
            return Err(Error::flag("--drafter", cause));
        }
        Ok(())
    }

    /// Tells of what is given and read by no drafter that is named.
    fn warn_of_unread(&self) {
        let given = [
            ("--lookahead", "lookahead", self.lookahead.is_some()),
            ("--suffix-corpus", "suffix", self.suffix_corpus.is_some()),
        ];
        for (flag, reader, is_given) in given {
            if is_given && self.names().all(|name| name != reader) {
                output::warn(&format!(
                    "{flag} is read by `{reader}` only, which --drafter does not name"
                ));
            }
        }
    }

    /// Whether a drafter that is named needs this.
    pub(super) fn needs(&self, what: Needs) -> bool {
        let needs = |name| DRAFTERS.iter().any(|info| info.name == name && info.needs == what);
        self.names().any(needs)
    }

    /// The drafters of a list, those that draft nothing left out unless there are no others.
    pub(crate) fn list(&self) -> Result<Vec<&str>, Error> {
        let mut list: Vec<&str> = Vec::new();
        for name in self.drafter.split(',').filter(|&name| name != "none") {
            if list.contains(&name) {
                let cause = format!("`{name}` is named twice; each is measured once");
                return Err(Error::flag("--drafter", cause));
            }
            list.push(name);
        }
        Ok(if list.is_empty() { vec!["none"] } else { list })
    }

    /// The rule of acceptance.
    pub(crate) fn rule(&self) -> Result<Rule, Error> {
        let constants = self.typical_threshold.or(self.typical_alpha);
        match (self.acceptance.as_str(), constants, Rule::TYPICAL) {
            ("typical", _, Rule::Typical { threshold, alpha }) => Ok(Rule::Typical {
                threshold: self.typical_threshold.unwrap_or(threshold),
                alpha: self.typical_alpha.unwrap_or(alpha),
            }),
            (rule, Some(_), _) => Err(Error::flag(
                "--typical-threshold and --typical-alpha",
                format!("they belong to --acceptance typical, not to {rule}; leave them out"),
            )),
            ("rejection", ..) => Ok(Rule::Rejection),
            _ => Ok(Rule::Coupled),
        }
    }
}

/// The heads that `--medusa-heads` names.
pub(crate) fn medusa_heads(name: &str) -> Result<MedusaSource, Error> {
    crate::engine::resolve_heads(name).map_err(|cause| cause.context("--medusa-heads"))
}

/// Ways between vocabularies, by name.
fn draft_vocabularies() -> impl TypedValueParser<Value = DraftVocabulary> {
    let names = DraftVocabulary::ALL.map(DraftVocabulary::name);
    PossibleValuesParser::new(names)
        .try_map(|name| DraftVocabulary::parse(&name).ok_or("unknown way"))
}

/// The methods there are, from the registry.
fn draft_tokens_help() -> String {
    let drafting = DRAFTERS.iter().filter(|info| info.nodes > 0);
    let most = drafting.map(|info| format!("{} {}", info.name, info.nodes));
    let most = most.collect::<Vec<_>>().join(", ");
    format!(
        "Most drafted tokens per step, 1 to {}; drafters stay below it as they see fit [default: {most}, of \
         several the largest]",
        DraftOptions::MAX_TOKENS
    )
}

fn drafter_help() -> String {
    let methods = DRAFTERS.iter().map(|info| format!("{} ({})", info.name, info.summary));
    let methods = methods.collect::<Vec<_>>().join(", ");
    format!(
        "How tokens are drafted: {methods}, or auto (`model` where there is a draft model, else \
         `lookup`); a+b merges several"
    )
}
