//! What the scheduler keeps of a live request.

use crate::blocks::BlockTable;
use crate::prefix::BlockHash;
use crate::remaining::RemainingLength;
use crate::view::{Outlook, Request, RequestView};

#[derive(Debug)]
pub(crate) struct LiveRequest {
    pub(crate) view: RequestView,
    pub(crate) table: BlockTable,
    /// Of its first full blocks of known tokens.
    pub(crate) hashes: Vec<BlockHash>,
    /// Tokens of the work planned and not yet applied.
    pub(crate) planned: u32,
    /// Most tokens that were ever computed: below it work is done again.
    pub(crate) computed_before: u32,
    /// When it last joined the running batch, seconds.
    pub(crate) admitted_at: f64,
    /// The forecast by which it is ranked, and what it had generated then, if the order keeps forecasts.
    pub(crate) kept: Option<(u32, RemainingLength)>,
}

impl LiveRequest {
    pub(crate) fn new(request: Request) -> Self {
        let view = RequestView::new(request);
        let (table, hashes) = (BlockTable::default(), Vec::new());
        Self { view, table, hashes, planned: 0, computed_before: 0, admitted_at: 0.0, kept: None }
    }

    /// The hashes of the blocks that it may find instead of computing: the last known token is never in them.
    pub(crate) fn reusable(&self, block_size: u32) -> &[BlockHash] {
        let blocks = ((self.view.known() - 1) / block_size) as usize;
        &self.hashes[..blocks.min(self.hashes.len())]
    }

    /// The outlook as it was when the kept forecast was made, if one was, less than `tokens` ago.
    pub(crate) fn kept_outlook(&self, tokens: u32) -> Option<Outlook> {
        let (generated, forecast) = self.kept.filter(|&(generated, _)| self.view.generated - generated < tokens)?;
        Some(Outlook::new(RequestView { generated, ..self.view }, Some(forecast)))
    }

    /// Gives up its KV entries at `now`; answers its blocks.
    pub(crate) fn preempt(&mut self, now: f64) -> BlockTable {
        self.view.computed = 0;
        self.view.preemptions += 1;
        self.view.served += (now - self.admitted_at).max(0.0);
        self.view.queued_at = now;
        std::mem::take(&mut self.table)
    }
}
