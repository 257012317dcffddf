//! Bearer tokens of units: made here, printed once, stored hashed; DATA/tokens has the last one of each unit for the
//! screens of this machine.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use yiwang_core::district::District;
use yiwang_store::{Store, TokenHash, UnitToken};

use crate::cli::ConfigArgs;
use crate::config::{Config, Profile};
use crate::exit::Failure;
use crate::keys::Draft;
use crate::{bundle, keys, output, settings};

/// The file in which this machine keeps the token of a unit.
pub fn file(config: &Config, unit: &str) -> PathBuf {
    config.raw.data.join("tokens").join(unit.replace([':', '/'], "_"))
}

/// Makes a token for a unit, keeps it in DATA/tokens for `yiwang watch`, and prints it.
///
/// # Errors
/// [`Failure::Config`] in the production profile or for an unknown unit; the store's.
pub async fn new(args: &ConfigArgs, unit: &str) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    if config.raw.profile == Profile::Production {
        return Err(Failure::Config(
            "unit tokens are off in the production profile: people sign in".into(),
        )
        .into());
    }
    let bundle = bundle::load(&config, &keys::load(&config)?)?;
    let store = Store::open(&settings::store(&config)?)
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    let made = make(&config, &store, &bundle.district, unit).await;
    store.close().await;
    // It is not lost where it cannot be shown.
    let lies = || format!("the token is made and lies in {}", file(&config, unit).display());
    output::show(format_args!("{}\n", made?)).with_context(lies)
}

/// Makes a token; its hash is in the store and itself in [`file`], in the place of an older one, which stays valid.
///
/// # Errors
/// [`Failure::Config`] for an unknown unit; the store's, and the system's for the file.
pub async fn make(
    config: &Config,
    store: &Store,
    district: &District,
    unit: &str,
) -> anyhow::Result<String> {
    let unit = district.unit(unit).ok_or_else(|| {
        Failure::Config(format!(
            "no unit {unit} in the district: config/district/units.tsv lists them"
        ))
    })?;
    let token = format!("yw_{}", keys::fresh_secret()?);
    // Before the store knows it: a token that cannot be kept is not made.
    let draft = Draft::write(&file(config, &unit.id), &token)?;
    let row = UnitToken {
        hash: TokenHash::of(&token),
        unit: Arc::clone(&unit.id),
        label: "yiwang token new".to_owned(),
        created_at: jiff::Timestamp::now().as_millisecond(),
        expires_at: None,
        revoked_at: None,
    };
    store.insert_token(&row).await.context("failed to store the token")?;
    draft.replace()?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_token_lies_where_watch_looks() {
        let data = tempfile::tempdir().unwrap();
        let args = ConfigArgs {
            config: concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/yiwang.toml").into(),
            data: Some(data.path().to_path_buf()),
            set: Vec::new(),
        };
        let config = Config::load(&args).unwrap();
        let district = bundle::check(&config, None).unwrap().bundle.unwrap().district;
        let store = Store::open(&settings::store(&config).unwrap()).await.unwrap();
        for unit in ["310118001", "dept:fire"] {
            let token = make(&config, &store, &district, unit).await.unwrap();
            assert_eq!(std::fs::read_to_string(file(&config, unit)).unwrap(), token);
            let newer = make(&config, &store, &district, unit).await.unwrap();
            assert_eq!(std::fs::read_to_string(file(&config, unit)).unwrap(), newer);
        }
        assert!(make(&config, &store, &district, "none").await.is_err());
        store.close().await;
    }
}
