//! A request as an iterator over its tokens.

use std::collections::VecDeque;

use crate::{Completion, Engine, Error, Event, RequestId, Token};

/// The tokens of one request as they are generated; dropping it cancels what is left.
///
/// Ends after the last token; [`Generation::into_completion`] then has the whole.
pub struct Generation<'e> {
    engine: &'e mut Engine,
    id: RequestId,
    events: Vec<Event>,
    tokens: VecDeque<Token>,
    outcome: Option<Result<Completion, Error>>,
}

impl<'e> Generation<'e> {
    pub(crate) fn new(engine: &'e mut Engine, id: RequestId) -> Self {
        Self { engine, id, events: Vec::new(), tokens: VecDeque::new(), outcome: None }
    }

    /// Generates what is left and returns the completion.
    pub fn into_completion(mut self) -> Result<Completion, Error> {
        loop {
            if let Some(outcome) = self.outcome.take() {
                return outcome;
            }
            self.step();
        }
    }

    fn step(&mut self) {
        self.engine.step(&mut self.events);
        for event in self.events.drain(..) {
            match event {
                Event::Token(id, token) if id == self.id => self.tokens.push_back(token),
                Event::Finished(id, completion) if id == self.id => {
                    self.outcome = Some(Ok(completion));
                }
                Event::Failed(id, error) if id == self.id => self.outcome = Some(Err(error)),
                _ => {}
            }
        }
    }
}

impl Iterator for Generation<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        while self.tokens.is_empty() && self.outcome.is_none() {
            self.step();
        }
        self.tokens.pop_front()
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        self.engine.cancel(self.id);
    }
}
