//! District, products, devices and rules, read from their folders and checked as one bundle.
//!
//! Reading is all that happens here; meaning and every check are the core's. A bundle with an error is not used.

use std::collections::BTreeMap;
use std::sync::Arc;

use yiwang_core::district::{District, FileSet, Tier, UnitKind};
use yiwang_core::incident::Terms;
use yiwang_core::problem::{Problem, Severity};
use yiwang_core::registry::Registry;
use yiwang_core::routes::{Routes, Topic};
use yiwang_core::tenants::Tenants;
use yiwang_core::thing::Product;
use yiwang_gateway::Pepper;

use crate::config::{Config, Profile};
use crate::exit::Failure;
use crate::folder::Folder;
use crate::keys::Keys;

/// How the names of product files end.
const PRODUCTS: &str = ".thing.yaml";
/// And those of device lists.
const LISTS: &str = ".csv";

/// What all roles share, immutable.
#[derive(Clone)]
pub struct Bundle {
    /// The hierarchy with its policies.
    pub district: Arc<District>,
    /// Products and devices.
    pub registry: Arc<Registry>,
    /// Rungs of clocks and limits of requests.
    pub terms: Arc<Terms>,
    /// Shares of the way in.
    pub tenants: Arc<Tenants>,
    /// The same with the compiled rules, for the router.
    pub router: Arc<yiwang_router::Bundle>,
}

/// What a check found.
pub struct Checked {
    /// The bundle, if no problem is an error.
    pub bundle: Option<Bundle>,
    /// Units by tier word.
    pub counts: BTreeMap<&'static str, usize>,
    /// Everything that is wrong or worth a look.
    pub problems: Vec<Problem>,
}

/// Reads and checks everything the configuration points to; device secrets are sealed where there are keys.
///
/// # Errors
/// [`Failure::Config`] if a folder cannot be read.
pub fn check(config: &Config, keys: Option<&Keys>) -> anyhow::Result<Checked> {
    let Folder { files: district_files, mut problems } = read_district(config)?;
    let Folder { files: device_files, problems: found } = read_devices(config)?;
    problems.extend(found);
    let (district, found) = District::load(&district_files);
    problems.extend(found);
    let district = district.map(Arc::new);
    let counts = district.as_deref().map(count).unwrap_or_default();
    let mut bundle = None;
    if district.is_none() {
        // Without it nobody knows units and categories; what products say of themselves is judged all the same.
        let products = device_files.iter().filter(|(file, _)| file.ends_with(PRODUCTS));
        problems.extend(products.flat_map(|(file, text)| Product::load(file, text).1));
    }
    if let Some(district) = district {
        if config.raw.profile == Profile::Production {
            forbid_demo(config, &district, &mut problems);
        }
        let (terms, found) = Terms::load(&district_files, &district);
        problems.extend(found);
        let (tenants, found) = Tenants::load(&district_files, &district);
        problems.extend(found);
        problems.extend(district.calendar_warnings(jiff::Timestamp::now().as_millisecond()));
        let (registry, found) = Registry::load(&device_files, Arc::clone(&district));
        problems.extend(found);
        if let Some(mut registry) = registry {
            if let Some(pepper) = keys.and_then(|keys| Pepper::new(&keys.pepper)) {
                pepper.seal_registry(&mut registry);
            }
            let registry = Arc::new(registry);
            let (router, found) =
                yiwang_router::Bundle::new(&district_files, &device_files, Arc::clone(&registry));
            problems.extend(found);
            bundle = router.zip(terms).zip(tenants).map(|((router, terms), tenants)| Bundle {
                district,
                registry,
                terms: Arc::new(terms),
                tenants: Arc::new(tenants),
                router,
            });
        }
    }
    let fatal = problems.iter().any(|problem| problem.severity == Severity::Error);
    Ok(Checked { bundle: bundle.filter(|_| !fatal), counts, problems })
}

/// The texts of the district's files and of the product files.
///
/// # Errors
/// [`Failure::Config`] if a folder or file cannot be read.
pub fn read_products(config: &Config) -> anyhow::Result<(FileSet, FileSet)> {
    let products = config.path(&config.raw.district.products);
    let products = Folder::read(&products, "district.products", &[PRODUCTS])?;
    Ok((read_district(config)?.whole()?, products.whole()?))
}

/// The topics that the routes forward to; what is wrong with the file is the business of [`check`].
///
/// # Errors
/// [`Failure::Config`] if the folder cannot be read.
pub fn forward_topics(config: &Config) -> anyhow::Result<Vec<Topic>> {
    Ok(Routes::topics_of(&read_district(config)?.whole()?))
}

/// The bundle, or every problem in one error.
///
/// # Errors
/// [`Failure::Config`] listing all problems.
pub fn load(config: &Config, keys: &Keys) -> anyhow::Result<Bundle> {
    let checked = check(config, Some(keys))?;
    let (errors, warnings): (Vec<_>, Vec<_>) =
        checked.problems.iter().partition(|problem| problem.severity == Severity::Error);
    for Problem { code, file, line, message, .. } in warnings {
        tracing::warn!(code, file, line, message, "configuration warning");
    }
    checked.bundle.ok_or_else(|| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::Config(format!(
            "the configuration has {} errors:\n{}",
            lines.len(),
            lines.join("\n")
        ))
        .into()
    })
}

fn count(district: &District) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for unit in district.units() {
        let word = match unit.kind {
            UnitKind::Tree(tier) => Tier::as_str(tier),
            UnitKind::Department => "department",
            UnitKind::Company => "company",
        };
        *counts.entry(word).or_default() += 1;
    }
    counts
}

fn forbid_demo(config: &Config, district: &District, problems: &mut Vec<Problem>) {
    if crate::fleet::members(config, 1).is_ok() {
        problems.push(Problem {
            severity: Severity::Error,
            code: "SECRET_IN_PRODUCTION",
            file: "devices".to_owned(),
            line: 0,
            message: "a device list holds a plain secret, and the profile is production".to_owned(),
            remedy: "register devices with sealed secrets, or set profile = \"demo\"".to_owned(),
        });
    }
    if let Some(unit) = district.units().find(|unit| unit.is_synthetic()) {
        problems.push(Problem {
            severity: Severity::Error,
            code: "SYNTHETIC_IN_PRODUCTION",
            file: "units.tsv".to_owned(),
            line: 0,
            message: format!("unit {} is synthetic, and the profile is production", unit.id),
            remedy: "replace the demo data by the district's own, or set profile = \"demo\""
                .to_owned(),
        });
    }
}

fn read_district(config: &Config) -> Result<Folder, Failure> {
    let folder = config.path(&config.raw.district.folder);
    Folder::read(&folder, "district.folder", &[".yaml", ".tsv"])
}

/// Product files, or device lists, or both where they share a folder: then none of them is unknown.
fn read_devices(config: &Config) -> Result<Folder, Failure> {
    let products = config.path(&config.raw.district.products);
    let devices = config.path(&config.raw.district.devices);
    if products == devices {
        return Folder::read(&products, "district.products", &[PRODUCTS, LISTS]);
    }
    let mut read = Folder::read(&products, "district.products", &[PRODUCTS])?;
    let lists = Folder::read(&devices, "district.devices", &[LISTS])?;
    read.files.extend(lists.files);
    read.problems.extend(lists.problems);
    Ok(read)
}
