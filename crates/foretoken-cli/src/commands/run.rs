//! `foretoken run`: chat in the terminal.
//!
//! Each turn renders the whole conversation and continues one session, so that only what is new is
//! computed. Without a chat template the conversation is one text that the model continues.

use std::io::{self, IsTerminal, Write};

use foretoken::{
    AddSpecial, ChatTemplate, Engine, Message, ParseSpecial, Request, SessionId, SpecStats, TokenId,
};

use crate::args::{DraftArgs, LoadArgs, SamplingArgs};
use crate::error::Error;
use crate::output::{self, Drafts};
use crate::{chat, demo, engine};

const AFTER_HELP: &str = "\
Lines are messages; /help lists the commands. The end of input ends the chat.

Examples:
  foretoken run
  foretoken run ./Qwen3-4B --draft-model ./Qwen3-0.6B --system 'Answer briefly.' --show-drafts";

const HELP: &str = "\
/reset  forget the conversation
/stats  what drafting achieved, in the last answer and in all
/help   this list
/quit   end the chat";

/// Flags of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Folder, .gguf file, hub id in the local cache, or `demo`
    #[arg(default_value = demo::NAME, env = "FORETOKEN_MODEL")]
    model: String,

    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT", env = "FORETOKEN_SYSTEM", allow_hyphen_values = true)]
    system: Option<String>,

    /// Show accepted drafted tokens in colour
    #[arg(long)]
    show_drafts: bool,

    /// Most tokens per answer [default: until the model ends it]
    #[arg(long, value_name = "N", env = "FORETOKEN_MAX_TOKENS", help_heading = "Sampling options")]
    max_tokens: Option<usize>,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    drafting: DraftArgs,

    #[command(flatten)]
    load: LoadArgs,
}

/// Chats until the input ends.
pub(crate) fn run(args: &Args) -> Result<(), Error> {
    args.sampling.check()?;
    let rule = args.drafting.rule()?;
    args.drafting.check(false)?;
    let source = engine::resolve(&args.model)?;
    let template = source.chat_template()?;
    let mut options = args.load.options(source);
    args.drafting.apply(&args.model, &mut options)?;
    let mut engine = engine::load(&options)?;
    if template.is_none() {
        output::note("the model has no chat template: it continues your text as it stands");
    }
    let mut request = Request::new(Vec::new());
    args.sampling.apply(&engine, &mut request)?;
    request.rule = rule;
    request.max_tokens = args.max_tokens;
    let session = engine.open_session();
    let conversation = Conversation::new(template, args.system.as_deref());
    let drafts = Drafts::new(args.show_drafts);
    let (last, all) = (SpecStats::default(), SpecStats::default());
    Chat { engine, session, conversation, request, drafts, last, all }.converse()
}

/// A chat under way.
struct Chat {
    engine: Engine,
    session: SessionId,
    conversation: Conversation,
    /// What every turn asks for, without its prompt.
    request: Request,
    drafts: Drafts,
    /// Statistics of the last answer.
    last: SpecStats,
    /// Statistics of all answers.
    all: SpecStats,
}

impl Chat {
    fn converse(mut self) -> Result<(), Error> {
        let interactive = io::stdin().is_terminal();
        let mut line = String::new();
        loop {
            if interactive {
                // The prompt is no result.
                let _ = write!(io::stderr(), "> ");
            }
            line.clear();
            let read = io::stdin().read_line(&mut line);
            if read.map_err(|cause| Error::read("standard input".as_ref(), cause))? == 0 {
                if interactive {
                    output::note("");
                }
                return Ok(());
            }
            match line.trim() {
                "" => {}
                "/quit" => return Ok(()),
                "/help" => output::note(HELP),
                "/reset" => self.reset(),
                "/stats" => self.tell_statistics(),
                command if command.starts_with('/') => {
                    output::note(&format!("unknown command `{command}`; /help lists the commands"));
                }
                _ => self.answer(line.trim_end_matches(['\r', '\n']))?,
            }
        }
    }

    fn reset(&mut self) {
        self.engine.close_session(self.session);
        self.session = self.engine.open_session();
        self.conversation.clear();
    }

    fn tell_statistics(&self) {
        for (what, stats) in [("last answer", &self.last), ("all answers", &self.all)] {
            let line = output::statistics_line(&self.engine, self.request.rule, stats);
            output::note(&format!("{what}: {line}"));
        }
    }

    /// Answers a message. A message that cannot be answered is forgotten; only lost output ends the
    /// chat.
    fn answer(&mut self, message: &str) -> Result<(), Error> {
        self.conversation.ask(message);
        match self.generate() {
            Ok(answer) => self.conversation.answered(answer),
            Err(Error::Closed) => return Err(Error::Closed),
            Err(error) => {
                self.conversation.take_back();
                error.report();
            }
        }
        Ok(())
    }

    fn generate(&mut self) -> Result<String, Error> {
        let prompt = self.conversation.tokens(&self.engine)?;
        let session = Some(self.session);
        let request = Request { prompt, session, ..self.request.clone() };
        let completion = output::stream(self.engine.generate(request)?, self.drafts)?;
        self.all.merge(&completion.stats);
        self.last = completion.stats;
        Ok(completion.text)
    }
}

/// What was said.
struct Conversation {
    template: Option<ChatTemplate>,
    /// How many messages stand before the conversation: 1 with a system prompt.
    preamble: usize,
    messages: Vec<Message>,
}

impl Conversation {
    fn new(template: Option<ChatTemplate>, system: Option<&str>) -> Self {
        let messages: Vec<_> =
            system.map(|text| Message::new("system", text)).into_iter().collect();
        Self { template, preamble: messages.len(), messages }
    }

    fn clear(&mut self) {
        self.messages.truncate(self.preamble);
    }

    fn ask(&mut self, text: &str) {
        self.messages.push(Message::new("user", text));
    }

    fn answered(&mut self, text: String) {
        self.messages.push(Message::new("assistant", text));
    }

    fn take_back(&mut self) {
        self.messages.pop();
    }

    /// The conversation up to where the model answers.
    fn tokens(&self, engine: &Engine) -> Result<Vec<TokenId>, Error> {
        if let Some(template) = &self.template {
            return chat::tokens(
                (engine.checkpoint().name(), engine.tokenizer()),
                template,
                &self.messages,
            );
        }
        let text: String = self.messages.iter().map(|message| message.content.as_str()).collect();
        Ok(engine.tokenizer().encode(&text, AddSpecial::Yes, ParseSpecial::Yes)?)
    }
}
