//! What a block device was told, and what it may hold after the power failed in the middle of it.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Result;
use fastrand::Rng;

use crate::sh;

/// What a device keeps whole.
const BLOCK: usize = 4096;

/// One thing that the device was told.
#[derive(Debug)]
pub enum Event {
    Write {
        at: u64,
        data: Vec<u8>,
    },
    /// Everything before it is safe from here on.
    Flush,
}

/// What is left of the writes that no flush has followed. A disk may write them in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivors {
    /// All of them.
    All,
    /// Not one.
    None,
    /// Some of them, each whole.
    Some,
    /// Some blocks of them.
    Torn,
}

impl Survivors {
    /// Every kind.
    pub const KINDS: [Self; 4] = [Self::None, Self::Some, Self::Torn, Self::All];
}

/// Makes in `to` what the device may hold if the power fails after `events`, which began with the content of `base`.
pub fn image(base: &Path, to: &Path, events: &[Event], survivors: Survivors, rng: &mut Rng) -> Result<()> {
    sh::read(sh::command(&["cp", "--sparse=always"]).arg(base).arg(to))?;
    let device = fs_err::OpenOptions::new().write(true).open(to)?.into_parts().0;
    let safe = events.iter().rposition(|event| matches!(event, Event::Flush)).unwrap_or(0);
    for (number, event) in events.iter().enumerate() {
        let Event::Write { at, data } = event else { continue };
        let whole = number < safe
            || match survivors {
                Survivors::All => true,
                Survivors::None => false,
                Survivors::Some => rng.bool(),
                Survivors::Torn => {
                    for (block, bytes) in data.chunks(BLOCK).enumerate().filter(|_| rng.bool()) {
                        device.write_all_at(bytes, at + (block * BLOCK) as u64)?;
                    }
                    false
                }
            };
        if whole {
            device.write_all_at(data, *at)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_flushed_survives_and_nothing_else_must() {
        let directory = std::env::temp_dir().join(format!("mica-power-log-{}", std::process::id()));
        fs_err::create_dir_all(&directory).unwrap();
        let (base, to) = (directory.join("base"), directory.join("to"));
        fs_err::write(&base, vec![0; 4 * BLOCK]).unwrap();
        let write = |block: u64, byte: u8| Event::Write { at: block * BLOCK as u64, data: vec![byte; BLOCK] };
        let events = [write(0, 1), Event::Flush, write(1, 2), write(0, 3)];
        for (survivors, first, second) in [(Survivors::None, 1, 0), (Survivors::All, 3, 2)] {
            image(&base, &to, &events, survivors, &mut Rng::with_seed(1)).unwrap();
            let held = fs_err::read(&to).unwrap();
            assert_eq!((held[0], held[BLOCK]), (first, second), "{survivors:?}");
        }
        for seed in 0..16 {
            image(&base, &to, &events, Survivors::Torn, &mut Rng::with_seed(seed)).unwrap();
            assert_ne!(fs_err::read(&to).unwrap()[0], 0, "a flushed block was lost");
        }
        fs_err::remove_dir_all(&directory).unwrap();
    }
}
