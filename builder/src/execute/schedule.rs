//! Runs a graph of futures in one task: each starts when those it needs are done; the first failure drops the rest.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A node that was started.
pub(crate) type Running<'a, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Runs `count` nodes, of which each is started with the results so far. `needs` names the nodes each one waits for,
/// which come before it.
pub(crate) async fn run<'a, T: Clone, E>(
    needs: &[Vec<usize>],
    start: impl Fn(usize, &[Option<T>]) -> Running<'a, T, E>,
) -> Result<Vec<T>, E> {
    let mut waiting: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (id, needs) in needs.iter().enumerate() {
        for need in needs {
            followers[*need].push(id);
        }
    }
    let mut done: Vec<Option<T>> = vec![None; needs.len()];
    let mut ready: Vec<usize> = (0..needs.len()).filter(|id| waiting[*id] == 0).collect();
    let mut running: Vec<(usize, Running<'a, T, E>)> = Vec::new();
    loop {
        running.extend(ready.drain(..).map(|id| (id, start(id, &done))));
        if running.is_empty() {
            return Ok(done.into_iter().flatten().collect());
        }
        let (at, result) = poll_fn(|context| {
            for (at, (_, future)) in running.iter_mut().enumerate() {
                if let Poll::Ready(result) = future.as_mut().poll(context) {
                    return Poll::Ready((at, result));
                }
            }
            Poll::Pending
        })
        .await;
        let (id, _) = running.swap_remove(at);
        done[id] = Some(result?);
        for follower in &followers[id] {
            waiting[*follower] -= 1;
            if waiting[*follower] == 0 {
                ready.push(*follower);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn nodes_run_side_by_side_and_in_order() {
        // 1 and 2 both wait on a barrier, which only opens when they run at once.
        let barrier = tokio::sync::Barrier::new(2);
        let order = Mutex::new(Vec::new());
        let needs = vec![vec![], vec![0], vec![0], vec![1, 2], vec![3, 3]];
        let results = run::<_, ()>(&needs, |id, done| {
            let sum: usize = needs[id].iter().map(|need| done[*need].unwrap()).sum();
            let (barrier, order) = (&barrier, &order);
            Box::pin(async move {
                if id == 1 || id == 2 {
                    barrier.wait().await;
                }
                order.lock().unwrap().push(id);
                Ok(sum + 1)
            })
        })
        .await;
        assert_eq!(results, Ok(vec![1, 2, 2, 5, 11]));
        let order = order.into_inner().unwrap();
        assert_eq!((order[0], order[3], order[4]), (0, 3, 4));
    }

    #[tokio::test]
    async fn a_failure_drops_what_runs() {
        let needs = vec![vec![], vec![]];
        let result = run(&needs, |id, _: &[Option<()>]| {
            Box::pin(async move {
                if id == 0 {
                    std::future::pending::<()>().await
                }
                Err("failed")
            })
        })
        .await;
        assert_eq!(result, Err("failed"));
    }
}
