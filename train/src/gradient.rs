//! Loss and gradients of a batch: micro-batches on all threads, summed in their order.
//!
//! ```text
//!   batch ── micro-batch 0 ── thread a ── gradients 0 ─┐
//!         ── micro-batch 1 ── thread b ── gradients 1 ─┼─ 0 + 1 + 2 + ...
//!         ── micro-batch 2 ── thread a ── gradients 2 ─┘
//! ```
//!
//! The recipe fixes the micro-batches, and each is computed by one thread, so the number of threads changes no bit.
//! Gradients are added as soon as those before them are, so that about as many are in memory as there are threads.
//! A micro-batch is small enough for its activations to stay in the cache. The environment should have
//! CANDLE_NUM_THREADS=1: candle's own threads, among which it divides large single operations, would stand in the way
//! of these (the same bits, but slower).

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use candle_core::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    Error,
    model::{Architecture, Weights},
    ops,
    parameters::Parameter,
};

/// Threads that compute one micro-batch each.
pub struct Workers {
    pools: Vec<ThreadPool>,
    device: Device,
}

impl Workers {
    /// As many as `threads`; one on a device other than the CPU.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn new(threads: usize, device: Device) -> Result<Self, Error> {
        let threads = if device.is_cpu() { threads.max(1) } else { 1 };
        // Pools of one thread: what a micro-batch would divide among threads, it does by itself.
        let pool = |_| {
            let pool = ThreadPoolBuilder::new().num_threads(1).build();
            pool.map_err(|e| Error::Tensor(candle_core::Error::msg(e)))
        };
        Ok(Self { pools: (0..threads).map(pool).collect::<Result<_, _>>()?, device })
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.pools.len()
    }

    /// Where tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `f(i)` for every i below `n`, results in order. After an error, what has not begun is not computed.
    ///
    /// # Errors
    /// The first error by i.
    pub fn map<R: Send>(
        &self,
        n: usize,
        f: impl Fn(usize) -> Result<R, Error> + Sync,
    ) -> Result<Vec<R>, Error> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<R, Error>>>> = (0..n).map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for pool in &self.pools[..self.pools.len().min(n)] {
                scope.spawn(|| {
                    pool.install(|| {
                        loop {
                            let i = next.fetch_add(1, Ordering::Relaxed);
                            if i >= n {
                                break;
                            }
                            let result = f(i);
                            if result.is_err() {
                                next.store(n, Ordering::Relaxed);
                            }
                            *results[i].lock().expect("no holder panics") = Some(result);
                        }
                    });
                });
            }
        });
        // The first error stands before whatever it kept from being computed.
        let results = results.into_iter().map_while(|r| r.into_inner().expect("no holder panics"));
        let results: Vec<R> = results.collect::<Result<_, _>>()?;
        assert_eq!(results.len(), n, "an error kept a later part from being computed, but came first");
        Ok(results)
    }

    /// `f(0)` with `f(1)`, `f(2)`, ... up to `n`, which is at least 1, added to it in this order, whichever is computed
    /// first.
    ///
    /// # Errors
    /// The first error by i.
    pub fn sum<R: Send>(
        &self,
        n: usize,
        f: impl Fn(usize) -> Result<R, Error> + Sync,
        add: impl Fn(&mut R, R) + Sync,
    ) -> Result<R, Error> {
        struct Parts<R> {
            /// Of the first `added` parts.
            sum: Option<R>,
            added: usize,
            /// Those that came before their turn.
            early: BTreeMap<usize, R>,
        }
        let parts = Mutex::new(Parts { sum: None, added: 0, early: BTreeMap::new() });
        self.map(n, |i| {
            let part = f(i)?;
            let mut parts = parts.lock().expect("no holder panics");
            let Parts { sum, added, early } = &mut *parts;
            early.insert(i, part);
            while let Some(part) = early.remove(added) {
                *added += 1;
                match sum {
                    Some(sum) => add(sum, part),
                    None => *sum = Some(part),
                }
            }
            Ok(())
        })?;
        let parts = parts.into_inner().expect("no holder panics");
        Ok(parts.sum.expect("there is a part"))
    }
}

/// The mean loss of a batch in nats a token, and its gradient with respect to every latent weight.
///
/// `windows` are sequences of equal length with the token that follows; `micro` of them are computed at once.
///
/// # Errors
/// A weight that is not finite; a device that fails.
pub fn loss_and_gradients(
    architecture: &Architecture,
    parameters: &[Parameter],
    windows: &[&[u32]],
    micro: usize,
    workers: &Workers,
) -> Result<(f64, Vec<Vec<f32>>), Error> {
    let positions = windows[0].len() - 1;
    let weight = 1.0 / (windows.len() * positions) as f32;
    let weights = Weights::new(architecture, parameters, workers.device())?;
    let micro_batches: Vec<&[&[u32]]> = windows.chunks(micro).collect();
    let part = |i: usize| {
        let windows = micro_batches[i];
        let inputs: Vec<u32> = windows.iter().flat_map(|w| &w[..positions]).copied().collect();
        let targets: Vec<u32> = windows.iter().flat_map(|w| &w[1..]).copied().collect();
        let logits = weights.forward(architecture, &inputs, windows.len())?;
        let loss = ops::cross_entropy(&logits, &targets, weight)?;
        let gradients = weights.gradients(&loss)?;
        Ok((f64::from(loss.to_vec0::<f32>()?), gradients))
    };
    let add = |(loss, gradients): &mut (f64, Vec<Vec<f32>>), (more_loss, more): (f64, Vec<Vec<f32>>)| {
        *loss += more_loss;
        for (sum, more) in gradients.iter_mut().zip(more) {
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
    };
    let (loss, mut gradients) = workers.sum(micro_batches.len(), part, add)?;
    for (parameter, gradient) in parameters.iter().zip(&mut gradients) {
        if parameter.id.is_linear() {
            architecture.scheme.pass_through(&parameter.values, gradient);
        }
    }
    Ok((loss, gradients))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_in_order_whoever_is_first() {
        let workers = Workers::new(3, Device::Cpu).unwrap();
        let slow_at_first = |i: usize| {
            std::thread::sleep(std::time::Duration::from_millis(if i.is_multiple_of(3) { 20 } else { 1 }));
            Ok(vec![i])
        };
        let sum = workers.sum(10, slow_at_first, Extend::extend).unwrap();
        assert_eq!(sum, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn the_first_error_is_returned() {
        let workers = Workers::new(3, Device::Cpu).unwrap();
        let fails = |i: usize| {
            if i < 4 { Ok(i) } else { Err(Error::Plot(i.to_string())) }
        };
        let error = workers.sum(10, fails, |sum, part| *sum += part).unwrap_err();
        assert!(matches!(&error, Error::Plot(i) if i == "4"), "{error}");
    }
}
