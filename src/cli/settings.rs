//! `cairn config`: what is in force, and where it was set.

use comfy_table::{Table, presets};

use crate::config::Loaded;

pub fn run(loaded: &Loaded) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["setting", "value", "source"]);
    for setting in loaded.settings()? {
        table.add_row([setting.name, setting.value, setting.source]);
    }
    println!("{table}");
    Ok(())
}
