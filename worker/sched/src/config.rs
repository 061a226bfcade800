//! The limits of the engine.

use std::fmt;

/// The limits of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Tokens a KV block holds.
    pub block_size: u32,
    /// KV blocks of the budget.
    pub num_blocks: u32,
    /// Most requests in the running batch.
    pub max_running: u32,
    /// Most tokens computed in a step. At least `max_running`, so that every decode gets its token.
    pub max_batched_tokens: u32,
}

/// A limit the scheduler cannot work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// The named limit is zero.
    Zero(&'static str),
    /// `num_blocks * block_size` is more than `u32` counts.
    TooManyKvTokens,
    /// `max_batched_tokens` is less than `max_running`.
    StepTooSmall {
        /// The limit on tokens in a step.
        max_batched_tokens: u32,
        /// The limit on running requests.
        max_running: u32,
    },
}

impl SchedulerConfig {
    /// The KV budget in tokens.
    pub fn kv_tokens(&self) -> u64 {
        u64::from(self.num_blocks) * u64::from(self.block_size)
    }

    /// Blocks that hold `tokens`.
    pub(crate) fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block_size)
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (name, value) in [
            ("block_size", self.block_size),
            ("num_blocks", self.num_blocks),
            ("max_running", self.max_running),
            ("max_batched_tokens", self.max_batched_tokens),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        if self.kv_tokens() > u64::from(u32::MAX) {
            return Err(ConfigError::TooManyKvTokens);
        }
        if self.max_batched_tokens < self.max_running {
            let Self { max_batched_tokens, max_running, .. } = *self;
            return Err(ConfigError::StepTooSmall { max_batched_tokens, max_running });
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(name) => write!(f, "{name} is 0: set it to at least 1"),
            Self::TooManyKvTokens => {
                write!(f, "num_blocks * block_size exceeds {} tokens: lower the kv budget", u32::MAX)
            }
            Self::StepTooSmall { max_batched_tokens, max_running } => write!(
                f,
                "max_batched_tokens {max_batched_tokens} is less than max_running {max_running}: \
                 each running request needs a token a step, raise the first or lower the second"
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
