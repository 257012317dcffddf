//! Bearer tokens of units: made here, printed once, stored hashed.

use std::sync::Arc;

use anyhow::Context;
use yiwang_core::district::District;
use yiwang_store::{Store, TokenHash, UnitToken};

use crate::cli::ConfigArgs;
use crate::config::{Config, Profile};
use crate::exit::Failure;
use crate::{bundle, keys, settings};

/// Makes a token for a unit and prints it.
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
    println!("{}", make(&store, &bundle.district, unit).await?);
    store.close().await;
    Ok(())
}

/// Makes a token and keeps its hash.
///
/// # Errors
/// [`Failure::Config`] for an unknown unit; the store's.
pub async fn make(store: &Store, district: &District, unit: &str) -> anyhow::Result<String> {
    let unit = district.unit(unit).ok_or_else(|| {
        Failure::Config(format!(
            "no unit {unit} in the district: config/district/units.tsv lists them"
        ))
    })?;
    let token = format!("yw_{}", keys::fresh_secret()?);
    let row = UnitToken {
        hash: TokenHash::of(&token),
        unit: Arc::clone(&unit.id),
        label: "yiwang token new".to_owned(),
        created_at: jiff::Timestamp::now().as_millisecond(),
        expires_at: None,
        revoked_at: None,
    };
    store.insert_token(&row).await.context("failed to store the token")?;
    Ok(token)
}
