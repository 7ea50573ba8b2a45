//! Trash that containers still run on: a repaired layer's old directory must stay until they have ended.
//!
//! An overlay that is mounted keeps the directories it was made of open, whatever their names become; only removing what
//! is in them would show. A container that starts later gets the new ones. The mark lies in the run root, because after a
//! reboot nothing runs.

use std::path::PathBuf;

use mica_storage_loader::Driver;

use crate::store::container_state::monitored;
use crate::store::images::collect;
use crate::{Engine, Error, Result};

impl Engine {
    /// Keeps a driver's trash from being emptied while the containers run that run now. Blocks.
    pub(crate) fn hold_trash(&self, driver: &Driver) -> Result<()> {
        let sql = "SELECT id FROM containers WHERE driver = ?1";
        let all: Vec<String> = self.store().read(|db| collect(db, sql, [driver.name()], |row| row.get(0)))?;
        let mut running = self.holders(driver.name())?;
        for id in all {
            if !running.contains(&id) && monitored(&self.store().directories(&id).run)? {
                running.push(id);
            }
        }
        if running.is_empty() {
            return Ok(());
        }
        let mark = self.trash_mark(driver.name());
        fs_err::write(&mark, running.join("\n")).map_err(Error::io("write", mark))
    }

    /// True while a container runs on something in the driver's trash. Blocks.
    pub(crate) fn is_trash_held(&self, driver: &str) -> Result<bool> {
        let holders = self.holders(driver)?;
        for id in &holders {
            if monitored(&self.store().directories(id).run)? {
                return Ok(true);
            }
        }
        if !holders.is_empty() {
            let _ = fs_err::remove_file(self.trash_mark(driver));
        }
        Ok(false)
    }

    fn holders(&self, driver: &str) -> Result<Vec<String>> {
        let mark = self.trash_mark(driver);
        match fs_err::read_to_string(&mark) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::io("read", mark)(error)),
        }
    }

    fn trash_mark(&self, driver: &str) -> PathBuf {
        self.store().run_root().join(format!("aside-{}-{driver}", self.store().id()))
    }
}
