//! What fits of networks share: Adam, the loss, early stopping.

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, ops};

use crate::models::head::Target;

const LEARNING_RATE: f64 = 1e-3;
/// Training ends when this many epochs brought nothing better.
const PATIENCE_EPOCHS: u32 = 6;
/// The weights that are kept are a running mean of those that the optimiser went through (Polyak and Juditsky, SIAM J. Control
/// Optim. 30, 1992), over about this many steps.
const AVERAGED_STEPS: f64 = 200.0;

/// What was best of a training.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Best<T> {
    /// What was fitted.
    pub candidate: T,
    /// After so many epochs.
    pub epoch: u32,
    /// On the validation rows, if there are any.
    pub loss: Option<f64>,
}

/// Keeps the best of what it is shown, and tells when there is no hope of better.
pub(crate) struct EarlyStopping<T> {
    best: Option<Best<T>>,
    epoch: u32,
}

impl<T> Default for EarlyStopping<T> {
    fn default() -> Self {
        Self { best: None, epoch: 0 }
    }
}

impl<T> EarlyStopping<T> {
    /// Whether what came of the next epoch is the best so far; then `candidate` is kept. Without a loss the last is the best.
    pub(crate) fn show(&mut self, loss: Option<f64>, candidate: impl FnOnce() -> Result<T>) -> Result<bool> {
        self.epoch += 1;
        let known = self.best.as_ref().and_then(|best| best.loss);
        // NaN is no better than anything.
        let better = loss.zip(known).is_none_or(|(loss, known)| loss < known);
        if better {
            self.best = Some(Best { candidate: candidate()?, epoch: self.epoch, loss });
        }
        Ok(better)
    }

    /// Whether to stop.
    pub(crate) fn is_over(&self) -> bool {
        self.best.as_ref().is_some_and(|best| self.epoch - best.epoch >= PATIENCE_EPOCHS)
    }

    /// What was best.
    ///
    /// # Errors
    /// When nothing was shown.
    pub(crate) fn into_best(self) -> Result<Best<T>> {
        self.best.ok_or_else(|| candle_core::Error::msg("no epoch was run"))
    }
}

/// Mean of -ln likelihood over rows of scores `[rows, BINS]`, given shares of the same shape and weights `[rows]`, times the
/// sum of the weights.
pub(crate) fn loss(scores: &Tensor, shares: &Tensor, weights: &Tensor) -> Result<Tensor> {
    let likelihood = (ops::softmax(scores, 1)? * shares)?.sum(1)?;
    // No row may pull with unbounded force.
    (weights * (likelihood + 1e-6)?.log()?)?.sum_all()?.neg()
}

/// The shares of the targets, row by row.
pub(crate) fn shares(targets: impl Iterator<Item = Target>) -> Vec<f32> {
    targets.flat_map(Target::shares).collect()
}

/// Adam over named variables that also keeps their running mean.
pub(crate) struct Averaging {
    optimiser: AdamW,
    vars: Vec<Var>,
    mean: Vec<Tensor>,
    steps: f64,
}

impl Averaging {
    /// Over `vars`, with this weight decay.
    pub(crate) fn new(vars: Vec<Var>, weight_decay: f64) -> Result<Self> {
        let params = ParamsAdamW { lr: LEARNING_RATE, weight_decay, ..ParamsAdamW::default() };
        // Detached, or each mean would keep all before it, for a gradient that nobody asks for.
        let mean = vars.iter().map(|var| var.as_tensor().detach().copy()).collect::<Result<_>>()?;
        Ok(Self { optimiser: AdamW::new(vars.clone(), params)?, vars, mean, steps: 0.0 })
    }

    /// One step down the gradient of `loss`.
    pub(crate) fn step(&mut self, loss: &Tensor) -> Result<()> {
        self.optimiser.backward_step(loss)?;
        self.steps += 1.0;
        let share = 1.0 / self.steps.min(AVERAGED_STEPS);
        for (mean, var) in self.mean.iter_mut().zip(&self.vars) {
            let now = var.as_tensor().detach();
            *mean = ((&*mean * (1.0 - share))? + (now * share)?)?;
        }
        Ok(())
    }

    /// The running mean of each variable.
    pub(crate) fn mean(&self) -> &[Tensor] {
        &self.mean
    }
}

/// A variable with entries uniform in ±`bound`.
pub(crate) fn uniform(shape: &[usize], bound: f32, random: &mut fastrand::Rng) -> Result<Var> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (2.0 * random.f32() - 1.0) * bound).collect();
    Var::from_vec(values, shape, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_mean_keeps_nothing_of_the_steps_before() {
        let var = Var::ones(2, candle_core::DType::F32, &Device::Cpu).unwrap();
        let mut averaging = Averaging::new(vec![var.clone()], 0.0).unwrap();
        averaging.step(&var.as_tensor().sum_all().unwrap()).unwrap();
        let gradients = averaging.mean()[0].sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&var).is_none(), "the mean leads back to the variable, and so through all steps");
    }

    #[test]
    fn training_ends_early_when_nothing_gets_better() {
        let mut stopping = EarlyStopping::default();
        assert!(stopping.show(Some(1.0), || Ok(1)).unwrap());
        for _ in 0..PATIENCE_EPOCHS {
            assert!(!stopping.is_over());
            assert!(!stopping.show(Some(f64::NAN), || Ok(2)).unwrap());
        }
        assert!(stopping.is_over());
        assert_eq!(stopping.into_best().unwrap(), Best { candidate: 1, epoch: 1, loss: Some(1.0) });
    }

    #[test]
    fn without_validation_the_last_epoch_is_kept() {
        let mut stopping = EarlyStopping::default();
        for number in 1..=9 {
            assert!(stopping.show(None, || Ok(number)).unwrap() && !stopping.is_over());
        }
        assert_eq!(stopping.into_best().unwrap(), Best { candidate: 9, epoch: 9, loss: None });
    }
}
